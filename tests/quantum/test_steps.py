"""Each kind of step: `undo` takes it back and is its transpose, and `cotangents` are those of its tensors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_circuits import QUICK, random_unitary

from qjax.quantum import operation, parameter
from qjax.quantum.circuits.custom_gates import diagonal_gate, pauli_rotation_gate, permutation_gate, unitary_gate
from qjax.quantum.engines.xla import steps
from qjax.quantum.engines.xla.loop_step import LoopStep
from qjax.quantum.engines.xla.operation_step import OperationStep
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.steps import FlipStep, GatherStep, MatrixStep, MoveStep, PhaseStep, ReflectionStep

N = 4
REAL, FIRST, SECOND, LAST = Layout(N, None), Layout(N, 0), Layout(N, 2), Layout(N, N)
PERMUTED = (
    operation("cx", (0, 2)),
    operation("swap", (1, 3)),
    operation("x", 2),
    operation(permutation_gate([2, 0, 3, 1]), (3, 0)),
)
FLIPS = (operation("cz", (0, 2)), operation("z", 3), operation("z", 1, controls=(3, 0), control_values=(0, 1)))
TURN = operation(pauli_rotation_gate("XZY"), (2, 0, 3), parameter("a"))
CONTROLLED = operation("cu", (3, 1), *(parameter("t", i) for i in range(4)), controls=(0,), control_values=(0,))
WIDE = operation(unitary_gate(random_unitary(np.random.default_rng(3), 8)), (3, 0, 1))


def signs(count: int, qubits: tuple[int, ...]) -> Any:
    """A diagonal on all qubits that changes the sign of `count` basis states."""
    marked = np.random.default_rng(count).permutation(16) < count
    return operation(diagonal_gate(np.where(marked, np.pi, 0.0)), qubits)


BODY = (
    MatrixStep(FIRST, SECOND, (0, 1), None, True),
    PhaseStep(SECOND, SECOND, ((1, 3), (2,))),
    GatherStep(SECOND, FIRST, PERMUTED),
)
STEPS = {
    "window": MatrixStep(FIRST, SECOND, (0, 1), None, True),
    "window backwards": MatrixStep(LAST, SECOND, (2, 3), None, True),
    "inside": MatrixStep(SECOND, SECOND, (1, 2, 3), None, True),
    "to complex": MatrixStep(REAL, SECOND, (1, 2), None, True),
    "real": MatrixStep(REAL, REAL, (1, 2), None, False),
    "real after c": MatrixStep(FIRST, FIRST, (1, 2), None, False),
    "real before c": MatrixStep(LAST, LAST, (0, 1, 2), None, False),
    "scattered": MatrixStep(SECOND, SECOND, (0, 3), None, True),
    "scattered real": MatrixStep(SECOND, SECOND, (1, 3), None, False),
    "constant": MatrixStep(FIRST, SECOND, (0, 1), random_unitary(np.random.default_rng(0), 4), True),
    "gather": GatherStep(FIRST, LAST, PERMUTED),
    "gather real": GatherStep(REAL, REAL, PERMUTED),
    "move": MoveStep(LAST, FIRST),
    "begin c": MoveStep(REAL, SECOND),
    "phase": PhaseStep(SECOND, SECOND, ((2, 0), (1,), (3, 1))),
    "flip": FlipStep(SECOND, SECOND, FLIPS),
    "flip real": FlipStep(REAL, REAL, FLIPS),
    "flip few rows": FlipStep(SECOND, SECOND, (signs(3, (0, 1, 2, 3)),)),
    "flip many rows": FlipStep(SECOND, SECOND, (signs(10, (2, 0, 1, 3)),)),
    "flip few rows, real": FlipStep(REAL, REAL, (signs(3, (3, 1, 2, 0)),)),
    "turn": OperationStep(SECOND, SECOND, TURN),
    "controlled": OperationStep(LAST, LAST, CONTROLLED),
    "wide": OperationStep(FIRST, FIRST, WIDE),
    "reflection": ReflectionStep(SECOND, SECOND, (0, 1, 3)),
    "reflection real": ReflectionStep(REAL, REAL, (1,)),
    "loop": LoopStep(FIRST, FIRST, BODY, 3, False, True),
    "loop reversed": LoopStep(FIRST, FIRST, BODY, 3, True, True),
    "loop shared": LoopStep(FIRST, FIRST, BODY, 3, False, False),
}
# (batch of the state, batch of the tensors); of several tensors every second one is shared.
BATCHES = [(1, 3), (3, 1)]


def tensors_of(step: Any, rng: np.random.Generator, batch: int, number: int = 0) -> tuple[Any, ...]:
    if isinstance(step, LoopStep):
        reps = [tuple(tensors_of(s, rng, batch, i) for i, s in enumerate(step.body)) for _ in range(step.reps)]
        return jax.tree.map(lambda *xs: jnp.stack(xs), *reps) if step.sliced else reps[0]
    if isinstance(step, MatrixStep) and step.constant is None:
        dim = 2 ** len(step.qubits)
        made = [
            random_unitary(rng, dim) if step.takes_plane else np.linalg.qr(rng.normal(size=(dim, dim)))[0]
            for _ in range(batch)
        ]
        return (jnp.asarray(step.prepare(jnp.asarray(np.stack(made, -1)))),)
    if isinstance(step, PhaseStep):
        sizes = [batch if i % 2 == 0 else 1 for i in range(len(step.qubits))]
        pairs = zip(step.qubits, sizes, strict=True)
        return tuple(jnp.asarray(rng.normal(size=(2 ** len(qubits), size))) for qubits, size in pairs)
    if isinstance(step, OperationStep):
        sizes = [batch if i % 2 == 0 else 1 for i in range(len(step.operation.angles))]
        return tuple(jnp.asarray(rng.normal(size=size)) for size in sizes)
    return ()


def rows(layout: Layout, rng: np.random.Generator, batch: int) -> Any:
    return jnp.asarray(rng.normal(size=(2**layout.num_bits, batch)))


def check(step: Any, state_batch: int, tensor_batch: int) -> None:
    rng = np.random.default_rng(state_batch + 2 * tensor_batch)
    tensors = tensors_of(step, rng, tensor_batch)
    full = max([state_batch, *(t.shape[-1] for t in jax.tree.leaves(tensors))])
    before = rows(step.before, rng, state_batch)
    cotangent = rows(step.after, rng, full)
    wide = jax.tree.map(lambda t: jnp.broadcast_to(t, (*t.shape[:-1], full)), tensors)

    def everything(before: Any, cotangent: Any, tensors: Any, wide: Any) -> Any:
        after = step.apply(before, tensors)
        whole = jnp.broadcast_to(before, (len(before), full))
        return {
            "after": after,
            "undone": step.undo(after, tensors),
            "pulled": step.undo(cotangent, tensors),
            "found": [step.cotangents(after, cotangent, tensors, own) for own in (False, True)],
            "expected": [jax.vjp(lambda t: step.apply(whole, t), t)[1](cotangent)[0] for t in (tensors, wide)],
            "transposed": jax.vjp(lambda s: step.apply(s, tensors), whole)[1](cotangent)[0],
        }

    out = jax.jit(everything, compiler_options=QUICK)(before, cotangent, tensors, wide)
    assert out["after"].shape[0] == 2**step.after.num_bits
    np.testing.assert_allclose(out["undone"], np.broadcast_to(before, out["undone"].shape), atol=1e-12)
    np.testing.assert_allclose(out["pulled"], out["transposed"], atol=1e-12)
    for found, expected in zip(out["found"], out["expected"], strict=True):
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("name", STEPS)
def test_undo_and_cotangents(name: str) -> None:
    with jax.enable_x64(True):
        for batches in BATCHES if tensors_of(STEPS[name], np.random.default_rng(0), 1) else BATCHES[1:]:
            check(STEPS[name], *batches)


@pytest.mark.parametrize("name", ["gather", "gather real"])
def test_permutations_without_a_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = STEPS[name]
    still = GatherStep(step.before, step.before, step.operations)
    state = rows(step.before, np.random.default_rng(0), 3)
    expected = still.apply(state, ())
    monkeypatch.setattr(steps, "MAX_TABLE_QUBITS", N - 1)
    np.testing.assert_array_equal(still.apply(state, ()), expected)
    np.testing.assert_array_equal(still.undo(expected, ()), state)


@pytest.mark.parametrize("qubits", [(0,), (2, 3), (0, 1, 3), (0, 1, 2, 3)])
def test_a_reflection_is_one_minus_twice_a_projector(qubits: tuple[int, ...]) -> None:
    state = np.random.default_rng(1).normal(size=(2**N, 2)).astype(np.float32)
    cube = state.reshape((2,) * N + (2,))
    expected = cube - 2 * cube.mean(axis=qubits, keepdims=True)
    for layout in (REAL, FIRST, SECOND, LAST):
        planed = state if layout.place is None else np.asarray(MoveStep(REAL, layout).apply(jnp.asarray(state), ()))
        found = ReflectionStep(layout, layout, qubits).apply(jnp.asarray(planed), ())
        real = found if layout.place is None else MoveStep(REAL, layout).undo(found, ())
        np.testing.assert_allclose(real, expected.reshape(state.shape), atol=1e-6)
