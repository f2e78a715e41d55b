"""From a circuit to a short program: `compile_circuit` sorts its operations into stages, once and statically.

The rules, each a small function:
- operations on single qubits that nothing has touched make the product state, unless the state is given;
- any other one joins the latest earlier stage that can hold it, where every stage in between acts on other qubits;
- a diagonal one is moved out of a phase into the next dense block on its qubits, where it costs nothing;
- a short Repeat is written out before all this, so that stages grow across repetitions; a long one becomes a loop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from qjax.quantum.circuits.angle import Angle, Input
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.custom_gates import diagonal_gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.compile.conditions import sign_changes
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
)
from qjax.quantum.states.matrices import constant_phases

# How many programs, and plans of engines, are kept, the latest: 0.1 MiB each.
MAX_KEPT_PLANS = 128
# A Repeat of at most this many stages in all is written out: a scan of few repetitions runs 1.2 to 1.4 times slower,
# and compile time grows with each stage written out.
MAX_UNROLLED_STAGES = 16
# Qubits of a dense block.
MAX_BLOCK_QUBITS = 2


# What is sorted into stages: operations, and stages that stay as they are.
Item = Operation | Loop | Reflection


@dataclass(frozen=True)
class Blocks:
    """Which operations may share a dense block.

    Attributes:
      num_qubits: of a block at most, 1 or `MAX_BLOCK_QUBITS`.
      batched: references that differ between examples: 'inputs', or names of parameters. A block that has one of them
        is a matrix for each example, and stays as narrow as the operation itself.
      take_permutations: whether a permutation on the qubits of a block joins it.
    """

    num_qubits: int = MAX_BLOCK_QUBITS
    batched: frozenset[str] = frozenset()
    take_permutations: bool = True

    def is_batched(self, op: Operation) -> bool:
        """Whether the operation differs between examples."""
        return bool(self.batched) and any(map(self.differs, op.angles))

    def differs(self, angle: Angle) -> bool:
        """Whether the angle differs between examples."""
        return any(("inputs" if isinstance(ref, Input) else ref.name) in self.batched for ref in angle.references)

    def fits(self, qubits: set[int], batched: bool) -> bool:
        """Whether a block on these qubits is allowed."""
        return len(qubits) <= 1 or (len(qubits) <= self.num_qubits and not batched)


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
    items: list[Any] = _write_out(circuit, blocks)
    start = None
    if from_zero:
        runs, items = _split_product(items, n)
        start = ProductState(runs)
    return Program(n, start, _stages(items, blocks))


def _split_product(items: Sequence[Any], num_qubits: int) -> tuple[tuple[tuple[Operation, ...], ...], list[Any]]:
    """Returns the run of operations on each fresh qubit, and all others in order."""
    runs: list[list[Operation]] = [[] for _ in range(num_qubits)]
    rest, fresh = [], set(range(num_qubits))
    for item in items:
        qubits = item.all_qubits if isinstance(item, Operation) else range(num_qubits)
        if isinstance(item, Operation) and len(qubits) < 2 and fresh.issuperset(qubits):
            runs[qubits[0] if qubits else 0].append(item)  # a global phase goes anywhere
        else:
            fresh -= set(qubits)
            rest.append(item)
    return tuple(map(tuple, runs)), rest


@dataclass
class _Draft:
    """A stage while it grows."""

    kind: str  # 'dense' | 'diagonal' | 'permutation' | 'single' | 'fixed'
    blocks: Blocks
    qubits: set[int] = field(default_factory=set)
    operations: list[Operation] = field(default_factory=list)
    fixed: Loop | Reflection | None = None
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
        """Whether the operation can join: to the same kind, or to a dense block that is not full."""
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
        return Phase(operations) if any(sign_changes(op) is None for op in operations) else Flip(operations)


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
    phases = constant_phases(op)
    assert phases is not None
    return phases.reshape((2,) * len(qubits)).transpose([op.all_qubits.index(q) for q in qubits]).reshape(-1)


def _kind(op: Operation) -> str:
    """Returns the kind of stage that an operation makes by itself."""
    if op.gate.structure != "dense":
        return op.gate.structure
    return "dense" if len(op.all_qubits) <= MAX_BLOCK_QUBITS else "single"


def _stages(items: Iterable[Item], blocks: Blocks) -> tuple[Stage, ...]:
    """Returns the stages of operations and loops, in order."""
    drafts: list[_Draft] = []
    for item in items:
        if isinstance(item, Operation):
            _place(item, drafts, blocks)
        else:
            drafts.append(_Draft("fixed", blocks, fixed=item))
    _move_phases_into_blocks(drafts)
    return tuple(draft.finish() for draft in drafts if draft.fixed is not None or draft.operations)


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
    items: list[Any] = []
    for op in circuit.operations:
        if isinstance(op, Repeat):
            items += _repeat(op, blocks)
        elif not op.is_barrier:
            items.append(op)
    runs = groupby(items, key=lambda item: isinstance(item, Operation))
    return [item for are_operations, run in runs for item in (find_reflections(list(run)) if are_operations else run)]


def _repeat(repeat: Repeat, blocks: Blocks) -> list[Item]:
    """Returns the operations of a Repeat where it is short, else a loop."""
    body = _write_out(repeat.body, blocks)
    stages = _stages(body, blocks)
    if not any(isinstance(item, Loop) for item in body) and len(stages) * repeat.reps <= MAX_UNROLLED_STAGES:
        return [op for op in repeat.expand() if not op.is_barrier]
    names = () if repeat.shared else tuple(repeat.body.parameter_shapes)
    return [Loop(stages, repeat.reps, repeat.reverse, names)]
