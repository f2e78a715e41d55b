"""W1 and W2 on a GPU in one process, with what is installed here: for machines without a package index.

Command:  python -m benchmarks.on_gpu [--only=n=8] [--peers=qjax;tensorcircuit-ng] [--seconds=0.5] [--out=FILE]
Time:     about 5 minutes with tensorcircuit-ng, whose compiling takes most of it.

`scripts/bench --device=gpu` has a process for each measurement and environments of its own; here everything shares
one. Prints for each case and form: the median of the calls, what they took in the best case, seconds to trace and
compile, and the largest difference from the float64 reference where that is affordable, else from qjax.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

import jax

from benchmarks import reference
from benchmarks.bench import difference
from benchmarks.environments import PEERS
from benchmarks.peers.jax_common import copy_speed
from benchmarks.workloads import Case, cases

NAMES = tuple(name for name, peer in PEERS.items() if peer.gpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="W1,W2", help="parts of the cases' names, with commas between")
    parser.add_argument("--peers", default=";".join(NAMES), help="with semicolons between")
    parser.add_argument("--seconds", type=float, default=0.5, help="timing of each form at most")
    parser.add_argument("--limit", type=float, default=600.0, help="no case is begun after so many seconds")
    parser.add_argument("--out", default="", help="file for the lines, as JSON")
    args = parser.parse_args()
    begun = time.perf_counter()
    print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, copying {copy_speed() / 1e12:.2f} TB/s", flush=True
    )
    lines: list[dict[str, Any]] = []
    for case in cases(("W1", "W2"), gpu=True):
        if any(part in case.name for part in args.only.split(",")) and time.perf_counter() - begun < args.limit:
            lines += _measure(case, args.peers.split(";"), args.seconds)
            if args.out:
                Path(args.out).write_text(json.dumps(lines, indent=1))


def _measure(case: Case, peers: list[str], seconds: float) -> list[dict[str, Any]]:
    """Returns a line for each form of each peer."""
    exact = reference.run(case) if case.batch <= 4096 and reference.is_affordable(case) else None
    lines = []
    for name in peers:
        module = importlib.import_module(PEERS[name].module)
        try:
            forms = getattr(module, PEERS[name].function)(case)
        except Exception as error:
            print(f"{case.name} | {name} | {error}", flush=True)
            continue
        for form, make in forms.items():
            line: dict[str, Any] = {"case": case.name, "peer": name, "form": form}
            try:
                start = time.perf_counter()
                run = make(case)
                line["prepare_s"] = time.perf_counter() - start
                result = run.result(run.call())
                exact = result if exact is None else exact
                line["error"], taken = difference(result, exact), _time(run.call, seconds)
                line |= {
                    "median_ms": 1e3 * statistics.median(taken),
                    "least_ms": 1e3 * min(taken),
                    "calls": len(taken),
                }
                shown = f"{line['median_ms']:.4f} ms (least {line['least_ms']:.4f}), error {line['error']:.1e}"
                shown += f", made in {line['prepare_s']:.1f} s"
            except Exception as error:
                shown = line["failed"] = f"{type(error).__name__}: {error}"[:300]
            print(f"{case.name} | {name} | {form} | {shown}", flush=True)
            lines.append(line)
    return lines


def _time(call: Any, seconds: float) -> list[float]:
    """Returns the seconds of at least five calls."""
    for _ in range(3):
        call()
    begun, taken = time.perf_counter(), []
    while len(taken) < 5 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


if __name__ == "__main__":
    main()
