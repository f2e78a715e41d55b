"""From stages to steps: where bit c lies at each of them, and the tensors that each needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import Program
from qjax.quantum.compile.stages import (
    Dense,
    Flip,
    Loop,
    Permutation,
    Phase,
    ProductState,
    Reflection,
    Single,
    Stage,
    Unitary,
)
from qjax.quantum.engines.choices import PART_BITS, in_parts
from qjax.quantum.engines.xla.loop_rotation import rotate_loops
from qjax.quantum.engines.xla.loop_step import LoopStep
from qjax.quantum.engines.xla.operation_step import OperationStep
from qjax.quantum.engines.xla.passes import passes_of
from qjax.quantum.engines.xla.phase_table import phase_table
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.shared_unitary import shared_unitary
from qjax.quantum.engines.xla.steps import (
    MAX_TABLE_QUBITS,
    FlipStep,
    GatherStep,
    MatrixStep,
    MoveStep,
    PhaseStep,
    ReflectionStep,
    Step,
    Tensors,
)
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.matrices import block_matrices, constant_matrix, phase_weights
from qjax.quantum.states.product_state import halves, product_state, pull_back_product
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps of a program.

    Attributes:
      num_qubits: n.
      start: what prepares the first state; None where it is given.
      before: layout of the first state.
      after: layout of the last.
      steps: in order.
      sources: for each step the stage whose angles its tensors come from.
      dropped: operations at the end that the readout accounts for.
    """

    num_qubits: int
    start: ProductState | None
    before: Layout
    after: Layout
    steps: tuple[Step, ...]
    sources: tuple[Any, ...]
    dropped: tuple[Operation, ...] = ()

    @property
    def num_saved_states(self) -> int:
        """Number of states that the reverse pass keeps where it does not compute them again."""
        return 1 + _count_saved(self.steps, self.sources)

    def tensors(self, values: Values) -> tuple[Tensors, ...]:
        """Returns the tensors of each step."""
        return _tensors(self.steps, self.sources, values)

    def start_tensors(self, values: Values) -> Tensors:
        """Returns the two halves of the first state; see `product_state.py`."""
        assert self.start is not None
        return halves(self.start, values)

    def prepare(self, tensors: Tensors) -> Array:
        """Returns the first state, the product of its two halves."""
        return product_state(tensors, self.before)

    def pull_back_start(self, tensors: Tensors, cotangent: Array) -> Tensors:
        """Returns the cotangents of the two halves from that of the first state."""
        return pull_back_product(tensors, self.before, cotangent)


def _tensors(steps: Sequence[Step], sources: Sequence[Any], values: Values) -> tuple[Tensors, ...]:
    """Returns the tensors of each step; matrices of one form are built together."""
    found: list[Tensors] = [()] * len(steps)
    blocks = []
    for i, (step, source) in enumerate(zip(steps, sources, strict=True)):
        if isinstance(source, Unitary):
            assert isinstance(step, MatrixStep)
            found[i] = (step.prepare(shared_unitary(source.circuit, values)),)
        elif isinstance(step, MatrixStep) and step.constant is None:
            blocks.append((i, (source.qubits, source.operations)))
        elif isinstance(step, PhaseStep):
            if step.table is not None:
                found[i] = tuple(angle[None, :] for angle in values.small_angles(step.table.angles))
            else:
                found[i] = _phases(source.operations, values)
        elif isinstance(step, OperationStep):
            found[i] = tuple(values.each(step.operation.angles))
        elif isinstance(step, LoopStep):
            found[i] = _loop_tensors(step, source, values)
    for (i, _), matrix in zip(blocks, block_matrices([block for _, block in blocks], values), strict=True):
        step = steps[i]
        assert isinstance(step, MatrixStep)
        found[i] = (jnp.asarray(step.prepare(matrix)),)
    return tuple(found)


def _count_saved(steps: Sequence[Step], sources: Sequence[Any]) -> int:
    total = 0
    for one in passes_of(tuple(steps)):
        here = steps[one.first : one.end]
        if isinstance(here[0], LoopStep):
            total += here[0].reps * _count_saved(here[0].body, sources[one.first].sources)
        else:
            total += any(map(_has_tensors, here))
    return total


