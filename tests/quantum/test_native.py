"""The native code: frames and tables, values against dense algebra, derivatives against XLA's own code."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from by_engine import by
from random_circuits import Case, given_seeds, random_case, random_values, run_compiled

from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    Repeat,
    angle_encoding,
    expectation,
    explain,
    hardware_efficient,
    input_angle,
    operation,
    parameter,
    probabilities,
    state,
    z_observables,
)
from qjax.quantum.circuits.gates import GATES
from qjax.quantum.compile.relabelling import Relabelling, pivots
from qjax.quantum.engines import choices as choices_module
from qjax.quantum.engines.choices import native_keeps
from qjax.quantum.engines.native import engine as native_engine
from qjax.quantum.engines.native import load
from qjax.quantum.engines.native.table.entries import Table, pair_neighbours, table_of
from qjax.quantum.engines.native.table.layout import FORMS, NUM_SCALES, Entry, MadeEntry, form_of
from qjax.quantum.engines.native.table.native_gates import NativeGate, Unsupported, rotation_constants
from qjax.quantum.explain import Explanation

INPUTS = frozenset({"inputs"})
ATOL = {np.float32: 2e-5, np.float64: 1e-11}


def text_of(function: Callable[..., Any], *args: Any) -> str:
    return jax.jit(function).lower(*args).as_text()


def is_native(function: Callable[..., Any], *args: Any) -> bool:
    return "@qjax_" in text_of(function, *args)


def plain(n: int) -> Circuit:
    return angle_encoding(n, axis="ry") + hardware_efficient(n, 2, rotations=("rx", "rz"), entangler="cx")


def values_of(circuit: Circuit, batch: int, dtype: Any = np.float32, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    params = {name: jnp.asarray(rng.normal(size=s), dtype) for name, s in circuit.parameter_shapes.items()}
    return params, jnp.asarray(rng.normal(size=(batch, circuit.num_inputs)), dtype)


# Frames -----------------------------------------------------------------------------------------------------------


def random_relabelling(rng: np.random.Generator, n: int, count: int) -> tuple[Relabelling, np.ndarray]:
    """A relabelling after some gates, and for each basis index after them the one before."""
    relabelling, bits = Relabelling(n), (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1
    for _ in range(count):
        kind, chosen = rng.integers(3), [int(q) for q in rng.permutation(n)[:2]]
        if kind == 0 or n == 1:
            relabelling.x(chosen[0])
            bits[:, chosen[0]] ^= 1
        elif kind == 1:
            relabelling.cx(*chosen)
            bits[:, chosen[1]] ^= bits[:, chosen[0]]
        else:
            relabelling.swap(*chosen)
            bits[:, chosen] = bits[:, chosen[::-1]]
    after = bits @ (1 << np.arange(n)[::-1])
    return relabelling, np.argsort(after)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_a_frame_knows_where_each_amplitude_lies(n: int) -> None:
    rng = np.random.default_rng(n)
    first = Relabelling(n).rows()
    for _ in range(20):
        relabelling, before = random_relabelling(rng, n, 12)
        rows = relabelling.rows()
        np.testing.assert_array_equal(rows, first[before])
        for q in range(n):
            bit = np.arange(2**n) >> (n - 1 - q) & 1
            parity = np.array([(int(r) & relabelling.weights[q]).bit_count() % 2 for r in rows])
            np.testing.assert_array_equal(parity ^ relabelling.flips[q], bit)
            np.testing.assert_array_equal(rows ^ relabelling.masks[q], rows[np.arange(2**n) ^ (1 << (n - 1 - q))])
        mask, flip = relabelling.string("Z" * n)
        parity = np.array([(int(r) & mask).bit_count() % 2 for r in rows])
        ones = np.array([i.bit_count() % 2 for i in range(2**n)])
        np.testing.assert_array_equal(parity ^ flip, ones)


def test_each_coset_has_one_row_without_the_pivots() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        relabelling, _ = random_relabelling(rng, 6, 20)
        masks = [relabelling.masks[int(q)] for q in rng.permutation(6)[: int(rng.integers(1, 4))]]
        bits = pivots(masks)
        free = [r for r in range(64) if not any(r >> bit & 1 for bit in bits)]
        span = {0}
        for mask in masks:
            span |= {mask ^ other for other in span}
        assert sorted(r ^ s for r in free for s in span) == list(range(64))


# Tables -----------------------------------------------------------------------------------------------------------


def table(circuit: Circuit, batched: frozenset[str] = INPUTS) -> Table:
    return table_of(circuit, batched)


def kinds(entries: np.ndarray) -> list[str]:
    return [FORMS[k][0] for k in entries[:, Entry.KIND]]


def test_permutations_of_bits_are_no_gates_and_neighbours_make_pairs() -> None:
    found = table(plain(4))
    assert kinds(found.gates_back).count("dense") == 4  # the first layer is part of the start
    first = [kind for kind in ("rotation", "column", "start") for _ in range(4)]
    assert kinds(pair_neighbours(found.gates_back, 4)) == [*first, "pair", "pair"]
    assert kinds(found.makers) == first[:8]
    ring = Circuit(3).append("cx", (0, 1)).append("swap", (1, 2)).append("x", 0)
    assert kinds(table(ring).gates_back) == ["start"] * 3


def test_an_angle_in_use_twice_is_handed_over_once() -> None:
    circuit = (
        angle_encoding(3, axis="rx") + hardware_efficient(3, 1, rotations=("ry",)) + angle_encoding(3, axis="rx")
    )
    found = table(circuit)
    rotations = [entry for entry in found.gates_back if FORMS[entry[Entry.KIND]][0] == "rotation"]
    assert len(rotations) == 6
    assert len({entry[MadeEntry.RIGHT] for entry in rotations}) == found.counts.per_example == 3


def test_a_repeat_has_an_entry_for_each_repetition_and_its_own_coefficients() -> None:
    body = Circuit(2).append("ry", 0, parameter("w")).append("cx", (0, 1)).append("rx", 1, parameter("v"))
    for shared in (False, True):
        start = Circuit(2).append("h", 0).append("h", 1).append("cx", (1, 0))
        found = table(start + Circuit(2, (Repeat(body, 20, shared=shared),)))
        gates = [e for e in found.gates_back if FORMS[e[Entry.KIND]][0] == "dense"]
        assert len(gates) == 40
        assert len({int(e[Entry.FIRST]) for e in gates}) == (2 if shared else 40)


@pytest.mark.parametrize("name", ["c3x", "rccx", "rc3x", "c4x"])
def test_what_a_gpu_lacks_is_left_to_xla(name: str) -> None:
    with pytest.raises(Unsupported):
        table_of(Circuit(5).append(name, tuple(range(GATES[name].num_qubits))), INPUTS, False)


def test_many_diagonal_gates_are_left_to_xla_on_a_gpu() -> None:
    pairs = [(a, b) for a in range(10) for b in range(a)]
    circuit = Circuit(10)
    for q in range(10):
        circuit = circuit.append("h", q)
    few = circuit
    for a, b in pairs:
        circuit = circuit.append("rzz", (a, b), input_angle(a))
    for a, b in pairs[:20]:
        few = few.append("rzz", (a, b), input_angle(a))
    with pytest.raises(Unsupported):
        table_of(circuit, INPUTS, False)
    table_of(few, INPUTS, False)


ONE_ANGLE = [name for name, gate in GATES.items() if gate.num_angles == 1 and 1 <= gate.num_qubits <= 2]


@pytest.mark.parametrize("name", ONE_ANGLE)
def test_constants_of_a_rotation_make_its_matrix(name: str) -> None:
    k = GATES[name].num_qubits
    op = operation(name, tuple(range(k)), -0.7 * input_angle(0) + 1.1)
    diagonal = GATES[name].structure == "diagonal"
    form = ("diagonal" if diagonal else "dense", k, 0)
    item = NativeGate(form, op.qubits, (op,), per_example=True, angle=input_angle(0))
    made = rotation_constants(item)
    scale, parts = made[:NUM_SCALES].sum(), made[NUM_SCALES:].reshape(-1, 3, 2)
    constant, cosine, sine = (parts[:, i, 0] + 1j * parts[:, i, 1] for i in range(3))
    for t in (0.3, -2.1, 5.0):
        found = constant + cosine * np.cos(scale * t) + sine * np.sin(scale * t)
        wanted = dense.matrix(name, (-0.7 * t + 1.1,))
        np.testing.assert_allclose(found, np.diag(wanted) if diagonal else wanted.reshape(-1), atol=1e-14)


# Values against dense algebra -------------------------------------------------------------------------------------


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[Any]:
    with jax.enable_x64(request.param == np.float64):
        yield request.param


def every_form(n: int) -> dict[str, Circuit]:
    """Circuits that need each form of gate, on qubits that CX and X have mixed before."""
    start = (
        angle_encoding(n, axis="ry").append("cx", (0, 1)).append("x", 2).append("cx", (2, 0)).append("swap", (1, 2))
    )
    t, w = input_angle(1), parameter("w")
    return {
        "dense 1": start.append("rx", 0, w).append("u", 1, t, w, 0.3),
        "one control": start.append("ry", 0, t, controls=1).append("rx", 2, w, controls=0, control_values=0),
        "two controls": start.append("ccx", (0, 1, 2)).append("h", 1, controls=(0, 2), control_values=(0, 1)),
        "dense 2": start.append("rxx", (0, 2), w).append("crx", (2, 1), t).append("iswap", (0, 1)),
        "dense 2, one control": start.append("cswap", (2, 0, 1)).append("rxx", (0, 1), t, controls=2),
        "diagonal": start.append("rz", 0, t).append("cz", (0, 1)).append("rzz", (1, 2), w).append("ccz", (0, 1, 2)),
        "global phase": start.append("gphase", (), t).append("gphase", (), w).append("gphase", (), 0.4, controls=1),
        "x under 0": start.append("x", 0, controls=2, control_values=0).append("h", 0),
    }


@pytest.mark.parametrize("name", every_form(3))
@pytest.mark.parametrize("batch", [4, 19])
def test_every_form_of_gate_is_that_of_dense_algebra(name: str, batch: int, dtype: Any) -> None:
    circuit = every_form(3)[name]
    params, inputs = values_of(circuit, batch, dtype)
    assert is_native(lambda p, x: state(circuit, p, x), params, inputs)
    found = run_compiled(lambda p, x: state(circuit, p, x), params, inputs)
    for row, amplitudes in zip(inputs, found, strict=True):
        wanted = dense_state(circuit, jax.tree.map(np.asarray, params), np.asarray(row))
        np.testing.assert_allclose(amplitudes, wanted, atol=ATOL[dtype] / 4)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("axis", ["rx", "ry"])
def test_large_angles_keep_their_cosines(n: int, axis: str, dtype: Any) -> None:
    inputs = np.random.default_rng(n).uniform(-200, 200, (33, n)).astype(dtype)
    circuit = angle_encoding(n, axis=axis)
    found = run_compiled(lambda x: expectation(circuit, None, x, z_observables(n)), inputs)
    np.testing.assert_allclose(found, np.cos(inputs.astype(np.float64)), atol=ATOL[dtype] / 10)


def readouts(case: Case, rng: np.random.Generator) -> dict[str, Callable[..., Any]]:
    n, circuit = case.num_qubits, case.circuit
    z = [PauliString("".join(rng.choice(list("IZ"), n))) for _ in range(3)]
    total = PauliSum(((0.3, z[0]), (-1.2, z[1]), (0.7, z[0])))
    xyz = PauliString("".join(rng.choice(list("IXYZ"), n)))

    def amplitudes(p: Any, x: Any, r: str) -> Any:
        found = by(r, state, circuit, p, x)
        return jnp.concatenate([found.real, found.imag], axis=1)

    return {
        "strings": lambda p, x, r: by(r, expectation, circuit, p, x, (*z, total)),
        "any observables": lambda p, x, r: by(r, expectation, circuit, p, x, (xyz, total)),
        "state": amplitudes,
        "probabilities": lambda p, x, r: by(r, probabilities, circuit, p, x, [n - 1, *range(n - 1)]),
    }


@given_seeds(1)
def test_random_circuits_and_their_gradients(seed: int) -> None:
    check_random_circuit(seed)


@pytest.mark.slow
@given_seeds(50)
def test_50_random_circuits_and_their_gradients(seed: int) -> None:
    check_random_circuit(seed)


def check_random_circuit(seed: int) -> None:
    """Values against dense algebra, gradients against XLA's code, which has tests of its own."""
    case = random_case(seed, max_qubits=5)
    rng = np.random.default_rng(seed)
    batch = int(rng.choice([4, 7, 8, 9, 16, 17]))
    with jax.enable_x64(True):
        params, inputs = random_values(case, seed, batch=batch, dtype=np.float64)
        amplitudes = np.asarray(run_compiled(lambda p, x: state(case.circuit, p, x), params, inputs))
        for row, found in zip(inputs, amplitudes, strict=True):
            wanted = dense.run(case.num_qubits, case.reference_gates(params, row))
            np.testing.assert_allclose(found, wanted, atol=1e-10)
        for name, function in readouts(case, rng).items():
            shape = jax.eval_shape(lambda p, x, f=function: f(p, x, "XLA"), params, inputs).shape
            weights = rng.normal(size=shape)
            own, other = (
                run_compiled(
                    jax.value_and_grad(lambda p, x, f=function, r=r, w=weights: (f(p, x, r) * w).sum(), (0, 1)),
                    params,
                    inputs,
                )
                for r in ("auto", "XLA")
            )
            jax.tree.map(lambda a, b, n=name: np.testing.assert_allclose(a, b, atol=1e-9, err_msg=n), own, other)


