"""Each kind of stage of XLA's engine: it is the gates one by one, `undo` takes it back, and so do its cotangents."""

from collections.abc import Callable
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_steps
from by_engine import by_xla
from random_circuits import QUICK, random_state, random_unitary

from qjax.quantum import (
    Circuit,
    PauliString,
    Repeat,
    angle_encoding,
    expectation,
    hardware_efficient,
    operation,
    parameter,
    probabilities,
    state,
    z_observables,
)
from qjax.quantum.circuits.custom_gates import diagonal_gate, pauli_rotation_gate, permutation_gate, unitary_gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.reflections import is_search
from qjax.quantum.compile.stages import Dense, Flip, Loop, Permutation, Phase, Reflection, Single, Stage
from qjax.quantum.engines.xla import stage_steps
from qjax.quantum.engines.xla.engine import _run, _run_back
from qjax.quantum.engines.xla.search_loop import marked_rows
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.product_state import halves, product_state
from qjax.quantum.states.row_numbers import source_rows

N, W = 4, [parameter("w", i) for i in range(4)]
PERMUTED = (
    operation("cx", (0, 2)),
    operation("swap", (1, 3)),
    operation("x", 2),
    operation("swap", (3, 0), controls=(1,), control_values=(0,)),
    operation(permutation_gate([2, 0, 3, 1]), (3, 0)),
    operation(permutation_gate(np.random.default_rng(0).permutation(16)), (3, 0, 1, 2)),
)
FLIPS = (operation("cz", (0, 2)), operation("z", 3), operation("z", 1, controls=(3, 0), control_values=(0, 1)))
SIGNS = operation(diagonal_gate(np.where(np.random.default_rng(1).permutation(16) < 5, np.pi, 0.0)), (2, 0, 3, 1))
TRANSPOSE = operation(pauli_rotation_gate("XZY"), (2, 0, 3), W[0])
CONTROLLED = operation("cu", (3, 1), *W, controls=(0,), control_values=(0,))
WIDE = operation(unitary_gate(random_unitary(np.random.default_rng(3), 8)), (3, 0, 1))
BLOCK = Dense((0, 1), (operation("rx", 0, W[0]), operation("u", 1, *W[1:]), operation("crx", (1, 0), W[1])))
CONTROLLED_PAIR = (operation("crx", (2, 1), W[1]), operation("ry", 2, W[3]))
PHASES = Phase(
    (operation("rz", 3, W[0]), operation("rzz", (2, 0), W[1]), operation("t", 1), operation("cp", (3, 1), W[2]))
)
LAST_BLOCK = Dense((2, 3), (operation("rxx", (3, 2), W[0]), operation("ry", 2, W[3])))
STAGES: dict[str, Stage | tuple[Stage, ...]] = {
    "a block at the front": BLOCK,
    "a block at the end": LAST_BLOCK,
    "blocks side by side": (BLOCK, LAST_BLOCK),
    "blocks of one qubit and of two": (Dense((0,), (operation("u", 0, *W[:3]),)), Dense((1, 2), CONTROLLED_PAIR)),
    "a block apart": Dense((0, 3), (operation("ry", 0, W[0]), operation("iswap", (0, 3)))),
    "one qubit": Dense((1,), (operation("u", 1, *W[:3]),)),
    "a constant block": Dense((1, 2), (operation("h", 1), operation("ch", (2, 1)))),
    "phases": PHASES,
    "permutations": Permutation(PERMUTED),
    "signs": Flip((*FLIPS, SIGNS)),
    "a Pauli rotation": Single(TRANSPOSE),
    "a controlled gate": Single(CONTROLLED),
    "a wide gate": Single(WIDE),
    "a loop": Loop((BLOCK, PHASES, Permutation(PERMUTED)), 3, False, ()),
}


def operations_of(stage: Any) -> tuple[Operation, ...]:
    if isinstance(stage, tuple):
        return tuple(op for inner in stage for op in operations_of(inner))
    if isinstance(stage, Loop):
        return operations_of(stage.body) * stage.reps
    return (stage.operation,) if isinstance(stage, Single) else tuple(stage.operations)