def _has_tensors(step: Step) -> bool:
    if isinstance(step, MatrixStep):
        return step.constant is None
    return isinstance(step, PhaseStep) or (isinstance(step, OperationStep) and bool(step.operation.angles))


def _loop_tensors(step: LoopStep, source: "LoopSource", values: Values) -> Tensors:
    if not step.sliced:
        return _tensors(step.body, source.sources, values)
    slices = values.slices(source.names)
    return jax.vmap(lambda own: _tensors(step.body, source.sources, values.inside_loop(own)))(slices)


def _phases(operations: Sequence[Operation], values: Values) -> tuple[Array, ...]:
    """Returns the phase of each basis state of each operation's qubits, `[2**k, 1 or batch]`."""
    angles = iter(values.small_angles([op.angles[0] for op in operations if op.angles]))
    weights = [jnp.asarray(phase_weights(op)[:, None], values.dtype) for op in operations]
    return tuple(own * next(angles)[None] if op.angles else own for op, own in zip(operations, weights, strict=True))


@dataclass(frozen=True, eq=False)
class LoopSource:
    """The stages behind the steps of a loop's body, and the parameters that it runs along."""

    names: tuple[str, ...]
    sources: tuple[Any, ...]


# Laying out. ------------------------------------------------------------------------------------------------


def make_plan(program: Program, *, real_start: bool = True) -> Plan:
    """Returns the plan of a program.

    Args:
      program: what to run.
      real_start: whether a state that is given is real; read where the program prepares none.
    """
    n = program.num_qubits
    is_real = real_start if program.start is None else program.start.is_real
    stages = list(program.stages)
    if n > MAX_TABLE_QUBITS:
        from_zero = program.start is not None and not any(program.start.runs)
        stages = rotate_loops(stages, from_zero)
    stages = order_blocks(stages, 0)
    place = _first_wanted(stages, n)
    first = Layout(n, None if is_real else place)
    draft = _Draft(first)
    draft.lay_out(stages)
    return Plan(n, program.start, first, draft.layout, tuple(draft.steps), tuple(draft.sources))


def order_blocks(stages: Sequence[Stage], place: int) -> list[Stage]:
    """Returns the stages with neighbouring blocks on different qubits in the order in which bit c can pass them.

    Such blocks commute. c comes from one end and leaves at the other, and starts at the first where a gather or a
    loop lets it start anywhere.
    """
    ordered: list[Stage] = []
    group: list[Dense] = []

    def close() -> None:
        nonlocal place
        if group:
            ascending = sorted(group, key=lambda block: block.qubits[0])
            first, last = ascending[0].qubits[0], ascending[-1].qubits[-1] + 1
            up = abs(place - first) <= abs(place - last)
            ordered.extend(ascending if up else ascending[::-1])
            place = last if up else first
        group.clear()

    for stage in stages:
        if not isinstance(stage, Dense):
            close()
            place = 0 if isinstance(stage, Permutation | Loop | Unitary) else place
            ordered.append(stage)
            continue
        if any(set(stage.qubits) & set(block.qubits) for block in group):
            close()
        group.append(stage)
    close()
    return ordered


def _window(stage: Any) -> tuple[int, int] | None:
    """Returns the qubits (first, last + 1) of a block that wants bit c beside it; None for any other stage."""
    if isinstance(stage, Dense | Unitary) and not stage.is_real and stage.is_window:
        return stage.qubits[0], stage.qubits[-1] + 1
    return None


def _first_wanted(stages: Sequence[Stage], n: int) -> int:
    """Returns the place of c that the next block wants; a permutation or a loop before it makes any place good."""
    for stage in stages:
        window = _window(stage)
        if window is not None:
            return window[0]
        if isinstance(stage, Loop):
            return _loop_place(stage, n)
        if isinstance(stage, Permutation):
            return 0
    return 0


def _loop_place(loop: Loop, n: int) -> int:
    """Returns the place of c before and after each repetition.

    For a state that goes in parts c must not have to cross all bits at once: it stops where the last part begins, so
    that the last pass takes it there and the first one takes it on.
    """
    wanted = _first_wanted(order_blocks(loop.body, 0), n)
    return max(wanted, n + 1 - PART_BITS) if in_parts(n + 1) else wanted


