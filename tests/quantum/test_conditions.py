"""Conditional flips and signs are the dense matrices of the operations that they are read from."""

import numpy as np
import pytest
from bound_circuits import dense_unitary

from qjax.quantum import Circuit, operation
from qjax.quantum.circuits.custom_gates import diagonal_gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import Conditions, conditional_flip, conditional_sign

N = 4
FLIPS = [
    operation("x", 2),
    operation("cx", (3, 0)),
    operation("ccx", (3, 0, 2)),
    operation("x", 1, controls=(3, 0), control_values=(0, 1)),
    operation("cx", (0, 1), controls=3, control_values=0),
]
SIGNS = [
    operation("z", 1),
    operation("cz", (3, 0)),
    operation("z", 2, controls=(0, 3), control_values=(0, 1)),
    operation("rz", 2, 2 * np.pi),
    operation(diagonal_gate([0, 0, np.pi, 0]), (1, 3)),
]
NEITHER = [
    operation("swap", (0, 1)),
    operation("h", 0),
    operation("rx", 0, np.pi),
    operation("s", 0),
    operation("rz", 0, 0.3),
    operation(diagonal_gate([0, np.pi, np.pi, 0]), (1, 3)),
]


def holds(conditions: Conditions) -> np.ndarray:
    rows = np.arange(2**N)
    held = np.ones(2**N, bool)
    for qubit, value in conditions:
        held &= (rows >> (N - 1 - qubit) & 1) == value
    return held


@pytest.mark.parametrize("op", FLIPS, ids=repr)
def test_a_flip_is_its_matrix(op: Operation) -> None:
    flip = conditional_flip(op)
    assert flip is not None
    assert conditional_sign(op) is None
    target, conditions = flip
    rows = np.arange(2**N)
    image = np.where(holds(conditions), rows ^ (1 << (N - 1 - target)), rows)
    np.testing.assert_allclose(dense_unitary(Circuit(N, (op,))), np.eye(2**N)[:, image], atol=1e-12)


@pytest.mark.parametrize("op", SIGNS, ids=repr)
def test_signs_are_the_matrix(op: Operation) -> None:
    conditions = conditional_sign(op)
    assert conditions is not None
    assert conditional_flip(op) is None
    np.testing.assert_allclose(
        dense_unitary(Circuit(N, (op,))), np.diag(np.where(holds(conditions), -1.0, 1.0)), atol=1e-12
    )


@pytest.mark.parametrize("op", NEITHER, ids=repr)
def test_other_operations_are_neither(op: Operation) -> None:
    assert conditional_flip(op) is None
    assert conditional_sign(op) is None
