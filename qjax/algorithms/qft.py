"""The quantum Fourier transform, exact and approximate, as a circuit.

Qubit 0 is the most significant bit of x and of y. A part of a bigger register is transformed by
`qft(k).remap(qubits, num_qubits)`, qubits[0] being the most significant bit of the part.
"""

from math import pi, sin

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation, operation


def qft(num_qubits: int, *, inverse: bool = False, swaps: bool = True, approximation_degree: int = 0) -> Circuit:
    """Returns the circuit |x> -> sum over y of exp(2 pi i x y / 2**n) |y> / sqrt(2**n), with n = num_qubits.

    It has n(n+1)/2 gates and n/2 swaps (Nielsen and Chuang 2010, section 5.1, figure 5.1).

    Args:
      num_qubits: n, at least 1.
      inverse: whether to return the circuit that undoes this one: exp(-2 pi i x y / 2**n).
      swaps: whether the bits of y are put in order at the end. Without, qubit 0 holds the least significant bit of y,
        and the inverse expects it there.
      approximation_degree: d, 0..n-1. Phases pi / 2**k between qubits k = n-d or more apart are left out, the same as
        Qiskit's option does (Coppersmith 1994, arXiv:quant-ph/0201067). `qft_error_bound` says how wrong that is.

    Raises:
      UserError: a number is not an integer of its range.

    >>> qft(2)
    Circuit(2 qubits: h 0, cp(1.5708) 1 0, h 1, swap 0 1)
    """
    n, degree = _check_sizes(num_qubits, approximation_degree)
    operations: list[Operation] = []
    for target in range(n):
        operations.append(operation("h", target))
        for distance in range(1, min(n - target, n - degree)):
            operations.append(operation("cp", (target + distance, target), pi / 2**distance))
    if swaps:
        operations += [operation("swap", (q, n - 1 - q)) for q in range(n // 2)]
    circuit = Circuit(n, tuple(operations))
    return circuit.inverse() if inverse else circuit


def qft_error_bound(num_qubits: int, approximation_degree: int) -> float:
    """Returns an upper bound on ||U - V||, the spectral norm, U being the exact transform and V the approximate one.

    Leaving out one phase pi / 2**k moves the unitary by |exp(i pi / 2**k) - 1| = 2 sin(pi / 2**(k+1)), there are
    n - k of them, and errors of a product of gates add up at most (Nielsen and Chuang 2010, equation 4.63). A
    probability moves by at most twice the bound (equation 4.62).

    Raises:
      UserError: a number is not an integer of its range.
    """
    n, degree = _check_sizes(num_qubits, approximation_degree)
    return sum(((n - k) * 2 * sin(pi / 2 ** (k + 1)) for k in range(n - degree, n)), 0.0)


def _check_sizes(num_qubits: int, approximation_degree: int) -> tuple[int, int]:
    n, degree = as_index("num_qubits", num_qubits), as_index("approximation_degree", approximation_degree)
    check(n >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    check(0 <= degree < n, "approximation_degree", f"be an integer of 0..{n - 1}", approximation_degree)
    return n, degree
