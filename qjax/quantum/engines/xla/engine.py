"""The engine of plain JAX: right on every device, and differentiable by JAX to any order.

A circuit is a product state and a few stages. The reverse pass undoes each stage, for the state and its cotangent
together, so that it holds few states however deep the circuit is (Jones & Gacon 2020, arXiv:2009.02823). Stages that
are not unitary cannot be undone: a run saves the states before these.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qjax.quantum.compile.compiler import Blocks, Program, compile_circuit
from qjax.quantum.compile.reflections import is_search
from qjax.quantum.compile.stages import Dense, Flip, Loop, Permutation, Phase, ProductState, Single, Stage
from qjax.quantum.engines.base import Description, Engine, Task, Work, nothing_saved
from qjax.quantum.engines.memory import state_bytes
from qjax.quantum.engines.readouts import ExpectationReadout
from qjax.quantum.engines.xla.stage_steps import (
    Numbers,
    apply,
    are_side_by_side,
    cotangents,
    keeps_real,
    numbers_of,
    pair_cotangents,
    undo,
)
from qjax.quantum.states.axes import num_qubits_of
from qjax.quantum.states.barriers import barrier, stored
from qjax.quantum.states.batch import batch_of, with_batch
from qjax.quantum.states.product_state import halves, product_state, pull_back_product
from qjax.types import Array

# States in memory at once: one before a stage, one after it and one in work; in reverse with their cotangents.
STATES_FORWARD, STATES_BACKWARD = 3, 6
States = tuple[Array, Array]


class XlaEngine(Engine):
    """Plain JAX: takes every task, on every device."""

    name = "XLA"

    def refusal(self, task: Task) -> str:
        return ""

    def bytes_held(self, task: Task, gradient: bool) -> int:
        one = state_bytes(task.num_qubits, task.batch, task.dtype)
        return one * (STATES_BACKWARD + _num_kept(_program(task).stages) if gradient else STATES_FORWARD)

    def describe(self, task: Task) -> Description:
        program = _program(task)
        one = sum((_work(stage, task) for stage in program.stages), _work(program.start, task))
        # The reverse pass undoes a stage on state and costate, and contracts the two: three times the work.
        return Description(tuple(map(str, (program.start or "the given state", *program.stages))), one, one.times(3))

    def rows_saved(self, task: Task) -> int:
        return 2 * (1 + _num_kept(_program(task).stages)) << task.num_qubits

    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        program = _program(task)
        first, numbers = _begin(task, program, operands)
        final, kept = _run_all(program, numbers, _first_state(task, first), rows > 0)
        saved = _as_rows((final, kept), task.batch) if rows else nothing_saved(task.batch, task.dtype)
        return _read(task, final), saved

    def backward(
        self, task: Task, operands: Sequence[Array], saved: Array, cotangents: Sequence[Array], per_example: bool
    ) -> tuple[Array, ...]:
        program = _program(task)
        wide = tuple(with_batch(x, task.batch) for x in operands) if per_example else tuple(operands)
        (first, numbers), pull = jax.vjp(lambda *xs: _begin(task, program, xs), *wide)

        def run(first: tuple[Array, ...], numbers: Sequence[Numbers]) -> Any:
            return _run_all(program, numbers, _first_state(task, first), True)

        saves = saved.shape[0] > 0
        final, kept = _from_rows(saved, jax.eval_shape(run, first, numbers)) if saves else run(first, numbers)
        (cotangent,) = jax.vjp(partial(_read, task), final)[1](tuple(cotangents))
        states, slopes = _run_back(program.stages, numbers, (final, cotangent.conj()), kept)
        return tuple(pull((_pull_back_first(task, first, states[1].conj()), slopes)))


def _program(task: Task) -> Program:
    return compile_circuit(task.circuit, task.given == 0, Blocks(batched=task.batched))


def _num_kept(stages: Sequence[Stage]) -> int:
    """Returns how many states a run saves for the reverse pass, without the final one."""
    return sum(
        stage.reps * _num_kept(stage.body) if isinstance(stage, Loop) else int(not stage.is_unitary)
        for stage in stages
    )


def _work(stage: Stage | ProductState | None, task: Task) -> Work:
    """Returns the work of a stage, one pass each, or that of writing the first state."""
    amplitudes, one_pass = task.batch << task.num_qubits, 2 * state_bytes(task.num_qubits, task.batch, task.dtype)
    if isinstance(stage, Loop):
        if is_search(stage, task.num_qubits):
            return Work(2, 2 * one_pass, 2 * amplitudes)
        return sum((_work(inner, task) for inner in stage.body), Work()).times(stage.reps)
    if stage is None or isinstance(stage, ProductState):
        return Work(0.5, one_pass // 2, 6 * amplitudes)
    flops = 4  # of a reflection, for each amplitude; a complex product is 6, a sum 2
    if isinstance(stage, Dense | Single):
        count = len(stage.qubits) if isinstance(stage, Dense) else stage.operation.gate.num_qubits
        is_pauli = isinstance(stage, Single) and stage.operation.gate.name == "pauli_rotation"
        flops = 8 * 2 ** (1 if is_pauli else count) - 2
    elif isinstance(stage, Phase):
        flops = 8 + len(stage.operations)
    elif isinstance(stage, Permutation | Flip):
        flops = 0
    return Work(1, one_pass, flops * amplitudes)


def _begin(task: Task, program: Program, operands: Sequence[Array]) -> tuple[Any, tuple[Numbers, ...]]:
    """Returns what the first state is made of, and the numbers of each stage."""
    values = task.values(operands)
    first = task.first_state(operands) if program.start is None else halves(program.start.runs, values)
    return first, numbers_of(program.stages, values)


def _first_state(task: Task, first: tuple[Array, ...]) -> Array:
    """Returns the first state, `[2**n, 1 or batch]`, real where it can be: what is given, or a product state."""
    if task.given:
        return first[0] if task.given == 1 else lax.complex(*first)
    parts = product_state(first)
    return parts[0] if len(parts) == 1 else lax.complex(*parts)


def _pull_back_first(task: Task, first: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
    """Returns the cotangents of what the first state is made of."""
    if max(x.shape[-1] for x in first) == 1:  # all examples share it
        cotangent = cotangent.sum(axis=-1, keepdims=True)
    parts = lax.real(cotangent), -lax.imag(cotangent)  # JAX's convention: of a + ib the cotangent is one of a - ib
    return parts[: len(first)] if task.given else pull_back_product(first, jnp.stack(parts[: len(first[0])]))


def _as_complex(state: Array) -> Array:
    return state if jnp.iscomplexobj(state) else lax.complex(state, jnp.zeros_like(state))


def _read(task: Task, final: Array) -> tuple[Array, ...]:
    """Returns what is read, `[..., batch]`; values stored, or XLA would sum anew for each user of them."""
    wide = tuple(with_batch(x, task.batch) for x in task.readout(final))
    return tuple(map(stored, wide)) if isinstance(task.readout, ExpectationReadout) else wide


def _as_rows(states: Any, batch: int) -> Array:
    """Returns complex states `[..., 2**n, 1 or batch]` as real rows `[rows, batch]`."""
    leaves = [with_batch(x, batch).reshape(-1, batch) for x in jax.tree.leaves(states)]
    return jnp.concatenate([part for x in leaves for part in (lax.real(x), lax.imag(x))])


def _from_rows(rows: Array, like: Any) -> Any:
    """Undoes `_as_rows`; each state has the whole batch."""
    leaves, tree = jax.tree.flatten(like)
    shapes = [(*x.shape[:-1], rows.shape[-1]) for x in leaves]
    sizes = [math.prod(shape[:-1]) for shape in shapes]
    parts = lax.split(rows, [size for size in sizes for _ in range(2)])
    states = [lax.complex(*parts[2 * i : 2 * i + 2]).reshape(shape) for i, shape in enumerate(shapes)]
    return jax.tree.unflatten(tree, states)


# Runs over stages. ---------------------------------------------------------------------------------------------


def _run_all(program: Program, numbers: Sequence[Numbers], state: Array, keep: bool) -> tuple[Array, tuple[Any, ...]]:
    """Returns what `_run` does; the final state is complex."""
    final, kept = _run(program.stages, numbers, state, keep)
    return _as_complex(final), kept


def _run(
    stages: Sequence[Stage], numbers: Sequence[Numbers], state: Array, keep: bool
) -> tuple[Array, tuple[Any, ...]]:
    """Returns the final state, and what each stage saves for `_run_back`; nothing unless `keep`."""
    kept: list[Any] = []
    for stage, stage_numbers in zip(stages, numbers, strict=True):
        if isinstance(stage, Loop) and not is_search(stage, num_qubits_of(state)):
            state = with_batch(_as_complex(state), batch_of((state, *jax.tree.leaves(stage_numbers))))
            state, inner = _scan(stage, _forward_step(stage, keep), state, stage_numbers, None, backwards=False)
            kept.append(inner)
        else:
            state = state if keeps_real(stage) else _as_complex(state)
            kept.append(state if keep and not stage.is_unitary else None)
            state = barrier(apply(stage, stage_numbers, state))
    return state, tuple(kept)


def _forward_step(loop: Loop, keep: bool) -> Any:
    return lambda state, numbers, _: _run(loop.body, numbers, state, keep)


def _run_back(
    stages: Sequence[Stage], numbers: Sequence[Numbers], states: States, kept: Sequence[Any]
) -> tuple[States, tuple[Numbers, ...]]:
    """Returns state and costate before all stages, and the cotangents of the numbers of each.

    Args:
      stages: in the order of the run.
      numbers: of each stage.
      states: the final state and its costate, the conjugate of its cotangent, `[2**n, batch]`.
      kept: see `_run`.
    """
    all_slopes: list[Numbers] = []
    left = list(zip(stages, numbers, kept, strict=True))
    while left:
        stage, stage_numbers, saved = left.pop()
        if left and are_side_by_side(left[-1][:2], (stage, stage_numbers)):
            blocks: Any = left.pop()[:2], (stage, stage_numbers)
            before, costate = states
            for block, matrix in reversed(blocks):
                before, costate = barrier([undo(block, matrix, x) for x in (before, costate)])
            all_slopes += reversed(pair_cotangents(blocks, before, states[1]))
            states = before, costate
            continue
        if isinstance(stage, Loop) and not is_search(stage, num_qubits_of(states[0])):
            states, slopes = _loop_back(stage, stage_numbers, states, saved)
        elif saved is None:
            before, costate = barrier([undo(stage, stage_numbers, x) for x in states])
            slopes = cotangents(stage, stage_numbers, before, states[1])
            states = before, costate
        else:
            _, pull = jax.vjp(partial(apply, stage), stage_numbers, saved)
            slopes, cotangent = pull(states[1].conj())
            states = saved, cotangent.conj()
        all_slopes.append(slopes)
    return states, tuple(reversed(all_slopes))


def _loop_back(loop: Loop, numbers: Numbers, states: States, kept: Any) -> tuple[States, Numbers]:
    """Returns what `_run_back` does, for one loop; the cotangents of shared numbers are added up on the way."""

    def step(carry: Any, body_numbers: Any, saved: Any) -> Any:
        states, totals = carry
        states, slopes = _run_back(loop.body, body_numbers, states, saved)
        return ((states, None), slopes) if loop.names else ((states, jax.tree.map(jnp.add, totals, slopes)), None)

    totals = None if loop.names else jax.tree.map(jnp.zeros_like, numbers)
    (states, totals), slopes = _scan(loop, step, (states, totals), numbers, kept, backwards=True)
    return states, slopes if loop.names else totals


def _scan(loop: Loop, function: Any, carry: Any, numbers: Numbers, kept: Any, backwards: bool) -> Any:
    """Scans function(carry, numbers of the repetition, what it kept) -> (carry, result) over the repetitions."""

    def step(carry: Any, slices: Any) -> Any:
        sliced, saved = slices
        return function(carry, sliced if loop.names else numbers, saved)

    slices = (numbers if loop.names else None, kept)
    return lax.scan(step, carry, slices, length=loop.reps, reverse=loop.reverse != backwards)
