"""Large states pass by pass: what goes into a pass, how amplitudes move, values and derivatives on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from by_engine import by
from random_circuits import given_seeds, random_case, random_values, run_compiled

from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    efficient_su2,
    expectation,
    explain,
    hardware_efficient,
    operation,
    parameter,
    probabilities,
    real_amplitudes,
    state,
    z_observables,
)
from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.engines.native import engine as native_engine
from qjax.quantum.engines.native.cpu import large_states as large_cpu
from qjax.quantum.engines.native.cpu.permute import moves_of, to_indices, to_rows
from qjax.quantum.engines.native.engine import large_plan_of
from qjax.quantum.engines.native.table.entries import large_table_of
from qjax.quantum.engines.native.table.layout import FORMS, TRANSPOSE, Entry
from qjax.quantum.engines.native.table.passes import Pass, Space, passes_of, span

NONE: frozenset[str] = frozenset()
ATOL = {np.float32: 2e-5, np.float64: 1e-12}


def chain(n: int, layers: int = 3) -> Circuit:
    return hardware_efficient(n, layers, rotations=("ry", "rz"), entangler="cx")


def of_all_kinds(n: int) -> Circuit:
    more = [
        operation("rzz", (0, n - 2), parameter("v", 0)),
        operation("rxx", (1, n - 1), parameter("v", 1)),
        operation("crx", (2, 0), parameter("v", 2)),
        operation("cry", (n - 1, 1), parameter("v", 3)),
        operation("iswap", (n - 1, n - 3)),
        operation("cz", (n - 1, 1)),
        operation("swap", (1, n - 2)),
        operation("x", 2),
        operation("u", 3, parameter("v", 4), 0.3, 0.1),
    ]
    return real_amplitudes(n, 1, name="first") + Circuit(n, tuple(more)) + chain(n, 1)


def values_of(circuit: Circuit, dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.normal(size=s), dtype) for name, s in circuit.parameter_shapes.items()}


def is_large(function: Callable[..., Any], *args: Any) -> bool:
    return "_large" in jax.jit(function).lower(*args).as_text()


# Spaces and passes. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [0, 2])
def test_a_space_knows_what_sums_of_its_basis_are(low: int) -> None:
    rng = np.random.default_rng(low)
    for _ in range(30):
        space = Space(low)
        for mask in rng.integers(1, 256, 5).tolist():
            space.add(mask)
        whole = set(span(space.basis).tolist())
        assert len(whole) == 2 ** len(space.basis)
        assert all(vector % 2**low == 0 for vector in space.basis[low:])
        for mask in range(256):
            rest, places = space.rest(mask)
            assert (rest == 0) == (mask in whole)
            if not rest:
                assert span(space.basis)[places] == mask
        for pivot, (vector, _) in space.vectors.items():
            assert [other >> pivot & 1 for other, _ in space.vectors.values()].count(1) == 1
            assert vector.bit_length() - 1 == pivot


def passes(circuit: Circuit, size: int, low: int, lanes: bool, run: int = 0) -> list[Pass]:
    table = large_table_of(circuit, NONE, not lanes)
    return passes_of(table.gates_back, circuit.num_qubits, size, low, lanes, run)


@pytest.mark.parametrize(("size", "low", "lanes"), [(8, 2, False), (9, 3, True), (10, 4, True)])
@pytest.mark.parametrize("make", [chain, of_all_kinds], ids=lambda make: make.__name__)
def test_each_pass_has_whole_cosets_and_all_gates_are_in_one(
    make: Callable[..., Circuit], size: int, low: int, lanes: bool
) -> None:
    circuit = make(11)
    table = large_table_of(circuit, NONE, not lanes)
    found = passes(circuit, size, low, lanes)
    gates = [kind for one in found for kind in one.entries[:, Entry.KIND] if kind != TRANSPOSE]
    assert sorted(gates) == sorted(table.gates_back[:, Entry.KIND].tolist())
    assert len(found) < len(table.gates_back)
    for one in found:
        rows = {int(row) | number for row in one.rows(low) for number in range(2**low)}
        assert len(rows) == 2**size
        assert rows == set(span(one.basis).tolist())
        assert [*one.entries[:, Entry.KIND]].count(TRANSPOSE) % 2 == 0


def test_gates_on_rows_of_vectors_reach_into_none() -> None:
    for one in passes(chain(11), 10, 4, True):
        for entry in one.entries:
            count = sum(FORMS[entry[Entry.KIND]][1:]) if entry[Entry.KIND] != TRANSPOSE else 0
            assert all(0 < mask < 2**6 for mask in entry[Entry.MASK : Entry.MASK + count])
            assert all(0 <= weights < 2**6 for weights in entry[Entry.WEIGHTS : Entry.WEIGHTS + count])
            assert 0 <= entry[Entry.LANES] < 2 ** (4 * max(count, 1))


def test_a_pass_fetches_runs_of_rows() -> None:
    for one in passes(chain(12), 10, 4, True, run=6):
        assert set(range(2**6)) <= set(span(one.basis).tolist())


# Moving amplitudes. ---------------------------------------------------------------------------------------------


def random_relabelling(n: int, seed: int) -> Relabelling:
    rng, relabelling = np.random.default_rng(seed), Relabelling(n)
    for _ in range(4 * n):
        kind, (first, last) = rng.integers(3), rng.permutation(n)[:2].tolist()
        if kind == 0:
            relabelling.x(first)
        elif kind == 1:
            relabelling.cx(first, last)
        else:
            relabelling.swap(first, last)
    return relabelling


@pytest.mark.parametrize("seed", range(5))
def test_a_linear_map_and_its_inverse_are_the_frames(seed: int) -> None:
    relabelling = random_relabelling(7, seed)
    forth, back = to_rows(relabelling), to_indices(relabelling)
    rows = relabelling.rows()
    for index in range(2**7):
        assert forth.linear(index) ^ forth.offset == rows[index]
        assert back.linear(int(rows[index])) ^ back.offset == index


@pytest.mark.parametrize(("size", "low"), [(4, 2), (6, 3), (8, 4)])
def test_amplitudes_move_coset_by_coset(size: int, low: int) -> None:
    for seed in range(5):
        relabelling = random_relabelling(8, seed)
        forth, back = to_rows(relabelling), to_indices(relabelling)
        moves = moves_of(forth, back, size, low)
        old, new, below = np.arange(2**8), np.full(2**8, -1), 2**low - 1
        for coset in range(2 ** (8 - size)):
            first = coset
            for bits in moves.pivots.tolist():
                first = (first << 1) - (first & bits)
            source = forth.linear(first) ^ forth.offset
            tile = np.concatenate([old[((source & ~below) ^ row) + np.arange(2**low)] for row in moves.sources])
            for target, place in zip(moves.targets, moves.places, strict=True):
                for lane in range(2**low):
                    new[(first ^ target) + lane] = tile[place ^ (source & below) ^ moves.steps[lane]]
        np.testing.assert_array_equal(new, relabelling.rows())


# Values and derivatives. ----------------------------------------------------------------------------------------


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    with jax.enable_x64(request.param == np.float64):
        yield request.param


@pytest.fixture
def small_cosets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Cosets of a few rows, so that there are several of them."""
    for remembered in (large_plan_of, native_engine._lacks_gate):
        remembered.cache_clear()
    monkeypatch.setattr(large_cpu, "coset_bits", lambda _, n: (min(10, n), 5))
    yield
    for remembered in (large_plan_of, native_engine._lacks_gate):
        remembered.cache_clear()


