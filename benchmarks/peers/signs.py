"""The diagonals of observables, for peers that read them from probabilities."""

import numpy as np

from benchmarks.case import Case


def signs_of(case: Case) -> np.ndarray:
    """Returns `[2**n, observables]`, entries 1 and -1, int8."""
    n, index = case.num_qubits, np.arange(2**case.num_qubits)
    columns = []
    for places in case.observables:
        flips = np.zeros_like(index)
        for q in places:
            flips ^= (index >> (n - 1 - q)) & 1
        columns.append((1 - 2 * flips).astype(np.int8))
    return np.stack(columns, axis=1)


def diagonal_of(case: Case) -> np.ndarray:
    """Returns `[2**n]`, the weighted sum of the observables."""
    return signs_of(case) @ np.asarray(case.coefficients)
