"""How long the first calls of long circuits take, and later ones: `python -m benchmarks.first_calls`.

Prints CPU seconds of the first call of each case, tracing and compiling included, and milliseconds of a later one,
both outside of jit and under it. Cases run one after the other in processes of their own.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum import Circuit, expectation, parameter, state, z_observables

CASES = ("state 1000", "state 5000", "gradient")


def random_circuit(num_qubits: int, num_gates: int) -> Circuit:
    """Returns a circuit of CX and of RY and RZ by numbers, the same each time."""
    rng, circuit = np.random.default_rng(0), Circuit(num_qubits)
    for _ in range(num_gates):
        qubits = [int(q) for q in rng.permutation(num_qubits)[:2]]
        name = ("cx", "ry", "rz")[rng.integers(3)]
        circuit = circuit.append(name, qubits) if name == "cx" else circuit.append(name, qubits[0], rng.normal())
    return circuit


def long_model(num_pairs: int) -> Circuit:
    """Returns a circuit on 4 qubits of pairs of RY, each with a parameter of its own, and CX."""
    circuit = Circuit(4)
    for i in range(num_pairs):
        circuit = circuit.append("ry", i % 4, parameter("w", i)).append("cx", (i % 4, (i + 1) % 4))
    return circuit


def case(name: str) -> tuple[Callable[[Any], Any], Any]:
    """Returns the function of a case and its argument."""
    if name == "gradient":
        model, angles = long_model(100), jnp.linspace(0.0, 1.0, 100, dtype=jnp.float32)
        return jax.grad(lambda w: expectation(model, {"w": w}, None, z_observables(4)).sum()), angles
    circuit = random_circuit(8, int(name.split()[1]))
    return lambda _: state(circuit), jnp.zeros(())


def measure(name: str, jitted: bool) -> None:
    """Prints the times of a case."""
    jax.block_until_ready(state(Circuit(1).append("h", 0)))
    function, argument = case(name)
    run = jax.jit(function) if jitted else function
    begin = time.process_time()
    jax.block_until_ready(run(argument))
    first, later = time.process_time() - begin, []
    for _ in range(100):
        start = time.perf_counter()
        jax.block_until_ready(run(argument))
        later.append(time.perf_counter() - start)
    way = "under jit" if jitted else "eagerly"
    print(f"{name:12} {way:10} first {first:6.2f} s CPU, later {1e3 * np.median(later):6.3f} ms", flush=True)


def main() -> None:
    """Measures all cases, or the one that the arguments name."""
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2] == "jit")
        return
    for name in CASES:
        for way in ("eager", "jit"):
            subprocess.run([sys.executable, "-m", "benchmarks.first_calls", name, way], check=True)
    lowered = jax.jit(lambda: state(random_circuit(14, 200))).lower()
    print(f"n = 14, 200 gates: {len(lowered.as_text().splitlines()):,} lines of StableHLO")


if __name__ == "__main__":
    main()
