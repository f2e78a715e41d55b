"""W1 and W2 on a GPU in one process, with what is installed here: for machines without a package index.

Command:  python -m benchmarks.on_gpu [--only=n=8] [--peers=qjax;tensorcircuit-ng] [--seconds=0.5] [--out=FILE]
Time:     about 5 minutes with tensorcircuit-ng, whose compiling takes most of it.

`scripts/bench --device=gpu` has a process for each measurement and environments of its own; here everything shares
one. Prints for each case and form: the median of the calls, what they took in the best case, seconds to trace and
compile, and the largest difference from the float64 reference where that is affordable, else from qjax. The reference
runs on the CPU, a minute for the largest cases; `--exact=no` leaves it out. Of cases of single states it prints how
much of the call would be spent on their bytes at the speed of a copy: a pass for each layer (`report.py`), and for
each pass that qjax makes by `explain`.
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
from benchmarks.case import Case
from benchmarks.environments import PEERS
from benchmarks.peers import qjax_
from benchmarks.peers.jax_common import copy_speed
from benchmarks.workloads import cases
from qjax.quantum import explain

NAMES = tuple(name for name, peer in PEERS.items() if peer.gpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="W1,W2", help="parts of the cases' names, with commas between")
    parser.add_argument("--peers", default=";".join(NAMES), help="with semicolons between")
    parser.add_argument("--seconds", type=float, default=0.5, help="timing of each form at most")
    parser.add_argument("--exact", choices=("yes", "no"), default="yes", help="whether the reference is computed")
    parser.add_argument("--limit", type=float, default=600.0, help="no case is begun after so many seconds")
    parser.add_argument("--out", default="", help="file for the lines, as JSON")
    args = parser.parse_args()
    begun, speed = time.perf_counter(), copy_speed()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, copying {speed / 1e12:.2f} TB/s", flush=True)
    lines: list[dict[str, Any]] = []
    for case in cases(("W1", "W2"), gpu=True):
        if any(part in case.name for part in args.only.split(",")) and time.perf_counter() - begun < args.limit:
            lines += _measure(case, args.peers.split(";"), args.seconds, args.exact == "yes", speed)
            if args.out:
                Path(args.out).write_text(json.dumps(lines, indent=1))


def _measure(case: Case, peers: list[str], seconds: float, is_exact: bool, speed: float) -> list[dict[str, Any]]:
    """Returns a line for each form of each peer."""
    known = is_exact and case.batch <= 4096 and reference.is_affordable(case)
    exact = reference.run(case) if known else None
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
                if not case.batch:
                    line["floors"] = [count / speed / statistics.median(taken) for count in _least_bytes(case)]
                    shown += ", floors " + " and ".join(f"{share:.0%}" for share in line["floors"])
            except Exception as error:
                shown = line["failed"] = f"{type(error).__name__}: {error}"[:300]
            print(f"{case.name} | {name} | {form} | {shown}", flush=True)
            lines.append(line)
    return lines


def _least_bytes(case: Case) -> tuple[int, int]:
    """Returns the bytes of a pass for each layer, both ways, and those that `explain` counts for what runs."""
    is_forward, state = case.kind == "expectation", 8 * 2**case.num_qubits
    times = 1 if is_forward else 3  # back there are state and cotangent
    counted = explain(qjax_.circuit_of(case), observables=qjax_.observables_of(case, as_loss=not is_forward))
    moved = counted.forward.num_bytes + (0 if is_forward else counted.reverse.num_bytes)
    return 2 * times * (case.num_layers + 1) * state, int(moved)


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
