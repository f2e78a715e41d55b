"""W12: building, first call, second call and memory of long circuits of distinct gates, beside peers.

Command:  python -m benchmarks.first_calls [--qubits=8,12,20] [--gates=100,1000] [--only=qjax,Aer] [--cores=1|all]

Random circuits of all gate kinds, every gate with angles of its own, to the final state in single precision (qulacs:
double). 'gradient' has a parameter for each angle, and gives the value and gradient of <Z> of one qubit. Each
measurement is a process of its own, which first runs another circuit of 60 gates on as many qubits: what that takes
is 'once', the kernels that are compiled once a process, and caches. Then come 'build', the circuit from a list of
gates; 'first' and 'second', two calls; and by how much the memory of the process grew from the start of building to
the end of the first call. Final states are compared with qjax's.
"""

import argparse
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

import numpy as np

from benchmarks.environments import PEERS, install, python_of
from benchmarks.worker import peak_of_memory, reset_peak
from benchmarks.workloads import distinct_gates

# what a table calls it -> (peer, function that returns its forms, form)
FORMS = {
    "qjax, eagerly": ("qjax", "first_forms", "eagerly"),
    "qjax, under jit": ("qjax", "first_forms", "under jit"),
    "qjax, gradient under jit": ("qjax", "first_forms", "under jit"),
    "Aer": ("Aer", "forms", "fusion off"),
    "qulacs": ("qulacs", "forms", "gates"),
    "qsim": ("qsim", "forms", "fused to 2 qubits"),
}
COLUMNS = ("qubits", "gates", "with", "once", "build", "first", "second", "memory", "first, ms a gate")
TOLERANCE = 1e-3  # of amplitudes times 2**(n / 2), after up to 100,000 gates in single precision
NUM_WARM, CHECKED = 60, 50


def measure(name: str, n: int, num_gates: int) -> dict[str, Any]:
    """Returns the seconds, bytes and some amplitudes of one measurement in this process."""
    peer, function, form = FORMS[name]
    module = importlib.import_module(PEERS[peer].module)
    getattr(module, "warm_up", lambda: None)()

    def build(case: Any) -> Any:
        return getattr(module, function)(case)[form](case)

    trained = "gradient" in name
    begin = time.perf_counter()
    build(distinct_gates(n, NUM_WARM, seed=1, trained=trained)).call()
    once = time.perf_counter() - begin
    case = distinct_gates(n, num_gates, trained=trained)
    assert case.operations  # made, and kept by the case
    gc.collect()
    before = reset_peak()
    marks = [time.perf_counter()]
    run = build(case)
    marks.append(time.perf_counter())
    out = run.call()
    marks.append(time.perf_counter())
    grown = peak_of_memory() - before
    out = run.call()
    marks.append(time.perf_counter())
    amplitudes = run.result(out).get("amplitudes", np.zeros(0))[:CHECKED]
    parts = [amplitudes.real.tolist(), amplitudes.imag.tolist()]
    return {"seconds": [once, *np.diff(marks).tolist()], "bytes": grown, "parts": parts}


def in_process(name: str, n: int, num_gates: int, limit: int) -> dict[str, Any] | str:
    """Returns what `measure` says in a process of its own, or why it says nothing."""
    command = [str(python_of(FORMS[name][0])), str(Path(__file__).resolve()), f"--measure={name}"]
    command += [f"--qubits={n}", f"--gates={num_gates}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"more than {limit} s"
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:200]


def row_of(name: str, n: int, num_gates: int, found: dict[str, Any] | str, ours: np.ndarray | None) -> str:
    """Returns the row of a table; `ours` are the amplitudes of qjax."""
    cells = [str(n), f"{num_gates:,}", name]
    if isinstance(found, str):
        return "| " + " | ".join([*cells, found, *[""] * 5]) + " |"
    cells += [f"{s:.3g} s" if s >= 0.1 else f"{1e3 * s:.3g} ms" for s in found["seconds"]]
    cells += [f"{found['bytes'] / 2**20:.0f} MiB", f"{1e3 * found['seconds'][2] / num_gates:.3f}"]
    parts = np.asarray(found["parts"])
    far = float(np.abs(parts - ours).max()) if ours is not None and parts.size else 0.0
    return "| " + " | ".join(cells) + " |" + ("" if far < TOLERANCE else f" **differs by {far:.1e}**")


def main() -> int:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_calls", description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=numbers, default=[8, 12, 20])
    parser.add_argument("--gates", type=numbers, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--only", default="", help="peers, such as qjax,Aer; default all")
    parser.add_argument("--cores", choices=("1", "all"), default="1")
    parser.add_argument("--limit", type=int, default=600, help="seconds for a process; default 600")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.qubits[0], args.gates[0])))
        return 0
    mine = sorted(os.sched_getaffinity(0))
    used = mine if args.cores == "all" else mine[-1:]
    os.sched_setaffinity(0, set(used))
    os.environ |= {"OMP_NUM_THREADS": str(len(used)), "JAX_PLATFORMS": "cpu"}
    chosen = [name for name in FORMS if not args.only or name.split(",")[0] in args.only.split(",")]
    problems = {name: install(FORMS[name][0]) for name in chosen}
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for n in args.qubits:
        for num_gates in args.gates:
            ours = None
            for name in chosen:
                found = problems[name] or in_process(name, n, num_gates, args.limit)
                print(row_of(name, n, num_gates, found, ours), flush=True)
                if ours is None and isinstance(found, dict):
                    ours = np.asarray(found["parts"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
