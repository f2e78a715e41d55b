"""The quantum Fourier transform against the matrix of the discrete one, and against Qiskit's circuit."""

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit.library import QFTGate
from qiskit.quantum_info import Operator

from qjax.algorithms.qft import qft, qft_error_bound
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.quantum import Circuit, basis_state, state, unitary


def dft_matrix(n: int) -> np.ndarray:
    size = 2**n
    return np.exp(2j * pi * np.outer(np.arange(size), np.arange(size)) / size) / np.sqrt(size)


def bit_reversal(n: int) -> np.ndarray:
    """The permutation matrix that reverses the bits of an index."""
    reversed_bits = [int(f"{i:0{n}b}"[::-1], 2) for i in range(2**n)]
    return np.eye(2**n)[reversed_bits]


def approximate_matrix(n: int, degree: int) -> np.ndarray:
    """Coppersmith's sum: exp(2 pi i x y / 2**n) with only the products of bits that are kept.

    Bit a of x and bit b of y (0 the most significant) give the phase 2 pi 2**(n - 2 - a - b), a whole turn or none
    where a + b < n - 1, pi at n - 1 (the Hadamard), and pi / 2**k at n - 1 + k.
    """
    index = np.arange(2**n)
    bits = (index[:, None] >> (n - 1 - np.arange(n))) & 1
    phases = np.zeros((2**n, 2**n))
    for a in range(n):
        for b in range(n):
            k = a + b - (n - 1)
            if 0 <= k < n - degree:
                phases += pi / 2**k * np.outer(bits[:, b], bits[:, a])
    return np.exp(1j * phases) / np.sqrt(2**n)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_unitary_is_the_dft_matrix(n: int) -> None:
    np.testing.assert_allclose(unitary(qft(n)), dft_matrix(n), atol=2e-6)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("swaps", [True, False])
def test_inverse_and_swaps(n: int, swaps: bool) -> None:
    forward = dft_matrix(n) if swaps else bit_reversal(n) @ dft_matrix(n)
    np.testing.assert_allclose(unitary(qft(n, swaps=swaps)), forward, atol=2e-6)
    np.testing.assert_allclose(unitary(qft(n, inverse=True, swaps=swaps)), forward.conj().T, atol=2e-6)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_it_is_qiskits_gate(n: int) -> None:
    """In Qiskit's order of the bits, which `reverse_bits` gives to an exported circuit."""
    theirs = Operator(QFTGate(n)).data
    np.testing.assert_allclose(unitary(qft(n)), theirs, atol=2e-6)
    np.testing.assert_allclose(Operator(to_qiskit(qft(n)).reverse_bits()).data, theirs, atol=1e-10)


@pytest.mark.parametrize(("n", "degree"), [(2, 1), (4, 1), (4, 3), (6, 2)])
def test_approximate_transform(n: int, degree: int) -> None:
    found = np.asarray(unitary(qft(n, approximation_degree=degree)))
    np.testing.assert_allclose(found, approximate_matrix(n, degree), atol=2e-6)
    error = np.linalg.norm(dft_matrix(n) - approximate_matrix(n, degree), ord=2)
    bound = qft_error_bound(n, degree)
    assert 0.3 * bound < error <= bound * (1 + 1e-9)  # a bound, and not an idle one
    assert len(qft(n, approximation_degree=degree).operations) < len(qft(n).operations)


def test_bound_of_the_exact_transform_is_zero() -> None:
    assert qft_error_bound(5, 0) == 0


def test_counts_of_gates() -> None:
    assert qft(8).counts() == {"h": 8, "cp": 28, "swap": 4}
    # Degree d keeps n - 1 - d phases a qubit where there is room for them.
    assert qft(8, approximation_degree=5).counts() == {"h": 8, "cp": 13, "swap": 4}
    assert qft(8, approximation_degree=7).counts() == {"h": 8, "swap": 4}


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 31), st.permutations(range(5)))
def test_on_part_of_a_register(index: int, order: list[int]) -> None:
    n, part, rest = 5, order[:3], order[3:]
    circuit = basis_state(f"{index:05b}") + qft(3).remap(part, n)
    found = np.asarray(state(circuit)).reshape((2,) * n).transpose(*part, *rest).reshape(8, 4)
    bits = [(index >> (n - 1 - q)) & 1 for q in (*part, *rest)]
    x, other = int("".join(map(str, bits[:3])), 2), int("".join(map(str, bits[3:])), 2)
    np.testing.assert_allclose(found, np.outer(dft_matrix(3)[:, x], np.eye(4)[other]), atol=1e-6)


def test_fourteen_qubits_find_a_period() -> None:
    """A state of period 2**k becomes one of period 2**(n - k): more than matrices can show."""
    n, k = 14, 5
    circuit = Circuit(n)
    for q in range(n - k):
        circuit = circuit.append("h", q)  # indices 0, 32, 64, ...
    found = np.abs(np.asarray(state(circuit + qft(n)))) ** 2
    expected = np.zeros(2**n)
    expected[:: 2 ** (n - k)] = 2.0**-k
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: qft(0), "Argument `num_qubits` must be an integer of at least 1, but got 0."),
        (
            lambda: qft(3, approximation_degree=3),
            r"Argument `approximation_degree` must be an integer of 0\.\.2, but got 3\.",
        ),
        (lambda: qft_error_bound(3, -1), r"Argument `approximation_degree`"),
    ],
)
def test_mistakes(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]
