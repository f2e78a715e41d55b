"""The reference: a dense NumPy simulator in complex128 with gradients by the adjoint method, slow and plain.

It shares nothing with qjax or a peer but the matrices of `matrices.py`.
"""

from functools import cache

import numpy as np

from benchmarks.case import Case, Op, Ref
from benchmarks.matrices import PAULIS, gate_matrix

# Above these the reference takes too long, and values are compared with qjax's alone.
MAX_QUBITS, MAX_WORK = 16, 2**33
STEP = 1e-3  # of the central differences of a gate's matrix


def is_affordable(case: Case) -> bool:
    """Whether the reference takes seconds (Grover's search has a closed form): not for large states or training."""
    if case.kind.startswith("grover"):
        return True
    if case.kind == "step" or case.num_qubits > MAX_QUBITS:
        return False
    return 2**case.num_qubits * max(case.batch, 1) * len(case.operations) <= MAX_WORK


@cache
def run(case: Case) -> dict[str, np.ndarray]:
    """Returns what the case asks for, float64 or complex128; see `worker.py` for names and shapes."""
    if case.kind.startswith("grover"):
        return {"probability": np.asarray(_grover(case))}
    if case.kind == "state":
        psi = _final_state(case, None)
        return {"amplitudes": psi.reshape(-1)[case.amplitude_indices] * 2 ** (case.num_qubits / 2)}
    if case.kind == "unitary":
        columns = [_final_state(case, row).reshape(-1) for row in np.eye(2**case.num_qubits)]
        return {"matrix": np.stack(columns, axis=1)}
    rows = [None] if case.inputs is None else list(case.inputs)
    signs = _observable_diagonals(case)
    if case.kind == "expectation":
        return {"expectations": np.stack([signs @ np.abs(_final_state(case, row).reshape(-1)) ** 2 for row in rows])}
    parts = [_gradient(case, row, np.asarray(case.coefficients) @ signs) for row in rows]
    result = {
        "value": np.mean([value for value, _, _ in parts]),
        "weights": np.mean([weights for _, weights, _ in parts], axis=0),
        "inputs": np.stack([inputs for _, _, inputs in parts]) / len(rows),
    }
    keep = {"gradient_inputs": ("value", "weights", "inputs")}.get(case.kind, ("value", "weights"))
    return {name: result[name] for name in keep}


def apply(psi: np.ndarray, matrix: np.ndarray, qubits: tuple[int, ...]) -> np.ndarray:
    """Returns the matrix `[2**k, 2**k]` applied to `qubits` of a state `[2] * n`."""
    k = len(qubits)
    out = np.tensordot(matrix.reshape((2,) * (2 * k)), psi, axes=(range(k, 2 * k), qubits))
    return np.moveaxis(out, range(k), qubits)


def _value(angle: Ref | float, weights: np.ndarray, row: np.ndarray | None) -> float:
    if not isinstance(angle, Ref):
        return angle
    return angle.scale * float(weights[angle.index] if angle.kind == "w" else row[angle.index])


def _apply(psi: np.ndarray, op: Op, case: Case, row: np.ndarray | None, back: bool = False) -> np.ndarray:
    """Returns the gate, or its inverse, applied to the state."""
    angles = [_value(angle, case.weights, row) for angle in op.angles]
    if op.gate == "pauli":
        return _apply_pauli(psi, op, -angles[0] if back else angles[0])
    matrix = _matrix(op.gate, angles)
    return apply(psi, matrix.conj().T if back else matrix, op.qubits)


def _apply_pauli(psi: np.ndarray, op: Op, angle: float) -> np.ndarray:
    moved = psi
    for letter, q in zip(op.letters, op.qubits, strict=True):
        moved = apply(moved, PAULIS[letter.lower()], (q,))
    return np.cos(angle / 2) * psi - 1j * np.sin(angle / 2) * moved


def _matrix(gate: str, angles: list[float]) -> np.ndarray:
    return np.asarray(gate_matrix(np, gate, tuple(np.asarray(a) for a in angles)), np.complex128)


def _final_state(case: Case, row: np.ndarray | None) -> np.ndarray:
    psi = np.zeros((2,) * case.num_qubits, np.complex128)
    psi[(0,) * case.num_qubits] = 1
    if case.inputs_are == "states":
        psi = row.reshape(psi.shape).astype(np.complex128)
    for op in case.operations:
        psi = _apply(psi, op, case, row)
    return psi


def _observable_diagonals(case: Case) -> np.ndarray:
    """Returns `[observables, 2**n]` entries 1 and -1."""
    n, index = case.num_qubits, np.arange(2**case.num_qubits)
    bits = {q: 1 - 2.0 * ((index >> (n - 1 - q)) & 1) for q in range(n)}
    return np.stack([np.prod([bits[q] for q in places], axis=0) for places in case.observables])


def _gradient(case: Case, row: np.ndarray | None, diagonal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the value, and the gradients `[num_weights]` and `[num_inputs]`, of one example.

    The derivative of a gate's matrix is a central difference of the matrix alone: every entry is a sum of sines and
    cosines of at most twice the angle, so that `STEP` with Richardson's correction is exact to 1e-12.
    """
    psi = _final_state(case, row)
    costate = diagonal.reshape(psi.shape) * psi
    value = float(np.vdot(psi, costate).real)
    grads = {"w": np.zeros(len(case.weights)), "x": np.zeros(case.num_inputs)}
    for op in reversed(case.operations):
        psi = _apply(psi, op, case, row, back=True)
        for place, angle in enumerate(op.angles):
            if isinstance(angle, Ref):
                moved = _apply_derivative(psi, op, case, row, place)
                grads[angle.kind][angle.index] += 2 * angle.scale * float(np.vdot(costate, moved).real)
        costate = _apply(costate, op, case, row, back=True)
    return value, grads["w"], grads["x"]


def _apply_derivative(psi: np.ndarray, op: Op, case: Case, row: np.ndarray | None, place: int) -> np.ndarray:
    """Returns the derivative of the gate for one of its angles, applied to the state."""
    angles = [_value(angle, case.weights, row) for angle in op.angles]
    if op.gate == "pauli":
        return _apply_pauli(psi, op, angles[0] + np.pi) / 2

    def slope(h: float) -> np.ndarray:
        above, below = ([a + h * sign * (k == place) for k, a in enumerate(angles)] for sign in (1, -1))
        return (_matrix(op.gate, above) - _matrix(op.gate, below)) / (2 * h)

    return apply(psi, (4 * slope(STEP) - slope(2 * STEP)) / 3, op.qubits)


def _grover(case: Case) -> float:
    """Returns the probability of the marked state in closed form."""
    angle = np.arcsin(2 ** (-case.num_qubits / 2))
    return float(np.sin((2 * case.num_iterations + 1) * angle) ** 2)