# Where it is used -------------------------------------------------------------------------------------------------


def test_it_is_used_where_it_pays() -> None:
    circuit = plain(3)
    params, inputs = values_of(circuit, 32)
    measure = lambda p, x, **more: expectation(circuit, p, x, z_observables(3), **more)  # noqa: E731
    assert is_native(measure, params, inputs)
    assert "qjax_run_complex_float32" in text_of(measure, params, inputs)
    assert is_native(measure, params, inputs[0])
    large = plain(10)
    for batch, expected in ((1, True), (3, True), (4, False)):
        text = text_of(lambda p, x: expectation(large, p, x, z_observables(10)), *values_of(large, batch))
        assert ("@qjax_run_large_complex" in text, "@qjax_run_wide_complex" in text) == (expected, not expected)
    assert not is_native(lambda p, x: by("XLA", measure, p, x), params, inputs)
    start = np.full(8, 8**-0.5, np.complex64)
    assert is_native(lambda p, x: measure(p, x, initial_state=start), params, inputs)


def test_real_circuits_have_real_code(dtype: Any) -> None:
    circuit = angle_encoding(4, axis="ry") + hardware_efficient(4, 2, rotations=("ry",), entangler="cz")
    circuit = circuit.append("h", 1).append("cry", (0, 2), parameter("w")).append("ccx", (0, 1, 3))
    params, inputs = values_of(circuit, 9, dtype)
    assert f"qjax_run_real_{np.dtype(dtype).name}" in text_of(lambda p, x: state(circuit, p, x), params, inputs)
    found = run_compiled(lambda p, x: state(circuit, p, x), params, inputs)
    wanted = dense_state(circuit, jax.tree.map(np.asarray, params), np.asarray(inputs[0]))
    np.testing.assert_allclose(found[0], wanted, atol=ATOL[dtype] / 4)
    own, other = (
        run_compiled(
            jax.grad(lambda p, x, r=r: (by(r, expectation, circuit, p, x, z_observables(4)) ** 2).sum(), (0, 1)),
            params,
            inputs,
        )
        for r in ("auto", "XLA")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=10 * ATOL[dtype]), own, other)


