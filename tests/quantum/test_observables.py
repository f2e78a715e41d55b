"""Observables as data, and what they give on a state, against sums of Kronecker products."""

from collections.abc import Callable
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import Circuit, expectation, parameter
from qjax.quantum.measure.expectation import apply_observable, observable_values
from qjax.quantum.measure.observables import (
    Hermitian,
    Observable,
    PauliString,
    PauliSum,
    Projector,
    check_observables,
    z_observables,
)
from qjax.quantum.states.axes import join_qubits, split_qubits

RNG = np.random.default_rng(7)
N, BATCH = 4, 2
# These tests compile many programs and run each once.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def random_state(*shape: int) -> np.ndarray:
    """Normalised along the last axis."""
    state = RNG.normal(size=shape) + 1j * RNG.normal(size=shape)
    return state / np.linalg.norm(state, axis=-1, keepdims=True)


def random_hermitian(dim: int) -> np.ndarray:
    matrix = RNG.normal(size=(dim, dim)) + 1j * RNG.normal(size=(dim, dim))
    return matrix + matrix.conj().T


def random_sum(n: int, num_terms: int, letters: str = "IXYZ") -> PauliSum:
    strings = ["".join(RNG.choice(list(letters), n)) for _ in range(num_terms)]
    return PauliSum(tuple((float(RNG.normal()), PauliString(s)) for s in strings))


def pauli_matrix(total: PauliSum) -> np.ndarray:
    return sum(c * dense.pauli(string.paulis) for c, string in total.terms)  # type: ignore[return-value]


# As data. ---------------------------------------------------------------------------------------------------


def test_a_string_from_its_letters() -> None:
    string = PauliString.from_sparse({3: "X", 0: "Z", 2: "I"}, 5)
    assert (string.paulis, string.qubits, string.weight) == ("ZIIXI", (0, 3), 2)
    assert PauliString.from_sparse({}, 2) == PauliString("II")
    assert PauliString("II").weight == 0


@pytest.mark.parametrize("paulis", ["Y", "XZ", "YYI", "IZYX", "YYYZ"])
def test_matrix_of_a_string(paulis: str) -> None:
    np.testing.assert_allclose(PauliString(paulis).matrix(), dense.pauli(paulis), atol=0)


def test_arithmetic() -> None:
    x, z = PauliString("XZ"), PauliString("ZI")
    mx, mz, one = dense.pauli("XZ"), dense.pauli("ZI"), np.eye(4)
    cases: list[tuple[PauliSum, np.ndarray]] = [
        (x + z, mx + mz),
        (x - z * 2, mx - 2 * mz),
        (np.float64(0.5) * x + (x - z), 1.5 * mx - mz),
        (-x + 3, 3 * one - mx),
        (2 - x, 2 * one - mx),
        (1 + (x + z) * np.float32(0.25), one + (mx + mz) / 4),
        (np.int64(2) * -(x - 1), 2 * one - 2 * mx),
        ((x + z) / 4, (mx + mz) / 4),
    ]
    for total, expected in cases:
        np.testing.assert_allclose(total.matrix(), expected, atol=1e-15)
    assert sum([x, z]) == x + z  # the 0 that Python's sum starts with leaves no term
    assert len({x + z, sum([x, z]), z + x}) == 2


@pytest.mark.parametrize(
    ("text", "num_qubits", "terms"),
    [
        ("0.5 XZI - ZZ", None, [(0.5, "XZI"), (-1, "ZZI")]),
        ("Z - .25*XYZ", 4, [(1, "ZIII"), (-0.25, "XYZI")]),
        ("0.5 X0 Z3 - 2 Y1", None, [(0.5, "XIIZ"), (-2, "IYII")]),
        ("2*Z1*Z0+X2Y1 + I0", 4, [(2, "ZZII"), (1, "IYXI"), (1, "IIII")]),
        ("1.5 + Z0", None, [(1.5, "I"), (1, "Z")]),
        ("XX - 1e1", None, [(1, "XX"), (-10, "II")]),
        ("-3", 2, [(-3, "II")]),
        (" + 1e-3 Z1 -1E2X0 ", None, [(1e-3, "IZ"), (-100, "XI")]),
        ("X10", None, [(1, "I" * 10 + "X")]),
    ],
)
def test_sum_from_text(text: str, num_qubits: int | None, terms: list[tuple[float, str]]) -> None:
    found = PauliSum.from_text(text, num_qubits)
    assert found.terms == tuple((c, PauliString(s)) for c, s in terms)
    assert PauliSum.from_text(str(found)) == found


def test_text_keeps_every_coefficient() -> None:
    total = PauliSum(tuple((c, PauliString("XY")) for c in (np.float64(1 / 3), -1e-300, 7, -0.0)))
    assert total.to_text().startswith("0.3333333333333333 XY - 1e-300 XY + 7.0 XY")
    assert PauliSum.from_text(total.to_text()) == total


