"""Random circuits in two forms made side by side: qjax's Circuit, and a plain list for `dense_reference.run`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dense_reference import ROTATIONS, WIDTHS

from qjax.quantum import Angle, Circuit, Repeat, input_angle, operation, parameter

NUM_INPUTS = 3
Lookup = Callable[[str, tuple[int, ...]], float]
# (name, qubits, function of (values of parameters, inputs) -> angles)
PlainGate = tuple[str, tuple[int, ...], Callable[[Lookup, np.ndarray], tuple[float, ...]]]


@dataclass
class Case:
    circuit: Circuit
    gates: list[PlainGate]

    def reference_gates(self, params: dict[str, np.ndarray], inputs: Any) -> list[Any]:
        def look_up(name: str, index: tuple[int, ...]) -> float:
            return float(params[name][index])

        return [(name, qubits, angles(look_up, np.asarray(inputs))) for name, qubits, angles in self.gates]


def random_case(seed: int, *, max_qubits: int = 6, max_gates: int = 14) -> Case:
    """Gates of the whole table; parameters, inputs, shared and product angles; a Repeat, sometimes inside another."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, max_qubits + 1))
    first, second = (_random_block(rng, n, "shared", rng.integers(1, max_gates)) for _ in range(2))
    body = _random_block(rng, n, "inner", rng.integers(1, 6))
    circuit, gates = first.circuit, list(first.gates)
    if rng.random() < 0.7:
        reps = int(rng.choice([1, 2, 3, 17]))  # 17 is too long to be written out
        circuit, gates = _repeat(body, reps, reverse=bool(rng.random() < 0.3), before=circuit, gates=gates)
        if rng.random() < 0.3:
            circuit, gates = _repeat(Case(circuit, gates), 2, reverse=True, before=Circuit(n), gates=[])
            second = _random_block(rng, n, "after", 5)
    return Case(circuit + second.circuit, gates + second.gates)


def random_values(case: Case, seed: int, *, batch: int, dtype: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters, and inputs [batch, num_inputs]."""
    rng = np.random.default_rng(seed)
    params = {k: rng.uniform(-4, 4, s).astype(dtype) for k, s in case.circuit.parameter_shapes.items()}
    return params, rng.uniform(-4, 4, (batch, case.circuit.num_inputs)).astype(dtype)


def _repeat(body: Case, reps: int, *, reverse: bool, before: Circuit, gates: list[PlainGate]) -> Any:
    order = range(reps - 1, -1, -1) if reverse else range(reps)

    def shifted(angles: Any, r: int) -> Any:
        return lambda look_up, x: angles(lambda name, index: look_up(name, (r, *index)), x)

    plain = [(name, qubits, shifted(angles, r)) for r in order for name, qubits, angles in body.gates]
    return before + Circuit(before.num_qubits, (Repeat(body.circuit, reps, reverse),)), gates + plain


def _random_block(rng: np.random.Generator, n: int, name: str, num_gates: int) -> Case:
    names = [g for g, width in WIDTHS.items() if width <= n]
    operations, gates = [], []
    for _ in range(int(num_gates)):
        gate = str(rng.choice(names))
        qubits = tuple(int(q) for q in rng.permutation(n)[: WIDTHS[gate]])
        angles: tuple[Angle | float, ...] = ()
        plain: Any = lambda look_up, x: ()  # noqa: E731
        if gate in ROTATIONS:
            angle, plain = _random_angle(rng, name)
            angles = (angle,)
        operations.append(operation(gate, qubits, *angles))
        gates.append((gate, qubits, plain))
    return Case(Circuit(n, tuple(operations)), gates)


def _random_angle(rng: np.random.Generator, name: str) -> tuple[Angle | float, Any]:
    a, b = round(float(rng.uniform(-2, 2)), 3), round(float(rng.uniform(-2, 2)), 3)
    i, j = int(rng.integers(4)), int(rng.integers(NUM_INPUTS))
    theta, scalar, x = parameter(name, i), parameter(name + "_scalar"), input_angle(j)
    choices: list[tuple[Angle | float, Any]] = [
        (a, lambda p, v: (a,)),
        (theta, lambda p, v: (p(name, (i,)),)),
        (x, lambda p, v: (v[j],)),
        (a * theta + b, lambda p, v: (a * p(name, (i,)) + b,)),
        (theta * x * b, lambda p, v: (b * p(name, (i,)) * v[j],)),
        ((a - theta) * (x - b), lambda p, v: ((a - p(name, (i,))) * (v[j] - b),)),
        (theta - scalar * scalar, lambda p, v: (p(name, (i,)) - p(name + "_scalar", ()) ** 2,)),
    ]
    return choices[int(rng.integers(len(choices)))]