def test_without_the_library_xla_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = plain(3)
    params, inputs = values_of(circuit, 32)
    measure = lambda p, x: expectation(circuit, p, x, z_observables(3))  # noqa: E731
    found = run_compiled(measure, params, inputs)
    monkeypatch.setattr(native_engine, "is_available", lambda: False)
    assert not is_native(lambda p, x: measure(p, x), params, inputs)
    np.testing.assert_allclose(run_compiled(lambda p, x: measure(p, x), params, inputs), found, atol=1e-6)


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = plain(3)
    params, inputs = values_of(circuit, 32)
    monkeypatch.setattr(choices_module, "USE_NATIVE", False)
    assert not is_native(lambda p, x: expectation(circuit, p, x, z_observables(3)), params, inputs)


def test_explain_says_which_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explain(plain(4), batch=32, observables=z_observables(4))
    assert found.engine == "native, whole states"
    assert found.stages[0].startswith("complex amplitudes; 16 examples at a time")
    assert f"engine    {found.engine}" in str(found)
    assert Explanation.from_json(found.to_json()) == found
    told = explain(plain(10), batch=3)
    assert told.engine == "native, large states"
    assert [name for name, _ in told.refused] == ["native, whole states"]
    monkeypatch.setattr(choices_module, "USE_NATIVE", False)