def test_simplify() -> None:
    total = PauliSum.from_text("XX + 2 ZI - 0.5 XX + IY - IY + 0 ZZ")
    assert total.simplify() == PauliSum.from_text("0.5 XX + 2 ZI")
    assert (total - total).simplify().terms == ((0.0, PauliString("II")),)


def test_matrix_of_a_sum() -> None:
    total = random_sum(3, 40)
    np.testing.assert_allclose(total.matrix(), pauli_matrix(total), atol=1e-12)


@pytest.mark.parametrize(("qubits", "num_qubits"), [((1,), 3), ((2, 0), 3), ((3, 1, 2), 4), ((0, 1), 2)])
def test_matrix_of_local_observables(qubits: tuple[int, ...], num_qubits: int) -> None:
    k = len(qubits)
    local, vector = random_hermitian(2**k), random_state(2**k)
    last = np.zeros((2**k, 2**k))
    last[-1, -1] = last[0, 0] = 1
    cases: list[tuple[Hermitian | Projector, np.ndarray]] = [
        (Hermitian(local, qubits, num_qubits), local),
        (Projector.from_state(vector, qubits, num_qubits), np.outer(vector, vector.conj())),
        (Projector.from_bits(["1" * k, "0" * k, "1" * k], qubits, num_qubits), last),
    ]
    for observable, expected in cases:
        np.testing.assert_allclose(observable.matrix(), dense.embed(expected, qubits, num_qubits), atol=1e-12)


def test_local_observables_compare_by_content() -> None:
    first = Hermitian(np.diag([1.0, -0.0]), [1])
    assert first == Hermitian([[1, 0], [0, 0]], (1,), 2)
    assert (first.num_qubits, first.qubits, Hermitian(np.eye(8)).qubits) == (2, (1,), (0, 1, 2))
    assert len({first, Hermitian(np.diag([1, 0]), [0], 2), Hermitian(np.diag([1, 1]), [1])}) == 3
    assert Projector.from_bits(("10", "01")) == Projector.from_bits(["01", "10", "10"], (0, 1))
    assert Projector.from_bits("11", (4, 2)).num_qubits == 5
    assert Projector.from_state([1, 0]) != Projector.from_bits("0")


# On a state. ------------------------------------------------------------------------------------------------

VECTOR, WHOLE = random_state(4), random_state(2**N)
SPARSE = np.zeros((4, 4))
SPARSE[1, 2] = SPARSE[2, 1] = 1.5  # two rows of zeros
# Name -> observables: each kind by itself, and every way in which sums are treated.
CASES: dict[str, tuple[Observable, ...]] = {
    "strings": (PauliString("XYZI"), PauliString("IIII"), PauliString("YYXZ"), *z_observables(N)),
    "short sums": (random_sum(N, 4), PauliString("XYZI"), random_sum(N, 10, "IZ")),
    "long sums": (random_sum(N, 200, "IZ"), random_sum(N, 9, "XYZ"), random_sum(N, 90, "YZ")),
    "hermitian": (
        Hermitian(random_hermitian(2), [2], N),
        Hermitian(random_hermitian(4), (3, 0), N),
        Hermitian(random_hermitian(2**N), (2, 0, 3, 1), N),
        Hermitian(SPARSE, (1, 2), N),
    ),
    "projectors": (
        Projector.from_bits("1", [2], N),
        Projector.from_bits(["01", "11", "00"], (3, 1), N),
        Projector.from_bits("0110"),
        Projector.from_state(VECTOR, (3, 1), N),
        Projector.from_state(WHOLE),
    ),
    "a mix": (
        Projector.from_state(VECTOR, (0, 2), N),
        PauliString("ZZZZ"),
        Hermitian(random_hermitian(8), (3, 0, 1), N),
        random_sum(N, 5),
        Projector.from_bits("10", (2, 3), N),
    ),
}


def values_and_slope(observables: tuple[Observable, ...], weights: np.ndarray) -> Callable[..., Any]:
    """Returns the jitted values, the gradient of their weighted sum by real and imaginary part, and O |state>."""

    def total(parts: tuple[Any, Any]) -> tuple[Any, Any]:
        values = observable_values(jax.lax.complex(*parts), observables)
        return jnp.sum(values * jnp.asarray(weights, values.dtype)[:, None]), values

    def run(real: Any, imag: Any) -> tuple[Any, Any, list[Any]]:
        slope, values = jax.grad(total, has_aux=True)((real, imag))
        return values, slope, [apply_observable(jax.lax.complex(real, imag), o) for o in observables]

    return jax.jit(run, compiler_options=QUICK)


