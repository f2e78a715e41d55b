"""The reference: a dense NumPy simulator in complex128 with gradients by the adjoint method, slow and plain.

It shares nothing with qjax or a peer but the matrices of `matrices.py`.
"""

from functools import cache

import numpy as np

from benchmarks.matrices import gate_matrix
from benchmarks.workloads import Case, Op, Ref

# Above these the reference takes too long, and values are compared with qjax's alone.
MAX_QUBITS, MAX_WORK = 16, 2**33


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


def _matrix(op: Op, case: Case, row: np.ndarray | None, nudge: tuple[int, float] | None = None) -> np.ndarray:
    angles = [_value(angle, case.weights, row) for angle in op.angles]
    if nudge:
        angles[nudge[0]] += nudge[1]
    return np.asarray(gate_matrix(np, op.gate, tuple(np.asarray(a) for a in angles)), np.complex128)


def _final_state(case: Case, row: np.ndarray | None) -> np.ndarray:
    psi = np.zeros((2,) * case.num_qubits, np.complex128)
    psi[(0,) * case.num_qubits] = 1
    for op in case.operations:
        psi = apply(psi, _matrix(op, case, row), op.qubits)
    return psi


def _observable_diagonals(case: Case) -> np.ndarray:
    """Returns `[observables, 2**n]` entries 1 and -1."""
    n, index = case.num_qubits, np.arange(2**case.num_qubits)
    bits = {q: 1 - 2.0 * ((index >> (n - 1 - q)) & 1) for q in range(n)}
    return np.stack([np.prod([bits[q] for q in places], axis=0) for places in case.observables])


def _gradient(case: Case, row: np.ndarray | None, diagonal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the value, and the gradients `[num_weights]` and `[num_inputs]`, of one example.

    The derivative of a gate's matrix is a central difference of the matrix alone: every entry is a sum of sines and
    cosines of at most twice the angle, so that the step 1e-3 with Richardson's correction is exact to 1e-12.
    """
    psi = _final_state(case, row)
    costate = diagonal.reshape(psi.shape) * psi
    value = float(np.vdot(psi, costate).real)
    grads = {"w": np.zeros(len(case.weights)), "x": np.zeros(case.num_inputs)}
    for op in reversed(case.operations):
        back = _matrix(op, case, row).conj().T
        psi = apply(psi, back, op.qubits)
        for place, angle in enumerate(op.angles):
            if isinstance(angle, Ref):
                moved = apply(psi, _derivative(op, case, row, place), op.qubits)
                grads[angle.kind][angle.index] += 2 * angle.scale * float(np.vdot(costate, moved).real)
        costate = apply(costate, back, op.qubits)
    return value, grads["w"], grads["x"]


def _derivative(op: Op, case: Case, row: np.ndarray | None, place: int, step: float = 1e-3) -> np.ndarray:
    def slope(h: float) -> np.ndarray:
        return (_matrix(op, case, row, (place, h)) - _matrix(op, case, row, (place, -h))) / (2 * h)

    return (4 * slope(step) - slope(2 * step)) / 3


def _grover(case: Case) -> float:
    """Returns the probability of the marked state in closed form."""
    angle = np.arcsin(2 ** (-case.num_qubits / 2))
    return float(np.sin((2 * case.num_iterations + 1) * angle) ** 2)