def test_code_is_compiled_once() -> None:
    names = {load.target(np.float32, True, True) for _ in range(3)}
    assert names == {"qjax_gradient_complex_float32"}


# Composition ------------------------------------------------------------------------------------------------------


def test_a_vmapped_call_is_the_batched_call() -> None:
    circuit = plain(4)
    params, inputs = values_of(circuit, 24)
    one = lambda p, x: expectation(circuit, p, x, z_observables(4))  # noqa: E731
    mapped = jax.vmap(one, (None, 0))
    assert is_native(mapped, params, inputs)
    np.testing.assert_array_equal(run_compiled(mapped, params, inputs), run_compiled(one, params, inputs))


def test_derivatives_of_all_kinds_are_those_of_xlas_code() -> None:
    circuit = plain(3)
    with jax.enable_x64(True):
        params, inputs = values_of(circuit, 5, np.float64)

        def loss(w: Any, x: Any, r: str) -> Any:
            return jnp.sin(by(r, expectation, circuit, {"ansatz": w}, x, z_observables(3))).sum()

        w, v = params["ansatz"], jnp.ones_like(params["ansatz"])
        ways: dict[str, Callable[[str], Any]] = {
            "jvp": lambda r: jax.jvp(lambda p: loss(p, inputs, r), (w,), (v,)),
            "hessian": lambda r: jax.hessian(loss)(w, inputs, r),
            "grad of grad": lambda r: jax.grad(lambda p: (jax.grad(loss)(p, inputs, r) ** 3).sum())(w),
            "vmap of grad": lambda r: jax.vmap(jax.grad(loss), (None, 0, None))(w, inputs[:, None], r),
            "many cotangents": lambda r: jax.jacrev(
                lambda p: by(r, expectation, circuit, {"ansatz": p}, inputs, z_observables(3))
            )(w),
            "vmap over weights": lambda r: jax.vmap(jax.grad(loss), (0, None, None))(jnp.stack([w, v]), inputs, r),
        }
        for name, way in ways.items():
            own, other = (jax.jit(lambda r=r, f=way: f(r))() for r in ("auto", "XLA"))
            jax.tree.map(lambda a, b, n=name: np.testing.assert_allclose(a, b, atol=1e-10, err_msg=n), own, other)