def as_steps(operations: tuple[Operation, ...], angles: Any = ()) -> Any:
    circuit = Circuit(N, operations)
    params = {name: np.asarray(angles)[: shape[0]] for name, shape in circuit.parameter_shapes.items()}
    return dense_steps(circuit, params, np.zeros(0))


@pytest.mark.parametrize("name", [*STAGES, "permutations without a table"])
@pytest.mark.parametrize(("of_state", "of_angles"), [(1, 3), (3, 1)])
def test_a_stage_its_reverse_and_its_cotangents(
    name: str, of_state: int, of_angles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in STAGES:
        monkeypatch.setattr("qjax.quantum.compile.conditions.MAX_TABLE_QUBITS", 0)
    stage, rng = STAGES[name.removesuffix(" without a table")], np.random.default_rng(of_state)
    stages = stage if isinstance(stage, tuple) else (stage,)
    with jax.enable_x64(True):
        angles = jnp.asarray(rng.normal(size=(4, of_angles)))
        before = jnp.asarray(random_state(1, (of_state, 2**N)).T)
        costate = jnp.asarray(random_state(2, (3, 2**N)).T)

        def numbers(angles: Any) -> Any:
            return stage_steps.numbers_of(stages, Values({"w": angles}, jnp.zeros((0, 1)), angles.dtype))

        def run(angles: Any, before: Any) -> Any:
            return jnp.broadcast_to(_run(stages, numbers(angles), before, False)[0], (2**N, 3))

        def everything(angles: Any, before: Any) -> Any:
            (after, pull), (made, into) = jax.vjp(run, angles, before), jax.vjp(numbers, angles)
            kept = ((None,) * 3,) if name == "a loop" else (None,) * len(stages)
            (found, back), slopes = _run_back(stages, made, (after, costate), kept)
            return after, found, (into(slopes)[0], back.conj()), pull(costate.conj())

        after, found, pulled, expected = jax.jit(everything, compiler_options=QUICK)(angles, before)
    for b in range(3):
        gates = as_steps(operations_of(stage), np.asarray(angles)[:, b % of_angles])
        np.testing.assert_allclose(after[:, b], dense.run(N, gates, np.asarray(before)[:, b % of_state]), atol=1e-12)
    np.testing.assert_allclose(found, np.broadcast_to(before, found.shape), atol=1e-12)
    np.testing.assert_allclose(pulled[0], expected[0], atol=1e-12)
    whole = np.asarray(pulled[1]) if of_state > 1 else np.asarray(pulled[1]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(whole, expected[1], atol=1e-12)


@pytest.mark.parametrize("qubits", [(0,), (2, 3), (0, 1, 3), (0, 1, 2, 3)])
def test_a_reflection_is_one_minus_twice_a_projector(qubits: tuple[int, ...]) -> None:
    before = random_state(0, (2**N,))
    found = stage_steps.apply(Reflection(qubits), (), jnp.asarray(before)[:, None])[:, 0]
    plus = np.ones((2 ** len(qubits),) * 2) / 2 ** len(qubits)
    matrix = dense.embed(np.eye(len(plus)) - 2 * plus, qubits, N)
    np.testing.assert_allclose(found, matrix @ before, atol=1e-6)


@pytest.mark.parametrize("op", PERMUTED, ids=repr)
def test_rows_of_a_permutation_with_a_table_and_without(op: Operation) -> None:
    rows = source_rows(op, N)
    matrix = np.eye(2**N)[:, rows].T  # row r of the result is row rows[r]
    np.testing.assert_array_equal(
        matrix, dense.unitary(N, dense_steps(Circuit(N, (op,)), {}, np.zeros(0))).real.round()
    )
    np.testing.assert_array_equal(source_rows(op, N, jnp.arange(2**N, dtype=jnp.int32)), rows)


@pytest.mark.parametrize("is_real", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_first_state_is_the_product_of_its_columns(is_real: bool, batch: int) -> None:
    gate, angles = ("ry" if is_real else "rx"), np.random.default_rng(0).normal(size=(4, batch)).astype(np.float32)
    runs = tuple((operation(gate, q, W[q]),) for q in range(4))
    made = product_state(
        halves(runs, Values({"w": jnp.asarray(angles)}, jnp.zeros((0, 1), jnp.float32), jnp.float32))
    )
    assert made.shape == (2 - is_real, 16, batch)
    for b in range(batch):
        columns = [dense.matrix(gate, (float(angle),))[:, :1] for angle in angles[:, b]]
        expected = dense.kron_all(columns)[:, 0]
        np.testing.assert_allclose(made[0, :, b], expected.real, atol=1e-6)
        np.testing.assert_allclose(
            made[1:, :, b], expected.imag[None] if not is_real else np.zeros((0, 16)), atol=1e-6
        )


# Stages that are not unitary ----------------------------------------------------------------------------------------


def test_states_before_what_is_not_unitary_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant block that damps one qubit, in a loop and by itself, as noise will."""
    damping = unitary_gate(np.eye(2))
    object.__setattr__(damping, "matrix", lambda: np.array([[1.0, 0.3], [0.0, 0.8]], complex))
    damped = Dense((1,), (Operation(damping, (1,)),))
    object.__setattr__(damped, "is_unitary", False)
    stages = (BLOCK, damped, Loop((damped, BLOCK), 3, False, ()), PHASES)
    with jax.enable_x64(True):
        angles = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1)))
        before, costate = (jnp.asarray(random_state(k, (2**N,)))[:, None] for k in range(2))

        def numbers(angles: Any) -> Any:
            return stage_steps.numbers_of(stages, Values({"w": angles}, jnp.zeros((0, 1)), angles.dtype))

        def run(angles: Any, before: Any) -> Any:
            return _run(stages, numbers(angles), before, False)[0]

        made, into = jax.vjp(numbers, angles)
        final, kept = _run(stages, made, before, True)
        assert [len(jax.tree.leaves(own)) for own in kept] == [0, 1, 1, 0]
        (_, back), slopes = _run_back(stages, made, (final, costate), kept)
        expected = jax.vjp(run, angles, before)[1](costate.conj())
        np.testing.assert_allclose(into(slopes)[0], expected[0], atol=1e-12)
        np.testing.assert_allclose(back.conj(), expected[1], atol=1e-12)


# Forward mode and second derivatives --------------------------------------------------------------------------------


def losses(batch: int) -> tuple[Callable[..., Any], Any]:
    circuit = (
        angle_encoding(3) + hardware_efficient(3, 1) + Circuit(3, (Repeat(hardware_efficient(3, 1, name="b"), 20),))
    )
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in circuit.parameter_shapes.items()}
    inputs = jnp.asarray(rng.normal(size=(batch, 3)))
    return lambda p: jnp.sin(by_xla(expectation, circuit, p, inputs, z_observables(3))).sum(), params


@pytest.mark.parametrize("batch", [1, 2])
def test_forward_mode_and_second_derivatives_are_those_of_differences(batch: int) -> None:
    with jax.enable_x64(True):
        loss, params = losses(batch)
        rng = np.random.default_rng(1)
        along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
        line = lambda h: jax.tree.map(lambda x, t: x + h * t, params, along)  # noqa: E731
        run = jax.jit(lambda h: loss(line(h)), compiler_options=QUICK)
        slope = jax.jit(lambda h: jax.jvp(lambda h: loss(line(h)), (h,), (1.0,))[1], compiler_options=QUICK)
        h = 1e-3
        first = (8 * (run(h) - run(-h)) - (run(2 * h) - run(-2 * h))) / (12 * h)
        np.testing.assert_allclose(slope(0.0), first, rtol=1e-8)
        second = (8 * (slope(h) - slope(-h)) - (slope(2 * h) - slope(-2 * h))) / (12 * h)
        over = jax.jit(lambda h: jax.jvp(jax.grad(lambda h: loss(line(h))), (h,), (1.0,))[1], compiler_options=QUICK)
        back = jax.jit(jax.grad(jax.grad(lambda h: loss(line(h)))), compiler_options=QUICK)
        np.testing.assert_allclose(over(0.0), second, rtol=1e-7)
        np.testing.assert_allclose(back(0.0), second, rtol=1e-7)


# Grover's search ----------------------------------------------------------------------------------------------------

MARKS = {
    "no amplitude": (operation("z", 0), operation("z", 0)),
    "one amplitude": (operation("z", 2, controls=(0, 1), control_values=(1, 0)),),
    "half of all": (operation("z", 0),),
    "overlapping": (operation("cz", (0, 1)), operation("z", 2)),
    "all of them": (operation("gphase", (), np.pi),),
}


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("complex_state", [False, True])
@pytest.mark.parametrize("flips_first", [True, False])
def test_a_search_is_the_power_of_its_matrix(name: str, complex_state: bool, flips_first: bool) -> None:
    before = random_state(1, (3, 8)).T
    before = before if complex_state else before.real
    signs = np.diag(np.where(marked_rows(MARKS[name], np.arange(8), 3), -1.0, 1.0))
    reflection, body = np.eye(8) - 2 / 8, (Flip(MARKS[name]), Reflection((0, 1, 2)))
    matrix = reflection @ signs if flips_first else signs @ reflection
    for reps in (1, 2, 17, 1000, 10**6 + 1):
        loop = Loop(body if flips_first else body[::-1], reps, False, ())
        assert is_search(loop, 3)
        for dtype, bound in (np.complex64, 2e-6), (np.complex128, 1e-9):
            with jax.enable_x64(dtype == np.complex128):
                first = jnp.asarray(before.astype(dtype if complex_state else dtype(0).real.dtype))
                found = stage_steps.apply(loop, (), first)
                assert found.dtype == first.dtype
                np.testing.assert_allclose(found, np.linalg.matrix_power(matrix, reps) @ before, atol=bound)
                np.testing.assert_allclose(stage_steps.undo(loop, (), found), first, atol=bound)


def test_other_loops_are_no_search() -> None:
    flip, whole, part = Flip(MARKS["one amplitude"]), Reflection((0, 1, 2)), Reflection((0, 1))
    table = Flip((operation(diagonal_gate([0.0, np.pi, np.pi, 0.0]), (0, 1)),))
    for body in ((flip,), (flip, part), (flip, flip), (whole, whole), (flip, whole, flip), (table, whole)):
        assert not is_search(Loop(body, 3, False, ()), 3)


def grover(n: int, marked: int, reps: int, as_loop: bool) -> Circuit:
    """The iterations after a product state that is trained."""
    everything = tuple(range(n))
    hadamards = Circuit(n, tuple(operation("h", q) for q in everything))

    def mark(index: int) -> Circuit:
        bits = tuple(index >> (n - 1 - q) & 1 for q in everything)
        return Circuit(n).append("gphase", (), np.pi, controls=everything, control_values=bits)

    step = mark(marked) + hadamards + mark(0) + hadamards
    first = Circuit(n, tuple(operation("rx", q, parameter("a", q)) for q in everything))
    return first + Circuit(n, (Repeat(step, reps),) if as_loop else step.operations * reps)


def test_states_and_gradients_of_a_search_are_those_of_the_gates_written_out() -> None:
    params = {"a": jnp.linspace(0.1, 2.0, 4)}
    found, expected = (grover(4, 2, 19, as_loop) for as_loop in (True, False))
    np.testing.assert_allclose(*(by_xla(state, circuit, params) for circuit in (found, expected)), atol=2e-6)
    string = (PauliString("ZIII"),)
    slopes = [
        jax.grad(lambda p, c=c: by_xla(expectation, c, p, None, string)[0])(params)["a"] for c in (found, expected)
    ]
    np.testing.assert_allclose(*slopes, atol=5e-6)


def test_many_iterations_have_the_closed_form() -> None:
    n, reps = 10, 400
    hadamards = Circuit(n, tuple(operation("h", q) for q in range(n)))
    search = hadamards + Circuit(n, grover(n, 77, reps, True).operations[n:])
    chance = by_xla(probabilities, search)[77]
    np.testing.assert_allclose(chance, np.sin((2 * reps + 1) * np.arcsin(2 ** (-n / 2))) ** 2, atol=1e-6)