@pytest.mark.usefixtures("small_cosets")
@pytest.mark.parametrize("make", [chain, real_amplitudes, of_all_kinds], ids=lambda make: make.__name__)
@pytest.mark.parametrize("n", [11, 12])
def test_states_are_those_of_dense_algebra(make: Callable[..., Circuit], n: int, dtype: Any) -> None:
    circuit = make(n, 3) if make is not of_all_kinds else make(n)
    params = values_of(circuit, dtype)
    assert is_large(lambda p: state(circuit, p), params)
    found = jax.jit(lambda p: state(circuit, p))(params)
    expected = dense_state(circuit, params)
    np.testing.assert_allclose(found, expected, atol=ATOL[dtype])
    kept = (n - 1, 0, 3)
    measured = jax.jit(lambda p: probabilities(circuit, p, qubits=kept))(params)
    np.testing.assert_allclose(measured, _marginal(expected, kept), atol=ATOL[dtype])


def _marginal(amplitudes: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    n = len(amplitudes).bit_length() - 1
    tensor = np.abs(amplitudes.reshape((2,) * n)) ** 2
    order = [*kept, *(q for q in range(n) if q not in kept)]
    return tensor.transpose(order).reshape(2 ** len(kept), -1).sum(axis=1)


@pytest.mark.usefixtures("small_cosets")
@pytest.mark.parametrize(
    ("make", "folds"), [(chain, True), (real_amplitudes, False), (of_all_kinds, True), (of_all_kinds, False)]
)
def test_gradients_are_those_of_xlas_code(make: Callable[..., Circuit], folds: bool) -> None:
    with jax.enable_x64(folds):  # in both precisions, of either kind one
        assert_gradients(make, folds, np.float64 if folds else np.float32)


def assert_gradients(make: Callable[..., Circuit], folds: bool, dtype: Any) -> None:
    n = 11
    circuit = make(n, 3) if make is not of_all_kinds else make(n)
    params = values_of(circuit, dtype)
    sums = [PauliSum(tuple((1.0, PauliString("I" * q + "ZZ" + "I" * (n - q - 2))) for q in range(n - 1)))]
    more = [PauliString("XY" + "I" * (n - 2)), PauliString("I" * (n - 1) + "X")]
    observables = [*sums, *(z_observables(n) if folds else more)]

    def loss(params: Any, way: Any) -> Any:
        return jnp.sin(by(way, expectation, circuit, params, None, observables)).sum()

    found, expected = (
        jax.jit(jax.value_and_grad(lambda p, way=way: loss(p, way)))(params) for way in ("auto", "XLA")
    )
    assert is_large(jax.grad(lambda p: loss(p, "auto")), params)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=4 * ATOL[dtype])


