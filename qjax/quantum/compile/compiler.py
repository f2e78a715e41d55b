"""From a circuit to a short program: `compile_circuit` sorts its operations into stages, once and statically.

The rules, each a small function:
- operations on single qubits that nothing has touched make the product state, unless the state is given;
- any other one joins the latest earlier stage that can hold it, where every stage in between acts on other qubits;
- batched rotations about X and Y on several qubits become phases (`turned.py`);
- a diagonal one is moved out of a phase into the next dense block on its qubits, where it costs nothing;
- a short Repeat is written out before all this, so that stages grow across repetitions; a long one becomes a loop;
- for many examples on few qubits, what all of them share becomes one matrix on all qubits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from qjax.quantum.circuits.angle import Angle, Input
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.custom_gates import diagonal_gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.compile.reflections import find_reflections
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
from qjax.quantum.engines.choices import one_matrix_pays
from qjax.quantum.engines.xla.turned import turn_rotations
from qjax.quantum.states.matrices import constant_phases

# How many programs, and plans of engines, are kept, the latest: 0.1 MiB each.
MAX_KEPT_PLANS = 128
# A Repeat of at most this many stages in all is written out: a scan of few repetitions runs 1.2 to 1.4 times slower,
# and compile time grows with each stage written out.
MAX_UNROLLED_STAGES = 16
# Qubits of a dense block that may lie anywhere; wider blocks are on neighbouring qubits.
MAX_BLOCK_QUBITS = 2


# What is sorted into stages: operations, and stages that stay as they are.
Item = Operation | Loop | Reflection | Unitary


@dataclass(frozen=True)
class Blocks:
    """Which operations may share a dense block.

    Attributes:
      num_qubits: of a block at most; more than `MAX_BLOCK_QUBITS` only on neighbouring qubits.
      batched: references that differ between examples: 'inputs', or names of parameters. A block that has one of them
        is a matrix for each example, and stays as narrow as the operation itself.
      joined: for how many examples operations that all of them share are joined to one matrix; 0 for never.
    """

    num_qubits: int = MAX_BLOCK_QUBITS
    batched: frozenset[str] = frozenset()
    take_permutations: bool = True
    across_layers: bool = False
    num_all: int = 0
    joined: int = 0
    turned: bool = True

    def is_batched(self, op: Operation) -> bool:
        """Whether the operation differs between examples."""
        return bool(self.batched) and any(map(self.differs, op.angles))

    def differs(self, angle: Angle) -> bool:
        """Whether the angle differs between examples."""
        names = {"inputs" if isinstance(ref, Input) else ref.name for ref in angle.references}
        return not names.isdisjoint(self.batched)

    def fits(self, qubits: set[int], batched: bool) -> bool:
        """Whether a block on these qubits is allowed."""
        if len(qubits) <= 1 or (len(qubits) <= min(MAX_BLOCK_QUBITS, self.num_qubits) and not batched):
            return True
        return not batched and len(qubits) <= self.num_qubits and max(qubits) - min(qubits) == len(qubits) - 1


@dataclass(frozen=True)
class Program:
    """What a circuit does to a state, as stages; `print` shows them."""

    num_qubits: int
    start: ProductState | None
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        start = () if self.start is None else (self.start,)
        return "\n".join(map(str, (*start, *self.stages)))


@lru_cache(maxsize=MAX_KEPT_PLANS)
def compile_circuit(circuit: Circuit, from_zero: bool = True, blocks: Blocks = Blocks()) -> Program:
    """Returns the program of a circuit; equal circuits share one.

    Args:
      circuit: what to run.
      from_zero: whether it starts from |0...0>, which the program then prepares, or from a state that is given.
      blocks: which operations may share a dense block.
    """
    n = as_circuit(circuit).num_qubits
    items: list[Any] = _elements(circuit, blocks) if blocks.joined else _write_out(circuit, blocks)
    start = None
    if from_zero:
        runs, items = _split_product(items, n, blocks)
        start = ProductState(runs)
    stages = _stages(_join(items, n, blocks) if blocks.joined else items, blocks)
    if blocks.joined and not _has_unitary(stages):
        return compile_circuit(circuit, from_zero, replace(blocks, joined=0))
    return Program(n, start, stages)


def _split_product(
    items: Sequence[Any], num_qubits: int, blocks: Blocks
) -> tuple[tuple[tuple[Operation, ...], ...], list[Any]]:
    """Returns the run of operations on each fresh qubit, and all others in order.

    Where operations are joined, those that all examples share at the end of a run are left to the matrix.
    """
    runs: list[list[int]] = [[] for _ in range(num_qubits)]
    fresh = set(range(num_qubits))
    for i, item in enumerate(items):
        qubits = item.all_qubits if isinstance(item, Operation) else range(num_qubits)
        if isinstance(item, Operation) and len(qubits) < 2 and fresh.issuperset(qubits):
            runs[qubits[0] if qubits else 0].append(i)  # a global phase goes anywhere
        else:
            fresh -= set(qubits)
    for run in runs if blocks.joined else ():
        while run and not blocks.is_batched(items[run[-1]]):
            run.pop()
    taken = {i for run in runs for i in run}
    rest = [item for i, item in enumerate(items) if i not in taken]
    return tuple(tuple(items[i] for i in run) for run in runs), rest


@dataclass
class _Draft:
    """A stage while it grows."""

    kind: str  # 'dense' | 'diagonal' | 'permutation' | 'single' | 'fixed'
    blocks: Blocks
    qubits: set[int] = field(default_factory=set)
    operations: list[Operation] = field(default_factory=list)
    fixed: Loop | Reflection | Unitary | None = None
    batched: bool = False

    def add(self, op: Operation, first: bool = False) -> None:
        """Takes the operation, as the first of all or as the last."""
        self.operations.insert(0 if first else len(self.operations), op)
        self.qubits.update(op.all_qubits)
        self.batched = self.batched or self.blocks.is_batched(op)

    def holds(self, op: Operation) -> bool:
        """Whether the operation costs nothing here: a dense block that has all its qubits."""
        inside = self.kind == "dense" and self.qubits >= set(op.all_qubits)
        inside = inside and (self.blocks.take_permutations or op.gate.structure != "permutation")
        if op.gate.structure == "diagonal" and self.blocks.is_batched(op) and not self.batched:
            return False  # sooner a phase, with others of its kind
        narrow = self.batched or self.blocks.num_qubits == 1  # no wider than an operation that it has
        return inside and (narrow or self.blocks.fits(self.qubits, self.blocks.is_batched(op)))

    def can_take(self, op: Operation) -> bool:
        """Whether the operation can join: another of the same kind, or a dense block with room for it."""
        kind = _kind(op)
        if self.kind == "dense" and kind == "dense":
            return self.blocks.fits(self.qubits | set(op.all_qubits), self.batched or self.blocks.is_batched(op))
        return self.holds(op) or (self.kind == kind and kind != "single")

    def touches(self, op: Operation) -> bool:
        """Whether the operation must stay on its side of this stage."""
        return self.fixed is not None or not self.qubits.isdisjoint(op.all_qubits)

    def finish(self) -> Stage:
        """Returns the stage."""
        if self.fixed is not None:
            return self.fixed
        operations = tuple(self.operations)
        if self.kind == "dense":
            return Dense(tuple(sorted(self.qubits)), operations)
        if self.kind == "single":
            return Single(operations[0])
        if self.kind == "permutation":
            return Permutation(operations)
        operations = _add_constant_phases(operations)
        return Flip(operations) if all(map(_is_sign, operations)) else Phase(operations)


def _add_constant_phases(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Returns diagonal operations with those of known angles on the same qubits as one, in the first one's place.

    Their phases are added here, in float64 and modulo 2 pi: in float32 the sum of some hundreds is off by 1e-4.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for i, op in enumerate(operations):
        if constant_phases(op) is not None:
            groups.setdefault(frozenset(op.all_qubits), []).append(i)
    kept: list[Operation | None] = list(operations)
    for qubits, places in groups.items():
        if len(places) < 2 or not qubits:
            continue
        ascending = sorted(qubits)
        total = sum(_phases_on(ascending, operations[i]) for i in places)
        for i in places:
            kept[i] = None
        kept[places[0]] = Operation(diagonal_gate(np.remainder(total, 2 * np.pi)), tuple(ascending))
    return tuple(op for op in kept if op is not None)


def _phases_on(qubits: Sequence[int], op: Operation) -> np.ndarray:
    """Returns the phases of an operation of known angles, for its qubits in this order."""
    known = constant_phases(op)
    assert known is not None
    return known.reshape((2,) * len(qubits)).transpose([op.all_qubits.index(q) for q in qubits]).reshape(-1)


def _is_sign(op: Operation) -> bool:
    """Whether a diagonal operation changes signs alone."""
    phases = constant_phases(op)
    return phases is not None and bool(np.all(np.abs(np.sin(phases)) < 1e-12))


def _kind(op: Operation) -> str:
    """Returns the kind of stage that an operation makes by itself."""
    if op.gate.structure != "dense":
        return op.gate.structure
    return "dense" if len(op.all_qubits) <= MAX_BLOCK_QUBITS else "single"


def _stages(items: Iterable[Item], blocks: Blocks) -> tuple[Stage, ...]:
    """Returns the stages of operations and loops, in order."""
    drafts: list[_Draft] = []
    if blocks.across_layers:
        return _wide_stages(items, blocks)
    for item in _turned(items, blocks) if blocks.turned else items:
        if not isinstance(item, Operation):
            drafts.append(_Draft("fixed", blocks, fixed=item))
        else:
            _place(item, drafts, blocks)
    _move_phases_into_blocks(drafts)
    return tuple(draft.finish() for draft in drafts if draft.fixed is not None or draft.operations)


def _runs(items: Iterable[Item]) -> Iterator[tuple[list[Operation], Loop | Reflection | Unitary | None]]:
    """Yields the operations before each loop or reflection with it, and with None those after the last."""
    run: list[Operation] = []
    for item in items:
        if isinstance(item, Operation):
            run.append(item)
        else:
            yield run, item
            run = []
    yield run, None


def _turned(items: Iterable[Item], blocks: Blocks) -> list[Item]:
    """Returns the items with `turn_rotations` done between loops and reflections."""
    turned: list[Item] = []
    for run, item in _runs(items):
        turned += turn_rotations(run, blocks.is_batched)
        turned += [] if item is None else [item]
    return turned


def _wide_stages(items: Iterable[Item], blocks: Blocks) -> tuple[Stage, ...]:
    """Returns the stages of operations and loops, gates between two loops grouped by windows."""
    from qjax.quantum.engines.xla.windows import group_by_windows

    plain = replace(blocks, across_layers=False)
    stages: list[Stage] = []
    for run, item in _runs(items):
        for group in group_by_windows(run, blocks.num_all, blocks):
            qubits = sorted({q for op in group for q in op.all_qubits})
            whole = tuple(range(qubits[0], qubits[-1] + 1)) if qubits else (0,)
            if len(group) > 1 or (len(whole) <= blocks.num_qubits and not blocks.is_batched(group[0])):
                stages.append(Dense(whole, tuple(group)))
            else:
                stages.extend(_stages(group, plain))
        if item is not None:
            stages.append(item)
    return tuple(stages)


def _place(op: Operation, drafts: list[_Draft], blocks: Blocks) -> None:
    """Puts the operation into an earlier stage that can take it, best where it costs nothing, or a new one."""
    candidates = []
    for draft in reversed(drafts):
        if draft.fixed is None and draft.can_take(op):
            candidates.append(draft)
        if draft.touches(op):
            break
    if not candidates:
        drafts.append(_Draft(_kind(op), blocks))
        candidates = drafts[-1:]
    chosen = next((draft for draft in candidates if draft.holds(op)), candidates[0])
    chosen.add(op)


def _move_phases_into_blocks(drafts: list[_Draft]) -> None:
    """Moves each diagonal operation of a phase to the front of the next stage on its qubits, if a block has all.

    Those of one phase commute, so any of them may leave it last.
    """
    for position, draft in enumerate(drafts):
        if draft.kind != "diagonal":
            continue
        kept = []
        for op in draft.operations:
            later = next((d for d in drafts[position + 1 :] if d.touches(op)), None)
            if later is not None and later.holds(op):
                later.add(op, first=True)
            else:
                kept.append(op)
        draft.operations = kept


def _write_out(circuit: Circuit, blocks: Blocks) -> list[Item]:
    """Returns the operations without barriers, each Repeat either written out or as a loop."""
    if blocks.joined:
        return _join(_elements(circuit, blocks), circuit.num_qubits, blocks)
    items: list[Item] = []
    run: list[Operation] = []
    for op in (*circuit.operations, None):
        if isinstance(op, Operation):
            run.extend([] if op.is_barrier else [op])
            continue
        written = _repeat(op, blocks) if op is not None else []
        if written and all(isinstance(item, Operation) for item in written):
            run.extend(item for item in written if isinstance(item, Operation))
            continue
        items.extend(find_reflections(run))
        items.extend(written)
        run = []
    return items


def _repeat(repeat: Repeat, blocks: Blocks) -> list[Item]:
    """Returns the operations of a Repeat where it is short, else a loop."""
    body = _write_out(repeat.body, blocks)
    stages = _stages(body, blocks)
    if not any(isinstance(item, Loop) for item in body) and len(stages) * repeat.reps <= MAX_UNROLLED_STAGES:
        return [op for op in repeat.expand() if not op.is_barrier]
    names = () if repeat.shared else tuple(repeat.body.parameter_shapes)
    return [Loop(stages, repeat.reps, repeat.reverse, names)]


# What all examples share, as one matrix. ---------------------------------------------------------------------


def _elements(circuit: Circuit, blocks: Blocks) -> list[Item | Repeat]:
    """Returns the operations without barriers; a Repeat as it is where all examples share it."""
    found: list[Item | Repeat] = []
    for op in circuit.operations:
        if isinstance(op, Repeat):
            found.extend(_repeat(op, blocks) if _differs(op, blocks) else [op])
        elif not op.is_barrier:
            found.append(op)
    return found


def _differs(element: Item | Repeat, blocks: Blocks) -> bool:
    """Whether an operation, or one that is repeated, differs between examples; what is a loop already does."""
    if isinstance(element, Repeat):
        return any(_differs(op, blocks) for op in element.body.operations)
    return not isinstance(element, Operation) or blocks.is_batched(element)


def _join(elements: Sequence[Item | Repeat], num_qubits: int, blocks: Blocks) -> list[Item]:
    """Returns the elements with each run that all examples share as one matrix where that costs less."""
    items: list[Item] = []
    plain = replace(blocks, joined=0)
    for differs, group in groupby(elements, lambda element: _differs(element, blocks)):
        run: tuple[Any, ...] = tuple(group)
        if differs:
            items.extend(run)
            continue
        shared = Circuit(num_qubits, run)
        written = _write_out(shared, plain)
        pays = one_matrix_pays(num_qubits, blocks.joined, _count_stages(_stages(written, plain)))
        items.extend([Unitary(shared)] if pays else written)
    return items


def _has_unitary(stages: Sequence[Stage]) -> bool:
    return any(_has_unitary(s.body) if isinstance(s, Loop) else isinstance(s, Unitary) for s in stages)


def _count_stages(stages: Sequence[Stage]) -> int:
    return sum(stage.reps * _count_stages(stage.body) if isinstance(stage, Loop) else 1 for stage in stages)
