"""The driver: installs the peers, runs every workload with all of them, compares results, writes the report.

Command:  scripts/bench [--workloads=W1,W2] [--peers=qjax,qulacs] [--quick] [--rounds=3] [--repeats=20]
          [--cores=1|all|both]; --help lists them all
Time:     hours for everything, about 15 minutes with --quick (small sizes, results in .bench/quick).

Every measurement is a process of its own, bound to one core (the last one that this process may use) or to all of
them, with as many threads. A round runs every case with every peer in turn, so that a change of the machine's speed
meets all of them; the first round also finds each peer's fastest form, which later rounds repeat.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

import numpy as np

from benchmarks import reference, report
from benchmarks.case import Case
from benchmarks.environments import PEERS, PLACE, install, python_of
from benchmarks.machine import describe
from benchmarks.workloads import NAMES, cases

ROOT = Path(__file__).resolve().parents[1]

TOLERANCE = 1e-4
GPU_PEERS, GPU_WORKLOADS = ("qjax", "tensorcircuit-ng"), ("W1", "W2")


def main() -> int:
    args = _arguments()
    if args.device == "gpu":
        reason = _gpu_missing()
        if reason:
            print(f"error: --device=gpu: {reason}", file=sys.stderr)
            return 2
    places = report.Places(PLACE / "quick" if args.quick else ROOT / "benchmarks", args.device)
    offered = cases(args.workloads, args.quick, gpu=args.device == "gpu")
    chosen = [case for case in offered if args.only in case.name]
    if not chosen:
        print(f"error: --only={args.only} is part of no case's name", file=sys.stderr)
        return 2
    problems = {name: install(name, gpu=args.device == "gpu") for name in args.peers}
    book = Book(args, problems)
    for cores in {"1": ["1"], "all": ["all"], "both": ["1", "all"]}[args.cores]:
        for number in range(args.rounds):
            book.round(cores, number, chosen)
            report.write(places, book.merged(places), describe(), _command())
    disagreements = book.disagreements()
    for line in disagreements:
        print(f"DISAGREEMENT: {line}; its ratio is not claimed", file=sys.stderr)
    print(f"\nreport: {places.markdown}\nnumbers: {places.numbers}\nplot: {places.plot}")
    return 1 if disagreements else 0


def _arguments() -> argparse.Namespace:
    def names(known: tuple[str, ...]) -> Any:
        def parse(text: str) -> tuple[str, ...]:
            chosen = tuple(part.strip() for part in text.split(",")) if text else known
            for part in chosen:
                if part not in known:
                    raise argparse.ArgumentTypeError(f"{part!r} is not one of {', '.join(known)}")
            return chosen

        return parse

    peers = tuple(name for name in PEERS if "," not in name)
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", type=names(NAMES), default=NAMES, help="such as W1,W2; default all")
    parser.add_argument("--peers", type=names(peers), default=peers, help="such as qjax,qulacs; default all")
    parser.add_argument("--only", default="", help="only cases whose name has this part, such as 'n=8'")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, results in .bench/quick")
    parser.add_argument("--rounds", type=int, default=0, help="processes for each measurement; default 3, quick 1")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls in a process at most; default 20")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="timing in a process at most; default 3, quick 0.5"
    )
    parser.add_argument("--timeout", type=int, default=0, help="seconds for a process; default 600, quick 120")
    parser.add_argument("--cores", choices=("1", "all", "both"), default="both")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (0.5 if args.quick else 3.0)
    args.timeout = args.timeout or (120 if args.quick else 600)
    # Two forms of one peer go together.
    args.peers = tuple(p for p in PEERS if p in args.peers or ("," in p and p.split(",")[0] in args.peers))
    if args.device == "gpu":
        args.peers = tuple(p for p in args.peers if p in GPU_PEERS)
        args.workloads = tuple(w for w in args.workloads if w in GPU_WORKLOADS)
        args.cores = "all"
    return args


def _gpu_missing() -> str:
    """Returns why there is no GPU to run on, '' where there is one."""
    look = "import jax; print(jax.default_backend(), jax.devices()[0].device_kind)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    found = done.stdout.split() or ["nothing"]
    if found[0] == "gpu":
        return ""
    return (
        f"JAX in this environment finds {found[0]}, not a GPU. On a machine with one, install JAX for it first: "
        '.venv/bin/pip install -r requirements.txt "jax[cuda12]"'
    )


def _command() -> str:
    return " ".join(["scripts/bench", *sys.argv[1:]])


class Book:
    """All measurements of this run: (cores, case, peer) -> what its processes said."""

    def __init__(self, args: argparse.Namespace, problems: dict[str, str]) -> None:
        self.args, self.problems = args, problems
        self.entries: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.results: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="qjax-bench-"))

    def round(self, cores: str, number: int, chosen: list[Case]) -> None:
        for case in chosen:
            peers = [name for name in self.args.peers if case.workload in PEERS[name].workloads]
            for name in peers[number % len(peers) :] + peers[: number % len(peers)] if peers else []:
                self._measure(cores, number, case, name)
            self._compare(cores, case, peers)

    def _measure(self, cores: str, number: int, case: Case, name: str) -> None:
        key = (cores, case.name, name)
        entry = self.entries.get(key)
        if entry is None:
            entry = {"workload": case.workload, "case": case.name, "peer": name, "cores": cores, "kind": case.kind}
            entry |= {"device": self.args.device, "compile_only": case.compile_only, "rounds": []}
            entry |= {"state_bytes": 8 * 2**case.num_qubits * max(case.batch, 1), "num_layers": case.num_layers}
            self.entries[key] = entry
        if entry.get("status", "ok") != "ok":
            return
        if self.problems.get(name):
            entry |= {"status": "failed", "reason": self.problems[name]}
            return
        if case.kind == "accuracy" and number:
            return  # not timed
        found, result = self._process(cores, case, name, entry.get("form", ""))
        if found["status"] == "ok" and case.memory and found["peak_bytes"] is None:
            again, _ = self._process(cores, case, name, found["form"])  # alone, without the forms that were tried
            found["peak_bytes"] = again.get("peak_bytes")
        self._note(entry, found, number)
        if result is not None:
            self.results[key] = result
        print(f"{cores:>3} core(s), round {number + 1} | {case.name} | {name} | {report.line(entry)}", flush=True)

    def _note(self, entry: dict[str, Any], found: dict[str, Any], number: int) -> None:
        entry["status"] = found["status"]
        if found["status"] != "ok":
            entry["reason"] = found["reason"]
            return
        entry["rounds"].append({name: found[name] for name in ("prepare_s", "call_s", "also", "peak_bytes")})
        if number == 0:
            entry |= {name: found[name] for name in ("form", "forms", "notes", "versions")}

    def _process(self, cores: str, case: Case, name: str, form: str) -> tuple[dict[str, Any], Any]:
        """Returns what a worker wrote, and its arrays; or the reason why it wrote nothing."""
        mine = sorted(os.sched_getaffinity(0))
        used = mine if cores == "all" else mine[-1:]
        out = self.folder / "out"
        for ending in (".json", ".npz"):
            out.with_suffix(ending).unlink(missing_ok=True)
        command = [str(python_of(name)), str(ROOT / "benchmarks" / "worker.py"), f"--peer={name}"]
        command += [f"--case={case.name}", f"--form={form}", f"--out={out}", f"--device={self.args.device}"]
        command += [f"--repeats={self.args.repeats}", f"--seconds={self.args.seconds}"]
        command += [f"--cores={','.join(map(str, used))}", *(["--quick"] if self.args.quick else [])]
        log = self.folder / "log"
        begun = time.perf_counter()
        with log.open("w") as stream:
            try:
                subprocess.run(
                    command,
                    env=self._environment(len(used), case),
                    stdout=stream,
                    stderr=stream,
                    timeout=self.args.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {"status": "failed", "reason": f"took more than {self.args.timeout} s"}, None
        if not out.with_suffix(".json").exists():
            last = (log.read_text().strip().splitlines() or ["no message"])[-1]
            return {
                "status": "failed",
                "reason": f"died after {time.perf_counter() - begun:.0f} s: {last[:200]}",
            }, None
        found = json.loads(out.with_suffix(".json").read_text())
        result = dict(np.load(out.with_suffix(".npz"))) if found["status"] == "ok" else None
        return found, result

    def _environment(self, threads: int, case: Case) -> dict[str, str]:
        """The variables of a worker: threads for every library, and a cache of compiled programs for later rounds."""
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        env = os.environ | {name: str(threads) for name in names}
        env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
        if self.args.device == "cpu":
            env["JAX_PLATFORMS"] = "cpu"
        if not case.compile_only:
            env["JAX_COMPILATION_CACHE_DIR"] = str(self.folder / f"jax-{threads}")
            env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
        return env

    def _compare(self, cores: str, case: Case, peers: list[str]) -> None:
        """Notes, for every peer, how far its result is from qjax's and from the reference's."""
        exact = reference.run(case) if case.kind == "accuracy" or reference.is_affordable(case) else None
        ours = self.results.get((cores, case.name, "qjax"))
        for name in peers:
            result, entry = self.results.get((cores, case.name, name)), self.entries[cores, case.name, name]
            if result is None:
                continue
            if exact is not None:
                entry["error"] = difference(result, exact)
                entry["errors"] = {key: float(np.abs(result[key] - exact[key]).max(initial=0)) for key in result}
            if ours is not None:
                entry["from_qjax"] = difference(result, ours)
            far = max(entry.get("error", 0.0), entry.get("from_qjax", 0.0))
            entry["agrees"] = bool(far <= TOLERANCE) or case.kind == "accuracy"  # whose errors are the result

    def disagreements(self) -> list[str]:
        """Returns a line for each result that is wrong, and for each case that qjax could not run."""
        out = []
        for entry in self.entries.values():
            where = f"{entry['case']}, {entry['cores']} core(s): {entry['peer']}"
            if entry.get("agrees") is False:
                far = {"qjax": entry.get("from_qjax"), "the reference": entry.get("error")}
                out.append(
                    f"{where} is " + " and ".join(f"{v:.1e} from {k}" for k, v in far.items() if v is not None)
                )
            if entry["peer"].startswith("qjax") and entry.get("status") == "failed":
                out.append(f"{where} failed: {entry['reason']}")
        return out

    def merged(self, places: report.Places) -> list[dict[str, Any]]:
        """Returns this run's entries, and those of earlier runs for what this one did not run."""
        facts = describe()
        stamp = {key: facts[key] for key in ("commit", "date", "processor")} | {"command": _command()}
        mine = [entry | stamp for entry in self.entries.values()]
        kept = [e for e in report.read(places) if (e["cores"], e["case"], e["peer"]) not in self.entries]
        return kept + mine

    def __del__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def difference(result: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Returns the largest difference between arrays of one name, relative to the largest entry there.

    An entry counts as at least 0.1 and at most 1: 1e-4 means 1e-4 for numbers from 1 on, and 1e-5 for tiny ones.
    """
    worst = 0.0
    for name in set(result) & set(other):
        scale = np.clip(np.abs(other[name]).max(initial=0.0), 0.1, 1.0)
        away = np.abs(result[name] - other[name]).max(initial=0.0)
        worst = max(worst, float(away / scale) if np.isfinite(away) else np.inf)
    return worst


if __name__ == "__main__":
    sys.exit(main())