@pytest.mark.parametrize(("name", "x64"), [*((name, True) for name in CASES), ("a mix", False)])
def test_values_gradients_and_application_against_dense_algebra(name: str, x64: bool) -> None:
    observables, states = CASES[name], random_state(BATCH, 2**N).T
    matrices = [
        pauli_matrix(o.to_sum()) if isinstance(o, PauliString | PauliSum) else o.matrix() for o in observables
    ]
    weights, atol = RNG.normal(size=len(observables)), 1e-11 if x64 else 2e-4
    with jax.enable_x64(x64):
        dtype = np.float64 if x64 else np.float32
        parts = states.real.astype(dtype), states.imag.astype(dtype)
        values, slope, applied = values_and_slope(observables, weights)(*parts)
    assert values.dtype == dtype
    expected = [np.einsum("ib,ij,jb->b", states.conj(), m, states).real for m in matrices]
    np.testing.assert_allclose(values, expected, atol=atol)
    np.testing.assert_allclose(applied, [m @ states for m in matrices], atol=atol)
    direction = (
        2 * sum(w * m for w, m in zip(weights, matrices, strict=True)) @ states
    )  # d <O> = 2 Re <d state|O state>
    np.testing.assert_allclose(slope, (direction.real, direction.imag), atol=4 * atol)


def test_a_sum_that_flips_in_a_loop() -> None:
    n = 6  # 64 ways to flip, more than are written out
    total, states = random_sum(n, 300), random_state(BATCH, 2**n).T
    matrix = total.matrix()
    with jax.enable_x64(True):
        values, slope, applied = values_and_slope((total,), np.ones(1))(states.real, states.imag)
    np.testing.assert_allclose(values[0], np.einsum("ib,ij,jb->b", states.conj(), matrix, states).real, atol=1e-11)
    np.testing.assert_allclose(applied[0], matrix @ states, atol=1e-11)
    direction = 2 * matrix @ states
    np.testing.assert_allclose(slope, (direction.real, direction.imag), atol=1e-11)


def test_thousands_of_terms_on_many_qubits_trace_to_a_small_program() -> None:
    total = random_sum(12, 3000)
    shape = jax.ShapeDtypeStruct((2**12, 1), np.complex64)
    lowered = jax.jit(lambda state: observable_values(state, (total,))).lower(shape)
    assert len(lowered.as_text().splitlines()) < 400


@pytest.mark.parametrize("qubits", [(0,), (4, 0), (3, 1, 2), (1, 2, 0, 4, 3)])
def test_split_and_join_qubits(qubits: tuple[int, ...]) -> None:
    n, state = 5, jnp.arange(3 * 2**5).reshape(2**5, 3)
    others = [q for q in range(n) if q not in qubits]
    pieces = split_qubits(state, qubits)
    cube = np.asarray(state).reshape((2,) * n + (3,)).transpose((*qubits, *others, n))
    np.testing.assert_array_equal(pieces, cube.reshape(2 ** len(qubits), -1, 3))
    np.testing.assert_array_equal(join_qubits(pieces, qubits), state)


def test_expectation_takes_every_kind_in_any_mix() -> None:
    circuit = Circuit(2).append("ry", 0, parameter("a")).append("cx", (0, 1))
    bell = np.array([1, 0, 0, 1]) / np.sqrt(2)
    observables = (
        Projector.from_bits("11"),
        Hermitian([[0, 0], [0, 3]], [1], 2),
        PauliString("ZI"),
        PauliSum.from_text("1 + 2 X0 X1"),
        Projector.from_state(bell),
    )
    a = np.float32(0.7)  # cos(a/2) |00> + sin(a/2) |11>
    values = jax.jit(lambda a: expectation(circuit, {"a": a}, None, observables), compiler_options=QUICK)(a)
    ones = np.sin(a / 2) ** 2
    np.testing.assert_allclose(values, [ones, 3 * ones, np.cos(a), 1 + 2 * np.sin(a), (1 + np.sin(a)) / 2], atol=1e-6)


# Mistakes. --------------------------------------------------------------------------------------------------

