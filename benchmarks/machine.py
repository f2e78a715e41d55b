"""What a report says about where it was made: machine, system, commit, date."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def describe() -> dict[str, str]:
    """Returns facts as text, by name."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _processor() -> str:
    found = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in _lines("/proc/cpuinfo"))
    }
    name = found.get("model name", platform.processor() or platform.machine())
    wide = [flag for flag in ("avx2", "avx512f", "amx_tile") if flag in found.get("flags", "").split()]
    return name + (f" ({', '.join(wide)})" if wide else "")


def _memory() -> str:
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return f"{kilobytes / 2**20:.0f} GiB"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    # Pages and the results themselves, which a run writes, do not change what is measured.
    pages = (":!*.md", ":!benchmarks/results*")
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no", "--", ".", *pages) else "")
