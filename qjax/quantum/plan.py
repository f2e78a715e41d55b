"""From stages to steps: where bit c lies at each of them, and the tensors that each needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qjax.quantum.apply import stored
from qjax.quantum.choices import MIN_PASS_BITS, PART_BITS
from qjax.quantum.loop_rotation import rotate_loops
from qjax.quantum.loop_step import LoopStep
from qjax.quantum.matrices import block_matrices, constant_matrix, phase_weights, start_columns
from qjax.quantum.operation import Operation
from qjax.quantum.operation_step import OperationStep
from qjax.quantum.passes import passes_of
from qjax.quantum.phase_table import phase_table
from qjax.quantum.planes import HIGHEST, Layout, join_planes, split_planes
from qjax.quantum.primitive import with_batch
from qjax.quantum.program import Program
from qjax.quantum.stages import Dense, Flip, Loop, Permutation, Phase, ProductState, Reflection, Single, Stage
from qjax.quantum.steps import (
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
from qjax.quantum.values import Values
from qjax.types import Array

# Halves of a first state of at most this many rows are pulled back by sums written out, term by term.
MAX_WRITTEN_SUM = 64


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
        """Returns what each qubit's run of operations makes of |0>, `[2, 1 or batch]`, joined in two halves."""
        assert self.start is not None
        one = jnp.ones((1, 1), values.complex_dtype)  # what a product of no columns is
        columns = start_columns(self.start.runs, values)
        middle = (len(columns) - 1) // 2
        return _join([one, *columns[:middle]]), _join(columns[middle:])

    def prepare(self, tensors: Tensors) -> Array:
        """Returns the first state, the product of its two halves."""
        high, low = tensors
        return stored(_outer_product(high, low, self.before))

    def pull_back_start(self, tensors: Tensors, cotangent: Array) -> Tensors:
        """Returns the cotangents of the two halves from that of the first state."""
        high, low = tensors
        layout, batch = self.before, cotangent.shape[-1]
        if batch == 1 or max(len(high), len(low)) > MAX_WRITTEN_SUM:
            return tuple(jax.vjp(self.prepare, tensors)[1](cotangent)[0])
        high, low = (with_batch(x, batch) for x in (high, low))
        shape = (len(high), len(low), batch)
        if layout.is_real:
            real, imag = cotangent.reshape(shape), None
        else:
            real, imag = (x.reshape(shape) for x in split_planes(cotangent, layout))
        of_high = _weighted_rows(real.swapaxes(0, 1), None if imag is None else imag.swapaxes(0, 1), low)
        of_low = _weighted_rows(real, imag, high)
        return tuple(
            ct.sum(axis=-1, keepdims=True) if x.shape[-1] < batch else ct
            for ct, x in zip((of_high, of_low), tensors, strict=True)
        )


def _weighted_rows(real: Array, imag: Array | None, weights: Array) -> Array:
    """Returns sum of (real[k] - i imag[k]) weights[k] over k, `[rows, batch]`, slice by slice, which is fast."""
    first: Any = 0.0
    second: Any = 0.0
    for k in range(len(weights)):
        re, im = weights[k].real[None], weights[k].imag[None]
        first = first + real[k] * re + (0.0 if imag is None else imag[k] * im)
        second = second + (0.0 if imag is None else real[k] * im - imag[k] * re)
    return lax.complex(first, jnp.broadcast_to(jnp.asarray(second, first.dtype), first.shape))


def _join(columns: Sequence[Array]) -> Array:
    """Returns the product state of some qubits, `[2**k, 1 or batch]`."""
    state = columns[0]
    for column in columns[1:]:
        product = state[:, None, :] * column[None, :, :]
        state = product.reshape(-1, product.shape[-1])
    return stored(state)


def _outer_product(high: Array, low: Array, layout: Layout) -> Array:
    """Returns the product of two halves of a state in the layout."""
    if high.shape[-1] == low.shape[-1] == 1 and layout.place is not None:
        left, right = _factors(high[:, 0], low[:, 0], layout.place)
        return jnp.matmul(left, right, precision=HIGHEST).reshape(-1, 1)  # which XLA cannot compute anew
    a, b = high[:, None, :], low[None, :, :]
    real = a.real * b.real - (0 if layout.is_real else a.imag * b.imag)
    batch = real.shape[-1]
    if layout.is_real:
        return real.reshape(-1, batch)
    imag = a.real * b.imag + a.imag * b.real
    return join_planes(real.reshape(-1, batch), imag.reshape(-1, batch), layout)


def _factors(high: Array, low: Array, place: int) -> tuple[Array, Array]:
    """Returns two real matrices, `[rows, 2]` and `[2, columns]`, whose product is the product of two halves."""
    first = len(high).bit_length() - 1
    if place <= first:  # bit c is among the bits of the first half
        return jnp.stack(_planes(high, place), 1), jnp.stack([low.real, low.imag])
    return jnp.stack([high.real, high.imag], 1), jnp.stack(_planes(low, place - first))


def _planes(vector: Array, place: int) -> list[Array]:
    """Returns a vector and i times the vector, each with its imaginary parts beside its real ones, c at the place."""
    re, im = (x.reshape(2**place, 1, -1) for x in (vector.real, vector.imag))
    return [jnp.concatenate(pair, 1).reshape(-1) for pair in ((re, im), (-im, re))]


def _tensors(steps: Sequence[Step], sources: Sequence[Any], values: Values) -> tuple[Tensors, ...]:
    """Returns the tensors of each step; matrices of one form are built together."""
    found: list[Tensors] = [()] * len(steps)
    blocks = []
    for i, (step, source) in enumerate(zip(steps, sources, strict=True)):
        if isinstance(step, MatrixStep) and step.constant is None:
            blocks.append((i, (source.qubits, source.operations)))
        elif isinstance(step, PhaseStep):
            if step.table is not None:
                found[i] = tuple(values.angle(angle)[None, :] for angle in step.table.angles)
            else:
                found[i] = tuple(_phases(op, values) for op in source.operations)
        elif isinstance(step, OperationStep):
            found[i] = tuple(values.angle(angle) for angle in step.operation.angles)
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


def _phases(op: Any, values: Values) -> Array:
    """Returns the phase of each basis state of the operation's qubits, `[2**k, 1 or batch]`."""
    weights = jnp.asarray(phase_weights(op)[:, None], values.dtype)
    return weights * values.angle(op.angles[0])[None, :] if op.angles else weights


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
            place = 0 if isinstance(stage, Permutation | Loop) else place
            ordered.append(stage)
            continue
        if any(set(stage.qubits) & set(block.qubits) for block in group):
            close()
        group.append(stage)
    close()
    return ordered


def _window(stage: Any) -> tuple[int, int] | None:
    """Returns the qubits (first, last + 1) of a block that wants bit c beside it; None for any other stage."""
    if isinstance(stage, Dense) and not stage.is_real and stage.is_window:
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
    return max(wanted, n + 1 - PART_BITS) if n + 1 >= MIN_PASS_BITS else wanted


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
            if isinstance(stage, Dense):
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

    def _dense(self, stage: Dense, rest: Sequence[Stage]) -> None:
        constant = constant_matrix(stage.operations, stage.qubits)
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