@dataclass
class _Draft:
    """Steps while they are laid out.

    Attributes:
      layout: of the state after those that are there.
      home: where bit c is wanted at the end; None where any place is good.
    """

    layout: Layout
    home: int | None = None
    steps: list[Step] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)

    def add(self, step: Step, source: Any = None) -> None:
        self.steps.append(step)
        self.sources.append(source)
        self.layout = step.after

    def at(self, place: int) -> Layout:
        return Layout(self.layout.num_qubits, place)

    def go(self, place: int) -> None:
        """Moves bit c, or makes the state complex."""
        if self.layout.place != place:
            self.add(MoveStep(self.layout, self.at(place)))

    def lay_out(self, stages: Sequence[Stage]) -> None:
        for i, stage in enumerate(stages):
            rest = stages[i + 1 :]
            if isinstance(stage, Dense | Unitary):
                self._dense(stage, rest)
            elif isinstance(stage, Permutation):
                fixed = self.layout.is_real or self.layout.num_qubits > MAX_TABLE_QUBITS
                wanted = None if fixed else self.at(_first_wanted(rest, self.layout.num_qubits))
                self.add(GatherStep(self.layout, wanted or self.layout, stage.operations), stage)
            elif isinstance(stage, Phase):
                self.go(self.layout.place if self.layout.place is not None else 0)
                qubits = tuple(op.all_qubits for op in stage.operations)
                table = phase_table(stage.operations, self.layout.num_qubits)
                self.add(PhaseStep(self.layout, self.layout, qubits, table), stage)
            elif isinstance(stage, Flip):
                self.add(FlipStep(self.layout, self.layout, stage.operations), stage)
            elif isinstance(stage, Reflection):
                self.add(ReflectionStep(self.layout, self.layout, stage.qubits), stage)
            elif isinstance(stage, Single):
                if not stage.is_real:
                    self.go(self.layout.place if self.layout.place is not None else 0)
                self.add(OperationStep(self.layout, self.layout, stage.operation), stage)
            else:
                assert isinstance(stage, Loop)
                self._loop(stage)

    def _dense(self, stage: Dense | Unitary, rest: Sequence[Stage]) -> None:
        constant = constant_matrix(stage.operations, stage.qubits) if isinstance(stage, Dense) else None
        first, end, place = stage.qubits[0], stage.qubits[-1] + 1, self.layout.place
        free = place is None or not first < place < end
        if stage.is_real and (free or not stage.is_window):
            self.add(MatrixStep(self.layout, self.layout, stage.qubits, constant, False), stage)
            return
        if not stage.is_window:
            self.go(0 if place is None else place)
            self.add(MatrixStep(self.layout, self.layout, stage.qubits, constant, True), stage)
            return
        if place is not None and not first <= place <= end:
            self.go(first if place < first else end)
        target = next((w for w in map(_window, rest) if w), None)
        stops = any(isinstance(s, Permutation | Loop) for s in rest[:1])
        if target is None and self.home is not None:
            wanted = self.home
        elif target is None and isinstance(stage, Unitary):
            wanted = 0  # real parts in one piece, as the readout wants them
        else:
            wanted = end if target is None or stops else min(max(end, target[0]), target[1])
        wanted = min(max(wanted, first), end)
        self.add(MatrixStep(self.layout, self.at(wanted), stage.qubits, constant, True), stage)

    def _loop(self, stage: Loop) -> None:
        n = self.layout.num_qubits
        body = order_blocks(stage.body, 0)
        place = None
        if not self.layout.is_real or not stage.is_real:
            place = _loop_place(stage, n)
            self.go(place)
        inner = _Draft(self.layout, place)
        if place is not None:
            inner.go(_first_wanted(body, n))
        inner.lay_out(body)
        if place is not None:
            inner.go(place)
        sliced = bool(stage.names)
        step = LoopStep(self.layout, self.layout, tuple(inner.steps), stage.reps, stage.reverse, sliced)
        self.add(step, LoopSource(stage.names, tuple(inner.sources)))
