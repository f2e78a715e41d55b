"""How long 100,000 shots of 20 qubits take, beside Aer: `python -m benchmarks.shots`.

One circuit, 2 layers of RY by numbers and a chain of CX, in float32. qjax's `sample` is compiled before; its whole
call and its draw alone stand beside Aer's whole run and the time that Aer says it took to draw. All take turns in one
process; times are medians of 7, in milliseconds.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from qjax.quantum import Circuit, probabilities, sample
from qjax.quantum.measure.samples import sample_indices

NUM_QUBITS, SHOTS, TURNS = 20, 100_000, 7


def circuits() -> tuple[Circuit, QuantumCircuit]:
    """Returns the circuit, ours and Qiskit's."""
    draws, ours, theirs = np.random.default_rng(0), Circuit(NUM_QUBITS), QuantumCircuit(NUM_QUBITS)
    for _ in range(2):
        for qubit in range(NUM_QUBITS):
            angle = float(draws.uniform(-3, 3))
            ours = ours.append("ry", qubit, angle)
            theirs.ry(angle, qubit)
        for qubit in range(NUM_QUBITS - 1):
            ours = ours.append("cx", (qubit, qubit + 1))
            theirs.cx(qubit, qubit + 1)
    theirs.measure_all()
    return ours, theirs


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Returns the milliseconds of a call, and what it returned."""
    begin = time.perf_counter()
    found = jax.block_until_ready(function(*args))
    return 1e3 * (time.perf_counter() - begin), found


def run_aer(simulator: AerSimulator, circuit: QuantumCircuit, seed: int) -> Any:
    """Returns the result of a run of Aer."""
    return simulator.run(circuit, shots=SHOTS, seed_simulator=seed).result()


def main() -> None:
    ours, theirs = circuits()
    # Aer 0.18's fusion gives wrong states (qjax/export/aer.py).
    aer = {
        precision: AerSimulator(method="statevector", precision=precision, fusion_enable=False)
        for precision in ("single", "double")
    }
    weights = jax.jit(lambda: probabilities(ours))()
    key = jax.random.key(0)
    whole = jax.jit(lambda k: sample(k, ours, shots=SHOTS)).lower(key).compile()
    draw = jax.jit(lambda k, w: sample_indices(k, w, SHOTS)).lower(key, weights).compile()
    times = defaultdict(list)
    for turn in range(TURNS):
        key = jax.random.key(turn)
        times["qjax, whole"].append(timed(whole, key)[0])
        times["qjax, draw"].append(timed(draw, key, weights)[0])
        for precision, simulator in aer.items():
            took, result = timed(run_aer, simulator, theirs, turn)
            times[f"aer {precision}, whole"].append(took)
            times[f"aer {precision}, draw"].append(1e3 * result.results[0].metadata["sample_measure_time"])
    for name, values in times.items():
        print(f"{name:<20} {statistics.median(values):8.1f} ms")


if __name__ == "__main__":
    main()