@pytest.mark.parametrize("shared", [False, True])
def test_an_angle_that_is_loaded_in_each_repetition_has_one_cotangent(shared: bool) -> None:
    body = Circuit(2).append("rx", 0, input_angle(0)).append("ry", 1, parameter("w")).append("cx", (0, 1))
    circuit = angle_encoding(2) + Circuit(2, (Repeat(body, 20, shared=shared),))
    with jax.enable_x64(True):
        params, inputs = values_of(circuit, 9, np.float64)

        def loss(p: Any, x: Any, r: str) -> Any:
            return (by(r, expectation, circuit, p, x, z_observables(2)) ** 2).sum()

        own, other = (
            run_compiled(jax.grad(lambda p, x, r=r: loss(p, x, r), (0, 1)), params, inputs) for r in ("auto", "XLA")
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), own, other)


@pytest.mark.parametrize("keeps", [False, True], ids=["made again", "kept"])
def test_final_states_are_kept_or_made_again(keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices_module, "native_keeps", lambda *_: keeps)
    circuit = plain(4).append("ccx", (0, 1, 2)).append("rz", 1, input_angle(2))
    params, inputs = values_of(circuit, 40)
    loss = lambda p, x, r: (by(r, expectation, circuit, p, x, z_observables(4)) ** 2).sum()  # noqa: E731
    found = jax.jit(jax.grad(lambda p, x: loss(p, x, "auto"), (0, 1)))
    assert ("tensor<32x40xf32>" in found.lower(params, inputs).as_text()) == keeps
    wanted = jax.grad(lambda p, x: loss(p, x, "XLA"), (0, 1))(params, inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found(params, inputs), wanted)