EYE = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PauliString.from_sparse({2: "Z"}, 2), r"`letters` must be on qubits in 0\.\.1, but got 2"),
        (
            lambda: PauliString.from_sparse({0: "XX"}, 2),
            "`letters` must hold one of I, X, Y, Z a qubit, but got 'XX'",
        ),
        (lambda: PauliString.from_sparse({}, 0), "`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: PauliString("X") + PauliString("XX"), "`other` must have 1 letters like what it is added to"),
        (lambda: PauliString("X") + "X", "`other` must be a PauliString, a PauliSum or a real number, but got X"),
        (lambda: PauliString("X") * 1j, "`factor` must be a finite real number, but got 1j"),
        (lambda: Hermitian("ZZ"), "`matrix` must be an array of numbers, but got ValueError"),
        (
            lambda: jax.jit(Hermitian)(np.eye(2)),
            "`matrix` must be an array of numbers, but got TracerArrayConversion",
        ),
        (lambda: PauliString("X") / 0, "`divisor` must be other than 0, but got 0"),
        (lambda: PauliString("X") * PauliString("X"), "`factor` must be a finite real number"),
        (lambda: PauliString("X") * float("inf"), "`factor` must be a finite real number, but got inf"),
        (lambda: PauliSum.from_text("ZZ + A"), r"`text` must be a sum of Pauli strings.*but got '\+ A'"),
        (lambda: PauliSum.from_text("X0 Z1 XX"), r"`text` must be a sum of Pauli strings.*but got 'XX'"),
        (lambda: PauliSum.from_text("1e5e5 X"), r"`text` must be a sum of Pauli strings.*but got 'e5 X'"),
        (lambda: PauliSum.from_text("2 * 3 X"), r"`text` must be a sum of Pauli strings.*but got '\* 3 X'"),
        (lambda: PauliSum.from_text("X0 X0"), "`text` must name each qubit of a term once, but got 'X0 X0'"),
        (
            lambda: PauliSum.from_text("XX + Z3"),
            "`text` must give an index to every letter or to none, but got 'XX' and 'Z3'",
        ),
        (lambda: PauliSum.from_text("1.5"), "`num_qubits` must be given where the text names no qubit"),
        (lambda: PauliSum.from_text("X0 Z3", 3), "`num_qubits` must be at least 4 for this text, but got 3"),
        (lambda: PauliSum.from_text("1e999 X"), "`terms` must have finite coefficients, but got inf"),
        (lambda: random_sum(13, 2).matrix(), "`observable` must have at most 12 qubits to be written as a matrix"),
        (lambda: Hermitian(EYE, [12]).matrix(), "`observable` must have at most 12 qubits to be written as a matrix"),
        (lambda: Hermitian(np.eye(3)), r"`matrix` must have shape \[2\*\*k, 2\*\*k\].*but got shape \[3, 3\]"),
        (lambda: Hermitian(np.ones(4)), r"`matrix` must have shape .*but got shape \[4\]"),
        (lambda: Hermitian([[0, 1], [2, 0]]), "`matrix` must equal its conjugate transpose, but got a difference"),
        (lambda: Hermitian([[0, 1j], [1j, 0]]), "`matrix` must equal its conjugate transpose"),
        (lambda: Hermitian([[np.nan, 0], [0, 1]]), "`matrix` must hold finite numbers, but got inf or nan"),
        (lambda: Hermitian(EYE, [0, 1]), r"`qubits` must hold 1 distinct integer\(s\), but got \(0, 1\)"),
        (lambda: Hermitian(np.eye(4), [1, 1]), r"`qubits` must hold 2 distinct integer\(s\), but got \(1, 1\)"),
        (lambda: Hermitian(EYE, [2], 2), r"`qubits` must hold distinct integers in 0\.\.1, but got \(2,\)"),
        (lambda: Projector.from_bits("02"), "`bits` must be text of 0 and 1, but got '02'"),
        (lambda: Projector.from_bits([]), "`bits` must hold at least one text of 0 and 1"),
        (lambda: Projector.from_bits(["0", "01"]), "`bits` must be of one length"),
        (lambda: Projector.from_bits("01", [0]), r"`qubits` must hold 2 distinct integer\(s\)"),
        (lambda: Projector.from_state([1, 1]), "`vector` must have length 1, but got length 1.41"),
        (lambda: Projector.from_state(np.ones(3)), r"`vector` must have shape \[2\*\*k\].*but got shape \[3\]"),
        (lambda: Projector(2, (0,), (2,)), r"`outcomes` must be in 0\.\.1, but got \(2,\)"),
        (lambda: Projector(2, (0,)), "`outcomes` must hold at least one, or `data` one state and no outcome"),
        (lambda: check_observables((), 2), "`observables` must hold at least one observable"),
        (
            lambda: check_observables([PauliString("ZZ"), PauliString("Z")], 2),
            "must have 2 letters, one a qubit, but",
        ),
        (lambda: check_observables([Hermitian(EYE)], 2), r"`observables` must be on 2 qubits, but got Hermitian\("),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    ("observables", "message"),
    [
        (2, "`observables` must be a sequence, but got 2"),
        ([2], "`observables` must hold PauliString, PauliSum, Hermitian or Projector, but got 2"),
    ],
)
def test_errors_of_type(observables: Any, message: str) -> None:
    unchecked = getattr(check_observables, "__wrapped__", check_observables)  # without beartype, as a user runs it
    with pytest.raises(UserError, match=message):
        unchecked(observables, 2)
