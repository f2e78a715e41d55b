"""Real arithmetic on states with a bit c, against dense complex NumPy algebra."""

import itertools
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_circuits import QUICK, random_unitary

from qjax.quantum.engines.xla import planes
from qjax.quantum.engines.xla.planes import Layout

N = 4
WINDOWS = [(0, 1), (1, 2), (1, 3), (0, 4)]


def random_planes(rng: np.random.Generator, n: int, batch: int) -> np.ndarray:
    return rng.normal(size=(2**n, batch)) + 1j * rng.normal(size=(2**n, batch))


def laid_out(state: np.ndarray, place: int) -> np.ndarray:
    """Real and imaginary parts with bit c after `place` qubits, written out row by row."""
    n = len(state).bit_length() - 1
    rows = np.empty((2 * len(state), state.shape[1]))
    for i, c in itertools.product(range(len(state)), (0, 1)):
        high, low = i >> (n - place), i & ((1 << (n - place)) - 1)
        rows[(((high << 1) | c) << (n - place)) | low] = state[i].imag if c else state[i].real
    return rows


def as_complex(matrices: np.ndarray) -> np.ndarray:
    return np.moveaxis(matrices, 0, -1)  # [batch, d, d] -> [d, d, batch]


def applied(unitaries: np.ndarray, state: np.ndarray, qubits: tuple[int, ...]) -> np.ndarray:
    """Example by example; a shared matrix or state stands for all."""
    batch = max(len(unitaries), state.shape[1])
    columns = [
        dense.embed(unitaries[b % len(unitaries)], qubits, N) @ state[:, b % state.shape[1]] for b in range(batch)
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("place", range(N + 1))
def test_complex_states_there_and_back_and_moved(place: int) -> None:
    state = random_planes(np.random.default_rng(place), N, 3)
    with jax.enable_x64(True):
        layout = Layout(N, place)
        found = planes.from_complex(jnp.asarray(state), layout)
        np.testing.assert_array_equal(found, laid_out(state, place))
        np.testing.assert_array_equal(planes.to_complex(found, layout), state)
        for new in range(N + 1):
            np.testing.assert_array_equal(planes.move(found, place, new), laid_out(state, new))
        real = planes.from_complex(jnp.asarray(state), Layout(N, None))
        np.testing.assert_array_equal(real, state.real)
        np.testing.assert_array_equal(planes.to_complex(real, Layout(N, None)), state.real)
    assert [layout.bit(q) for q in range(N)] == [q + (q >= place) for q in range(N)]


@pytest.mark.parametrize(("first", "k"), WINDOWS)
@pytest.mark.parametrize(("batch", "matrices"), [(1, 3), (3, 1), (40, 1)])
def test_multiply_and_its_cotangent_at_every_place_of_c(first: int, k: int, batch: int, matrices: int) -> None:
    rng = np.random.default_rng(first + 10 * k + batch)
    unitaries = np.stack([random_unitary(rng, 2**k) for _ in range(matrices)])
    state = random_planes(rng, N, batch)
    expected = applied(unitaries, state, tuple(range(first, first + k)))
    end, middle = first + k, first + k // 2
    pairs = [(None, middle), (None, end), (first, end), (end, first), (middle, middle)]

    def work(before: Any, after: Any, planed: Any, cotangent: Any, unitary: Any) -> Any:
        matrix = planes.real_matrix(unitary, first, before, after)
        found = planes.multiply(planed, matrix, first)
        back = planes.multiply(found, planes.transpose(matrix), first)
        each = [planes.matrix_cotangent(found, cotangent, matrix, first, own) for own in (False, True)]
        return found, back, each

    with jax.enable_x64(True):
        full, args = max(batch, matrices), []
        for before, _ in pairs:
            planed = state.real if before is None else laid_out(state, before)
            args.append((planed, rng.normal(size=(2 ** (N + 1), full)), as_complex(unitaries)))
        run = jax.jit(lambda many: [work(*p, *a) for p, a in zip(pairs, many, strict=True)], compiler_options=QUICK)
        results = run(args)
    for (before, after), (planed, cotangent, _), (found, back, slopes) in zip(pairs, args, results, strict=True):
        wanted = applied(unitaries, state.real, tuple(range(first, first + k))) if before is None else expected
        np.testing.assert_allclose(found, laid_out(wanted, after), atol=1e-13)
        np.testing.assert_allclose(back, np.broadcast_to(planed, back.shape), atol=1e-13)
        # The definition: sum over all other bits (and examples, of a shared matrix) of cotangent x^T.
        ct = cotangent.reshape(2**first, 2 ** (k + 1), -1, full)
        x = np.broadcast_to(planed, (len(planed), full)).reshape(2**first, 2 ** (k + (before is not None)), -1, full)
        each = np.einsum("grwb,gcwb->rcb", ct, x)
        np.testing.assert_allclose(slopes[0], each if matrices > 1 else each.sum(2, keepdims=True), atol=1e-12)
        np.testing.assert_allclose(slopes[1], each, atol=1e-12)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("batch", [3, planes.MIN_ROW])
def test_real_matrices_by_the_short_rows_and_the_long_ones(n: int, batch: int) -> None:
    """Every window of a state of n bits: rows narrower than MIN_ROW are turned for the product."""
    rng = np.random.default_rng(n)
    state = rng.normal(size=(2**n, batch))
    for k in range(1, n + 1):
        for first in range(n - k + 1):
            q = np.linalg.qr(rng.normal(size=(2**k, 2**k)))[0]
            whole = np.kron(np.kron(np.eye(2**first), q), np.eye(2 ** (n - first - k)))
            with jax.enable_x64(True):
                found = planes.multiply(jnp.asarray(state), q, first)
                ct = jnp.asarray(rng.normal(size=state.shape))
                slopes = planes.matrix_cotangent(found, ct, jnp.asarray(q)[:, :, None], first, False)
            np.testing.assert_allclose(found, whole @ state, atol=1e-13)
            cut = lambda x, first=first, k=k: np.asarray(x).reshape(2**first, 2**k, -1)  # noqa: E731
            np.testing.assert_allclose(slopes[:, :, 0], np.einsum("grw,gcw->rc", cut(ct), cut(state)), atol=1e-12)


def test_the_real_matrix_of_a_constant_is_numpys_and_real_gates_leave_c_out() -> None:
    u = random_unitary(np.random.default_rng(0), 4)
    found = planes.real_matrix(u, 1, 2, 3)
    assert isinstance(found, np.ndarray)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(found, planes.real_matrix(jnp.asarray(u)[..., None], 1, 2, 3)[..., 0])
    np.testing.assert_allclose(found @ found.T, np.eye(8), atol=1e-14)
    np.testing.assert_array_equal(planes.real_matrix(u, 1, None, None), u.real)


@pytest.mark.parametrize("bits", [(0,), (3,), (2, 0), (1, 3), (3, 0, 2), (0, 1, 2, 3)])
def test_bits_brought_to_the_front_and_back(bits: tuple[int, ...]) -> None:
    state = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
    front, shape, order = planes.gather_bits(jnp.asarray(state), bits)
    cube = np.moveaxis(state.reshape(2, 2, 2, 2, 3), bits, range(len(bits)))
    np.testing.assert_array_equal(front, cube.reshape(2 ** len(bits), -1))
    np.testing.assert_array_equal(planes.scatter_bits(front, shape, order, 3), state)


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (6, 1), (5, 3), (1024, 1), (2, 16, 300), (96, 7), (3, 4, 5, 2)])
def test_sums_of_rows_and_their_derivatives(shape: tuple[int, ...]) -> None:
    array = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(planes.sum_rows(array), np.asarray(array, np.float64).sum(axes), atol=1e-4)
    weights: Any = jnp.arange(1.0, shape[-1] + 1)
    gradient = jax.grad(lambda x: jnp.vdot(weights, planes.sum_rows(x)))(array)
    np.testing.assert_array_equal(gradient, np.broadcast_to(weights, shape))