def test_states_are_kept_where_they_are_few_and_take_long() -> None:
    cases = [(8, 512, 64.0), (8, 512, 8.0), (8, 2**13, 64.0)]
    assert [native_keeps(n, batch, np.float32, work) for n, batch, work in cases] == [True, False, False]
    long = angle_encoding(4) + hardware_efficient(4, 20, rotations=("rx",), entangler="cx")
    assert table(long).work == pytest.approx(0.4 * 4 * 19)
    assert table(long + angle_encoding(4)).work == pytest.approx(0.4 * 4 * 19 + 4)


def test_several_threads_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = plain(6)
    params, inputs = values_of(circuit, 500)
    loss = lambda p, x: (expectation(circuit, p, x, z_observables(6)) ** 2).sum()  # noqa: E731
    found = []
    for cores, least in ((1, 2**60), (4, 0)):
        monkeypatch.setattr(choices_module, "MIN_SHARED_WORK", least)
        monkeypatch.setattr(choices_module, "_num_cores", lambda n=cores: n)
        compiled = jax.jit(jax.value_and_grad(lambda p, x: loss(p, x), (0, 1))).lower(params, inputs).compile()
        found.append([compiled(params, inputs) for _ in range(1 if cores == 1 else 40)])
    for again in found[1]:  # whichever thread was quicker
        jax.tree.map(np.testing.assert_array_equal, again, found[1][0])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), again, found[0][0])


def test_places_of_coefficients_do_not_overlap() -> None:
    body = plain(3).append("rzz", (0, 1), input_angle(0) * parameter("v"))
    found = table(angle_encoding(3) + Circuit(3, (Repeat(body, 5, reverse=True),)))
    starts: dict[int, int] = {}
    for entry in found.gates_back:
        form = form_of(entry[Entry.KIND])
        size = {"start": 4, "column": 4, "rotation": 2 * int(entry[2]) + 2, "dense": 8, "diagonal": 2 * 2 ** form[1]}
        size["product"] = 8
        starts.setdefault(int(entry[Entry.FIRST]), 0)
        starts[int(entry[Entry.FIRST])] = max(starts[int(entry[Entry.FIRST])], size[form[0]])
    taken = sorted((first, first + size) for first, size in starts.items())
    assert all(end <= begin for (_, end), (begin, _) in pairwise(taken))
    assert taken[-1][1] <= found.num_coefficients


def test_per_example_gates_between_shared_ones_are_one_product(dtype: Any) -> None:
    circuit = Circuit(2).append("h", 0).append("cx", (0, 1))
    for q in (0, 1):
        circuit = circuit.append("rx", q, input_angle(q)).append("ry", q, parameter("w", q))
        circuit = circuit.append("rz", q, input_angle(1 - q)).append("rx", q, 0.3)
    params, inputs = values_of(circuit, 9, dtype)
    assert "product" in {form_of(kind)[0] for kind in table(circuit).gates_back[:, Entry.KIND]}
    found = run_compiled(lambda p, x: state(circuit, p, x), params, inputs)
    for row, x in zip(found, inputs, strict=True):
        wanted = dense_state(circuit, jax.tree.map(np.asarray, params), np.asarray(x))
        np.testing.assert_allclose(row, wanted, atol=ATOL[dtype])
    loss = lambda r: lambda p, x: (by(r, expectation, circuit, p, x, z_observables(2)) ** 2).sum()  # noqa: E731
    slopes = [run_compiled(jax.grad(loss(r), (0, 1)), params, inputs) for r in ("auto", "XLA")]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=10 * ATOL[dtype]), *slopes)
