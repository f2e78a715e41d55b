"""Plans: the same state whatever the width of the blocks and the order of the windows; real states stay real."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from random_circuits import QUICK, Case, random_case, random_values

from qjax.quantum import Circuit, Repeat, compile_circuit, diagonal_gate, parameter, state
from qjax.quantum.compile import compiler
from qjax.quantum.compile.compiler import Blocks
from qjax.quantum.engines.xla import plan, steps
from qjax.quantum.engines.xla.loop_step import LoopStep, run
from qjax.quantum.engines.xla.plan import make_plan
from qjax.quantum.engines.xla.planes import Layout, to_complex
from qjax.quantum.engines.xla.steps import GatherStep, MatrixStep, MoveStep
from qjax.quantum.engines.xla.windows import group_by_windows
from qjax.quantum.states.angle_values import Values

BATCH = 2


def planned_state(circuit: Circuit, params: Any, inputs: Any, blocks: Blocks) -> Any:
    """The state `[batch, 2**n]` by the steps of the plan."""
    made = make_plan(compile_circuit(circuit, True, blocks))

    def final(params: Any, rows: Any) -> Any:
        values = Values({name: x[..., None] for name, x in params.items()}, rows.T, rows.dtype)
        first = made.prepare(made.start_tensors(values))
        return to_complex(run(made.steps, first, made.tensors(values)), made.after)

    return jax.jit(final, compiler_options=QUICK)(params, inputs).T


def check(case: Case, seed: int, blocks: Blocks) -> None:
    with jax.enable_x64(True):
        params, inputs = random_values(case, seed, batch=BATCH, dtype=np.float64)
        found = planned_state(case.circuit, params, inputs, blocks)
        expected = np.stack([dense_state(case.circuit, params, row) for row in inputs])
    np.testing.assert_allclose(np.broadcast_to(found, expected.shape), expected, atol=1e-10)


KINDS = {
    "pairs": {},
    "wide": {"num_qubits": 4, "take_permutations": False},
    "batched": {"num_qubits": 3, "take_permutations": False, "batched": frozenset({"inputs"})},
    "joined": {"num_qubits": 3, "take_permutations": False, "batched": frozenset({"inputs"}), "joined": 10**6},
    "across": {"num_qubits": 3, "take_permutations": False, "across_layers": True},
    "across batched": {"num_qubits": 4, "across_layers": True, "batched": frozenset({"inputs"})},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [3, 17])
def test_every_way_to_fuse_gives_the_state(kind: str, seed: int) -> None:
    case = random_case(seed, max_qubits=5, max_gates=12, max_steps=45)
    check(case, seed, Blocks(**KINDS[kind], num_all=case.num_qubits))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(100, 130))
def test_every_way_to_fuse_gives_the_state_more(kind: str, seed: int) -> None:
    case = random_case(seed, max_qubits=6)
    check(case, seed, Blocks(**KINDS[kind], num_all=case.num_qubits))


def test_permutations_without_a_table_give_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plan, steps):
        monkeypatch.setattr(module, "MAX_TABLE_QUBITS", 2)
    circuit = Circuit(4).append("h", 0).append("cx", (0, 3)).append("rx", 1, 0.4).append("swap", (1, 2))
    circuit = circuit.append("cx", (2, 0)).append("rx", 3, 1.1).append("ccx", (3, 1, 0)).append("t", 0).append("h", 0)
    with jax.enable_x64(True):
        found = planned_state(circuit, {}, jnp.zeros((1, 0), jnp.float64), Blocks(4, take_permutations=False))
    np.testing.assert_allclose(found[0], dense_state(circuit), atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("width", [2, 3])
def test_groups_of_windows_keep_the_unitary(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    names = rng.choice(["h", "cx", "rz", "cz", "t", "ry", "swap", "ccx", "gphase"], 25)
    n, circuit = 4, Circuit(4)
    for name in names:
        k = {"cx": 2, "cz": 2, "swap": 2, "ccx": 3, "gphase": 0}.get(name, 1)
        angles = [float(rng.uniform(-3, 3))] if name in ("rz", "ry", "gphase") else []
        circuit = circuit.append(str(name), tuple(int(q) for q in rng.permutation(n)[:k]), *angles)
    groups = group_by_windows(circuit.operations, n, Blocks(width, num_all=n))
    assert sorted(map(repr, circuit.operations)) == sorted(repr(op) for group in groups for op in group)
    for group in groups:
        touched = [q for op in group for q in op.all_qubits] or [0]
        is_last = min(touched) >= n - width - 1
        assert len(group) == 1 or max(touched) - min(touched) < width + is_last
    ordered = Circuit(n, tuple(op for group in groups for op in group))
    np.testing.assert_allclose(dense_state(ordered), dense_state(circuit), atol=1e-12)


def test_windows_look_only_so_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    from qjax.quantum.engines.xla import windows

    monkeypatch.setattr(windows, "MAX_AHEAD", 3)
    n, circuit = 5, Circuit(5)
    for i in range(12):
        circuit = circuit.append("cx", (i % 3, (i + 1) % 3)).append("rx", i % 3, 0.1 * i)
    groups = group_by_windows(circuit.operations, n, Blocks(2, num_all=n))
    assert max(map(len, groups)) <= 3
    ordered = Circuit(n, tuple(op for group in groups for op in group))
    np.testing.assert_allclose(dense_state(ordered), dense_state(circuit), atol=1e-12)


# Real amplitudes ---------------------------------------------------------------------------------------------------


def layouts(made: Any) -> list[Any]:
    found = [made.before]
    for step in made.steps:
        assert step.before == found[-1]  # the steps fit together
        if isinstance(step, LoopStep):
            found += [layout for inner in step.body for layout in (inner.before, inner.after)]
        found.append(step.after)
    assert made.after == found[-1]
    return found


def real_circuit(n: int, reps: int, name: str = "w") -> Circuit:
    body = Circuit(n)
    for q in range(n):
        body = body.append("ry", q, parameter(name, q)).append("h", q)
    for q in range(n - 1):
        body = body.append("cx", (q, q + 1)).append("cz", (q, (q + 2) % n))
    return Circuit(n).append("x", 0) + Circuit(n, (Repeat(body, reps),))


@pytest.mark.parametrize("reps", [2, 40])
@pytest.mark.parametrize(
    "blocks", [Blocks(), Blocks(4, take_permutations=False), Blocks(3, across_layers=True, num_all=4)]
)
def test_real_circuits_have_no_bit_c(reps: int, blocks: Blocks) -> None:
    made = make_plan(compile_circuit(real_circuit(4, reps), True, blocks))
    assert all(layout.is_real for layout in layouts(made))
    given = make_plan(compile_circuit(real_circuit(4, reps), False, blocks), real_start=True)
    assert all(layout.is_real for layout in layouts(given))
    given = make_plan(compile_circuit(real_circuit(4, reps), False, blocks), real_start=False)
    assert not any(layout.is_real for layout in layouts(given))


@pytest.mark.parametrize(
    "gate", [("rx", 1, 0.3), ("s", 1), ("crz", (0, 3), 0.2), ("rxx", (0, 3), 0.3), ("cu", (1, 3), 1, 2, 3, 4)]
)
def test_the_first_complex_gate_makes_the_state_complex(gate: Any) -> None:
    real = real_circuit(4, 40)
    made = make_plan(
        compile_circuit(real.append(*gate) + real_circuit(4, 2, "v"), True, Blocks(4, take_permutations=False))
    )
    kinds = [layout.is_real for layout in layouts(made)]
    assert kinds[0]
    assert not kinds[-1]
    assert kinds == sorted(kinds, reverse=True)  # from then on, and never back
    loop = next(step for step in made.steps if isinstance(step, LoopStep))
    assert loop.before.is_real
    assert all(inner.after.is_real for inner in loop.body)


def test_blocks_of_a_layer_pass_c_along_without_moves() -> None:
    circuit = Circuit(8)
    for layer in range(3):
        for q in range(8):
            circuit = circuit.append("rx", q, parameter("w", layer, q)).append("rz", q, parameter("v", layer, q))
        for q in range(8):
            circuit = circuit.append("cx", (q, (q + 1) % 8))
    made = make_plan(compile_circuit(circuit, True, Blocks(4, take_permutations=False)))
    assert not any(isinstance(step, MoveStep) for step in made.steps)
    assert [type(step) for step in made.steps].count(MatrixStep) == 4
    assert [type(step) for step in made.steps].count(GatherStep) == 3
    assert compiler.MAX_BLOCK_QUBITS == 2


@pytest.mark.parametrize("is_real", [True, False])
@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("batches", [(4, 4), (1, 4), (4, 1)])
@pytest.mark.parametrize("written", [0, 3, 4])  # neither sum, one, both written out
def test_the_cotangent_of_the_first_state_is_that_of_autodiff(
    is_real: bool, place: int, batches: tuple[int, int], written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qjax.quantum.states.product_state.MAX_WRITTEN_SUM", written)
    made = make_plan(compile_circuit(Circuit(3)))
    made = replace(made, before=Layout(3, None if is_real else place))
    rng = np.random.default_rng(place)
    sizes = [(2 - is_real, d, b) for d, b in zip((2, 4), batches, strict=True)]
    halves = tuple(jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes)
    state, pull = jax.vjp(made.prepare, halves)
    cotangent = jnp.asarray(rng.normal(size=state.shape), jnp.float32)
    for found, expected in zip(made.pull_back_start(halves, cotangent), pull(cotangent)[0], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 8, 9, 16])
@pytest.mark.parametrize("phase", [np.pi, 0.7])
def test_a_diagonal_on_all_qubits_in_any_order(count: int, phase: float) -> None:
    qubits, order = (2, 0, 3, 1), np.random.default_rng(count).permutation(16)
    phases = np.where(order < count, phase, 0.0)
    circuit = Circuit(4)
    for q in range(4):
        circuit = circuit.append("h", q)
    found = state(circuit.append(diagonal_gate(phases), qubits))
    for index in range(16):
        bits = [index >> (3 - q) & 1 for q in qubits]
        expected = 0.25 * np.exp(1j * phases[int("".join(map(str, bits)), 2)])
        np.testing.assert_allclose(found[index], expected, atol=1e-6)
