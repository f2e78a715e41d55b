"""Grover's search by reflections: exactness, passes over the state, compile time, memory.

Command:  .venv/bin/python benchmarks/grover.py        (about a minute)

A pass is one read and one write of the state. Times are medians, warm-up left out. The peers of the same search, gate
by gate, are workload W9 of `scripts/bench`.
"""

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qjax.algorithms.grover import optimal_iterations, search, search_bytes, success_probability_after

REPEATS = 7


def seconds(call: Callable[[], Any]) -> float:
    """Returns the median time of a call, the first one left out."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_seconds(num_qubits: int) -> float:
    """Returns the time of one pass: a copy of as many float32 numbers as the state has."""
    source, target = np.ones(2**num_qubits, np.float32), np.empty(2**num_qubits, np.float32)
    return seconds(lambda: np.copyto(target, source))


def run_seconds(num_qubits: int, num_iterations: int) -> float:
    """Returns the time of a search for one state."""
    return seconds(lambda: search(num_qubits, [1], num_iterations).state.block_until_ready())


def first_call_seconds(num_iterations: int) -> float:
    """Returns the time of the first search at 12 qubits: tracing, compiling and the run itself."""
    jax.clear_caches()
    start = time.perf_counter()
    search(12, [1], num_iterations).state.block_until_ready()
    return time.perf_counter() - start


def largest_error() -> float:
    """Returns the largest distance of a success probability from the closed form, for 2 to 20 qubits."""
    worst = 0.0
    for n in range(2, 21):
        for count in {1, 2, 3, 2 ** (n - 2)}:
            marked = np.random.default_rng(n).choice(2**n, count, replace=False).tolist()
            found = search(n, marked, max(optimal_iterations(n, count), 3)).success_probabilities
            closed = [success_probability_after(n, count, k) for k in range(len(found))]
            worst = max(worst, float(np.abs(np.asarray(found) - closed).max()))
    return worst


def main() -> None:
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {platform.machine()}\n")
    compile_8, compile_800 = (statistics.median(first_call_seconds(k) for _ in range(5)) for k in (8, 800))
    print(f"first call, 12 qubits: 8 iterations {compile_8:.3f} s, 800 iterations {compile_800:.3f} s", end=", ")
    print(f"ratio {compile_800 / compile_8:.2f}")
    for n, iterations in ((20, 804), (24, 100)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        whole = run_seconds(n, iterations)
        more = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, 0)
        one, copy = whole / iterations, copy_seconds(n)
        print(f"{n} qubits, {iterations} iterations: {whole:.3f} s, {one * 1e6:.0f} us an iteration", end=", ")
        print(f"{one / copy:.2f} times a copy of the state ({copy * 1e6:.0f} us)")
        print(f"    peak memory grew by {more / 2**20:.0f} MiB; stated {search_bytes(n) / 2**20:.0f} MiB", end="; ")
        print(f"a state is {4 * 2**n / 2**20:.0f} MiB")
    print(f"largest distance from the closed form, 2 to 20 qubits: {largest_error():.1e}")


if __name__ == "__main__":
    main()
