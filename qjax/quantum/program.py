"""From a circuit to a short program: `compile_circuit` sorts its operations into stages, once and statically.

The rules, each a small function:
- operations on single qubits that nothing has touched make the product state, unless the state is given;
- any other one joins the latest earlier stage that can hold it, where every stage in between acts on other qubits;
- a diagonal one is moved out of a phase into the next dense block on its qubits, where it costs nothing;
- a short Repeat is written out before all this, so that stages grow across repetitions; a long one becomes a loop.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from qjax.quantum.circuit import Circuit
from qjax.quantum.operation import Operation
from qjax.quantum.stages import Dense, Loop, Permutation, Phase, ProductState, Single, Stage
from qjax.quantum.values import Values
from qjax.types import Array

# A Repeat of at most this many stages in all is written out: a scan of few repetitions runs 1.2 to 1.4 times slower,
# and compile time grows with each stage written out.
MAX_UNROLLED_STAGES = 32
# Qubits of a dense block.
MAX_BLOCK_QUBITS = 2


@dataclass(frozen=True)
class Program:
    """What a circuit does to a state, as stages; `print` shows them."""

    num_qubits: int
    start: ProductState | None
    stages: tuple[Stage, ...]

    def run(self, values: Values, state: Array | None = None) -> Array:
        """Returns the final state, `[2**n, 1]` where nothing depends on the inputs, else `[2**n, batch]`.

        Args:
          values: parameters and inputs.
          state: the first state `[2**n, 1 or batch]` of a program that was compiled without one.
        """
        if self.start is not None:
            state = self.start.prepare(values)
        assert state is not None
        for stage in self.stages:
            state = stage.apply(state, values)
        return state

    def __str__(self) -> str:
        start = () if self.start is None else (self.start,)
        return "\n".join(map(str, (*start, *self.stages)))


@lru_cache(maxsize=512)
def compile_circuit(circuit: Circuit, from_zero: bool = True) -> Program:
    """Returns the program of a circuit; equal circuits share one.

    Args:
      circuit: what to run.
      from_zero: whether it starts from |0...0>, which the program then prepares, or from a state that is given.
    """
    items = _write_out(circuit)
    if not from_zero:
        return Program(circuit.num_qubits, None, _stages(items))
    runs: list[list[Operation]] = [[] for _ in range(circuit.num_qubits)]
    fresh = set(range(circuit.num_qubits))
    rest: list[Operation | Loop] = []
    for item in items:
        qubits = range(circuit.num_qubits) if isinstance(item, Loop) else item.all_qubits
        if isinstance(item, Operation) and len(qubits) < 2 and fresh.issuperset(qubits):
            runs[qubits[0] if qubits else 0].append(item)  # a global phase goes anywhere
        else:
            fresh -= set(qubits)
            rest.append(item)
    return Program(circuit.num_qubits, ProductState(tuple(map(tuple, runs))), _stages(rest))


@dataclass
class _Draft:
    """A stage while it grows."""

    kind: str  # 'dense' | 'diagonal' | 'permutation' | 'single' | 'loop'
    qubits: set[int] = field(default_factory=set)
    operations: list[Operation] = field(default_factory=list)
    loop: Loop | None = None

    def holds(self, op: Operation) -> bool:
        """Whether the operation costs nothing here: a dense block that has all its qubits."""
        return self.kind == "dense" and self.qubits >= set(op.all_qubits)

    def can_take(self, op: Operation) -> bool:
        """Whether the operation can join: another of the same kind, or a dense block with room for it."""
        kind = _kind(op)
        if self.kind == "dense" and kind == "dense":
            return len(self.qubits | set(op.all_qubits)) <= MAX_BLOCK_QUBITS
        return self.holds(op) or (self.kind == kind and kind != "single")

    def touches(self, op: Operation) -> bool:
        """Whether the operation must stay on its side of this stage."""
        return self.loop is not None or not self.qubits.isdisjoint(op.all_qubits)

    def finish(self) -> Stage:
        """Returns the stage."""
        if self.loop is not None:
            return self.loop
        operations = tuple(self.operations)
        if self.kind == "dense":
            return Dense(tuple(sorted(self.qubits)), operations)
        if self.kind == "single":
            return Single(operations[0])
        return Phase(operations) if self.kind == "diagonal" else Permutation(operations)


def _kind(op: Operation) -> str:
    """Returns the kind of stage that an operation makes by itself."""
    if op.gate.structure != "dense":
        return op.gate.structure
    return "dense" if len(op.all_qubits) <= MAX_BLOCK_QUBITS else "single"


def _stages(items: Iterable[Operation | Loop]) -> tuple[Stage, ...]:
    """Returns the stages of operations and loops, in order."""
    drafts: list[_Draft] = []
    for item in items:
        if isinstance(item, Loop):
            drafts.append(_Draft("loop", loop=item))
        else:
            _place(item, drafts)
    _move_phases_into_blocks(drafts)
    return tuple(draft.finish() for draft in drafts if draft.loop is not None or draft.operations)


def _place(op: Operation, drafts: list[_Draft]) -> None:
    """Puts the operation into an earlier stage that can take it, best where it costs nothing, or a new one."""
    candidates = []
    for draft in reversed(drafts):
        if draft.loop is None and draft.can_take(op):
            candidates.append(draft)
        if draft.touches(op):
            break
    if not candidates:
        drafts.append(_Draft(_kind(op)))
        candidates = drafts[-1:]
    chosen = next((draft for draft in candidates if draft.holds(op)), candidates[0])
    chosen.operations.append(op)
    chosen.qubits.update(op.all_qubits)


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
                later.operations.insert(0, op)
            else:
                kept.append(op)
        draft.operations = kept


def _write_out(circuit: Circuit) -> list[Operation | Loop]:
    """Returns the operations without barriers, each Repeat either written out or as a loop."""
    items: list[Operation | Loop] = []
    for op in circuit.operations:
        if isinstance(op, Operation):
            items.extend([] if op.is_barrier else [op])
            continue
        body = _write_out(op.body)
        stages = _stages(body)
        has_loop = any(isinstance(item, Loop) for item in body)
        if not has_loop and len(stages) * op.reps <= MAX_UNROLLED_STAGES:
            items.extend(inner for inner in op.expand() if not inner.is_barrier)
        else:
            names = () if op.shared else tuple(op.body.parameter_shapes)
            items.append(Loop(stages, op.reps, op.reverse, names, op.body.num_inputs))
    return items