@pytest.mark.usefixtures("small_cosets")
def test_derivatives_of_any_order() -> None:
    with jax.enable_x64(True):
        circuit = chain(9, 2)
        params = values_of(circuit, np.float64)
        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)

        def value(params: Any, way: Any) -> Any:
            return by(way, expectation, circuit, params, None, z_observables(9))[3] ** 2

        def product(way: Any) -> Any:
            return jax.jvp(jax.grad(lambda p: value(p, way)), (params,), (direction,))[1]

        expected = product("XLA")
        for x, y in zip(jax.tree.leaves(product("auto")), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-10)
        assert is_large(jax.grad(lambda p: value(p, "auto")), params)
        forward = jax.jvp(lambda p: value(p, "auto"), (params,), (direction,))[1]
        slope = sum(
            jax.tree.leaves(jax.tree.map(lambda g, t: (g * t).sum(), jax.grad(value)(params, "auto"), direction))
        )
        np.testing.assert_allclose(forward, slope, atol=1e-10)


@pytest.mark.usefixtures("small_cosets")
def test_several_threads_find_what_one_does_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = chain(13, 2)
    params = values_of(circuit)
    loss = lambda p: expectation(circuit, p, None, z_observables(13)).sum()  # noqa: E731
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(large_cpu, "native_workers", lambda *_, workers=workers: workers)
        jax.clear_caches()
        function = jax.jit(jax.value_and_grad(loss))
        runs = [jax.tree.leaves(function(params)) for _ in range(5)]
        assert all(np.array_equal(x, y) for run in runs[1:] for x, y in zip(run, runs[0], strict=True))
        found.append(runs[0])
    jax.clear_caches()
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-6)


def test_a_few_vmapped_states_go_one_after_the_other() -> None:
    circuit = chain(10, 2)
    params = values_of(circuit)
    measure = jax.value_and_grad(lambda p: expectation(circuit, p, None, z_observables(10))[4])
    one_by_one = [measure(jax.tree.map(lambda x, k=k: x + 0.1 * k, params)) for k in range(4)]
    for count, expected in ((3, True), (4, False)):
        several = jax.tree.map(lambda x: jnp.stack([x + 0.1 * k for k in range(count)]), params)  # noqa: B023
        assert is_large(jax.vmap(measure), several) == expected
        wanted = jax.tree.map(lambda *xs: jnp.stack(xs), *one_by_one[:count])
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), jax.vmap(measure)(several), wanted)


def test_it_is_used_from_nine_qubits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for n, expected in ((8, False), (9, True)):
        circuit = efficient_su2(n, 1)
        assert is_large(lambda p, c=circuit: state(c, p), values_of(circuit)) == expected
    circuit = efficient_su2(9, 1)
    assert is_large(lambda: state(Circuit(9, (operation("h", 0),))))
    assert explain(efficient_su2(14, 4)).forward.passes > 1
    monkeypatch.setattr("qjax.quantum.engines.choices.USE_NATIVE", False)
    jax.clear_caches()
    assert not is_large(lambda p: state(circuit, p), values_of(circuit))
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("small_cosets")
@given_seeds(50)
def test_random_circuits_are_those_of_xlas_code(seed: int) -> None:
    case = random_case(seed, max_qubits=11)
    n = case.num_qubits
    params, inputs = random_values(case, seed, batch=1, dtype=np.float32)
    if n < 9:
        return

    def value(params: Any, inputs: Any, way: Any) -> Any:
        return jnp.cos(by(way, expectation, case.circuit, params, inputs[0], z_observables(n))).sum()

    found, expected = (
        run_compiled(jax.value_and_grad(lambda *xs, way=way: value(*xs, way), (0, 1)), params, inputs)
        for way in ("auto", "XLA")
    )
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=3e-4)
