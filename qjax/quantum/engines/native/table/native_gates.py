"""From a compiled circuit to the gates of the native code, and what the coefficients of each are made from."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import Blocks, Program
from qjax.quantum.compile.lowering import lowered, z_strings
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
from qjax.quantum.engines.choices import MAX_NATIVE_DIAGONALS
from qjax.quantum.engines.native.table.factor_recipes import (
    Factor,
    constants_of,
    factors_of,
    handed_over,
    has_one_frequency,
    relation,
)
from qjax.quantum.engines.native.table.layout import CPU_FORMS, FORMS, NUM_SCALES, STRINGS, Form, num_numbers

# What is lowered for a GPU, too, which has no gates with lists of strings.
_LOWERED = ("x", "cx", "ccx", "cswap")
REFLECTION: Form = ("reflection", 0, 0)
# Gates that relabel rows, with the number of controls under which they do.
_MAX_CONTROLS = {"x": 1, "swap": 0}
# A diagonal operation on more qubits than this has too many strings of Z to be one of many summed phases.
_MAX_SUMMED_QUBITS = 6
# A string of Z: its qubits, the place of its angle among the item's, or -1, and what this, or 1, is multiplied by.
ZString = tuple[tuple[int, ...], int, float]


class Unsupported(Exception):
    """The circuit has something that the native code does not do, or not well."""


@dataclass(frozen=True)
class NativeGate:
    """A gate, or something that moves no amplitude.

    Attributes:
      form: see `layout.py`; None for X, CX and SWAP, which change the relabelling alone.
      qubits: that it acts on.
      operations: what its coefficients are made from.
      per_example: whether each example has coefficients of its own.
      is_constant: whether they are the same in every call.
      controls: that it acts under.
      control_values: 0 or 1 for each control.
      kind: equal for items that differ in their angles alone.
      angle: what is handed over of each example, from which the native code makes the coefficients; None where it
        does not.
      factors: that all examples share, whose product the native code makes; none where JAX makes the coefficients.
      angles: whose sums are the phases of rows, where these are strings of Z.
      strings: these.
    """

    form: Form | None
    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]
    per_example: bool = False
    is_constant: bool = False
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()
    kind: Hashable = None
    angle: Angle | None = None
    factors: tuple[Factor, ...] = ()
    angles: tuple[Angle, ...] = ()
    strings: tuple[ZString, ...] = ()

    @property
    def size(self) -> int:
        """Number of its coefficients, in real numbers."""
        return 2 * num_numbers(self.form) if self.form else 0

    @property
    def num_made(self) -> int:
        """Number of those that the native code makes, with cosine and sine."""
        return self.size + 2 if self.angle else 0


@dataclass(frozen=True)
class Rules:
    """How a program becomes items.

    Attributes:
      blocks: says which operations differ between examples.
      with_controls: whether gates under controls stay what they are; else they become wider matrices.
      composes: whether it is the native code of a CPU, which makes the coefficients that all examples share, where
        it can, takes angles of any size, and has gates with lists of strings.
    """

    blocks: Blocks
    with_controls: bool = True
    composes: bool = False


@dataclass(frozen=True, eq=False)
class GateLoop:
    """The gates of a circuit, or of the body of a loop.

    Attributes:
      items: in order; a level stands for a loop, `reps` times.
      reps: repetitions.
      reverse: whether the last slice of the parameters comes first.
      sliced: whether each repetition has a slice of the parameters.
    """

    items: tuple["NativeGate | GateLoop", ...]
    reps: int = 1
    reverse: bool = False
    sliced: bool = False

    def gates(self, leading: tuple[int, ...] = ()) -> Iterator[tuple[NativeGate, tuple[int, ...]]]:
        """Yields the gates of all repetitions in order, with the leading index of their parameters."""
        for rep in range(self.reps):
            here = (*leading, self.reps - 1 - rep if self.reverse else rep) if self.sliced else leading
            for item in self.items:
                if isinstance(item, GateLoop):
                    yield from item.gates(here)
                else:
                    yield item, here


def gates_of(program: Program, rules: Rules) -> GateLoop:
    """Returns the gates of a program that was compiled so that no gate is wider than it must be.

    Raises:
      Unsupported: it has something else.
    """
    start = _start_gates(program.start, rules) if program.start is not None else ()
    return GateLoop((*start, *_native_gates(program.stages, program.num_qubits, rules)))


# Stages to items. -------------------------------------------------------------------------------------------


def _start_gates(start: ProductState, rules: Rules) -> Iterator[NativeGate]:
    """Yields what makes the state of each qubit, in the order of their bits of the row, and then what is left.

    That is what all examples share after the last operation that differs between them.
    """
    rest = []
    for qubit, run in enumerate(start.runs):
        last = max((i + 1 for i, op in enumerate(run) if rules.blocks.is_batched(op)), default=len(run))
        yield _native_gate(("start", 1, 0), (qubit,), run[:last], rules)
        if last < len(run):
            rest.append(_native_gate(("dense", 1, 0), (qubit,), run[last:], rules))
    yield from rest


def _native_gates(stages: Sequence[Stage], num_qubits: int, rules: Rules) -> Iterator[NativeGate | GateLoop]:
    for stage in stages:
        if isinstance(stage, Dense):
            for part in _parts_of_block(stage.operations, rules):
                yield _native_gate(("dense", len(stage.qubits), 0), stage.qubits, part, rules)
        elif isinstance(stage, Phase | Flip):
            yield from _diagonals(stage.operations, num_qubits, rules)
        elif isinstance(stage, Permutation):
            for op in stage.operations:
                yield from _lowered(op, rules)
        elif isinstance(stage, Single):
            yield from _lowered(stage.operation, rules)
        elif isinstance(stage, Loop):
            body = tuple(_native_gates(stage.body, num_qubits, rules))
            yield GateLoop(body, stage.reps, stage.reverse, bool(stage.names))
        elif isinstance(stage, Reflection) and rules.composes:
            yield NativeGate(REFLECTION, stage.qubits, ())
        else:
            raise Unsupported


def _diagonals(operations: Sequence[Operation], num_qubits: int, rules: Rules) -> Iterator[NativeGate]:
    """Yields the items of diagonal operations side by side: of many of them a sum of phases."""
    rest = list(operations)
    if len(rest) > MAX_NATIVE_DIAGONALS * num_qubits:
        if not rules.composes:
            raise Unsupported
        yield _summed([op for op in operations if _has_few_strings(op)], rules)
        rest = [op for op in operations if not _has_few_strings(op)]
    for op in rest:
        if _is_diagonal(op, rules) or not rules.composes:
            yield _diagonal(op, rules)
        else:
            yield from _lowered(op, rules)


def _diagonal_form(op: Operation) -> Form:
    return "diagonal", max(len(op.all_qubits), 1), 0  # a global phase is qubit 0's


def _is_diagonal(op: Operation, rules: Rules) -> bool:
    """Whether it is a gate of the table; small parts of a large state on a CPU have no room for three qubits."""
    form = _diagonal_form(op)
    return op.gate.structure == "diagonal" and form in FORMS and (rules.with_controls or form[1] < 3)


def _diagonal(op: Operation, rules: Rules) -> NativeGate:
    return _native_gate(_diagonal_form(op), op.all_qubits or (0,), (op,), rules)


def _has_few_strings(op: Operation) -> bool:
    one = op.gate.name == "pauli_rotation" and not op.controls
    return one or op.gate.name == "diagonal" or len(op.all_qubits) <= _MAX_SUMMED_QUBITS


def _summed(operations: Sequence[Operation], rules: Rules) -> NativeGate:
    """Returns the item of diagonal operations as a sum of phases."""
    angles: dict[Angle, int] = {}
    strings: dict[tuple[tuple[int, ...], int], float] = {}
    for op in operations:
        fixed = all(angle.is_constant for angle in op.angles)
        place = -1 if fixed else angles.setdefault(op.angles[0], len(angles))
        for qubits, scale in z_strings(op).items():
            key = tuple(sorted(qubits)), place
            strings[key] = strings.get(key, 0.0) + scale
    per_example = any(map(rules.blocks.is_batched, operations))
    listed = tuple((*key, scale) for key, scale in strings.items())
    return NativeGate(
        STRINGS, (), tuple(operations), per_example, kind=(STRINGS, per_example), angles=tuple(angles), strings=listed
    )


def _lowered(op: Operation, rules: Rules) -> Iterator[NativeGate]:
    """Yields the items of an operation that no stage of others has: X, CX and SWAP are none but relabel rows."""
    for part in lowered(op) if rules.composes or op.gate.name in _LOWERED else (op,):
        if part.gate.name in _MAX_CONTROLS and len(part.controls) <= _MAX_CONTROLS[part.gate.name]:
            moves = tuple(Operation(gate("cx"), (q, *part.qubits)) for q in part.controls)
            moves += (replace(part, controls=(), control_values=()),) if part.control_values != (1,) else ()
            yield NativeGate(None, part.qubits, moves, controls=part.controls, control_values=part.control_values)
        elif _is_diagonal(part, rules):
            yield _diagonal(part, rules)
        elif part.gate.structure == "diagonal" and part.gate.num_qubits > 2 and rules.composes:
            yield _summed([part], rules)
        else:
            yield _under_controls(part, rules)


def _under_controls(op: Operation, rules: Rules) -> NativeGate:
    """Returns the item of an operation's gate under its controls."""
    width, count = len(op.qubits), len(op.controls)
    if not rules.with_controls and width + count <= 2:
        return _native_gate(("dense", width + count, 0), op.all_qubits, (op,), rules)
    form: Form = ("dense", width, count)
    if rules.composes and (form not in FORMS or not rules.with_controls):
        form = "controlled", width, 0
    if rules.composes and width > 2:
        form = ("permutation" if op.gate.structure == "permutation" else "matrix"), 0, 0
    plain = Operation(op.gate, op.qubits, op.angles)
    return _native_gate(form, op.qubits, (plain,), rules, controls=op.controls, control_values=op.control_values)


def _native_gate(
    form: Form, qubits: tuple[int, ...], operations: tuple[Operation, ...], rules: Rules, **more: Any
) -> NativeGate:
    """Returns the item of a gate made of operations."""
    if form not in FORMS and form not in CPU_FORMS:
        raise Unsupported
    if all(angle.is_constant for op in operations for angle in op.angles):
        return NativeGate(form, qubits, operations, is_constant=True, **more)
    per_example = any(map(rules.blocks.is_batched, operations))
    angle = _only_angle(operations) if per_example else None
    angle = handed_over(angle) if angle and rules.composes else angle
    factors = factors_of(operations, form) if rules.composes and not per_example else ()
    is_made = bool(factors) or angle is not None

    def alike(angle: Angle) -> Hashable:
        """What angles of one kind have in common."""
        if is_made and angle.is_constant:
            return angle.shift
        return relation(angle, handed_over(angle)) if is_made and rules.composes else rules.blocks.differs(angle)

    kind = [
        (op.gate, op.control_values, tuple([qubits.index(q) for q in op.all_qubits]), tuple(map(alike, op.angles)))
        for op in operations
    ]
    relations = tuple([factor.relation for factor in factors])  # of -a, too, which may be made of a or handed over
    more |= {"kind": (form, per_example, tuple(kind), relations), "angle": angle, "factors": factors}
    return NativeGate(form, qubits, operations, per_example, **more)


def _parts_of_block(operations: tuple[Operation, ...], rules: Rules) -> list[tuple[Operation, ...]]:
    """Returns the gates that a block becomes, in order: on a CPU each per-example one, and the shared ones between.

    The native code makes each from its angles, and their product (`with_products`); JAX would make the product anew.
    """
    if not rules.composes:
        return [operations]
    runs = groupby(enumerate(operations), lambda pair: pair[0] if rules.blocks.is_batched(pair[1]) else -1)
    return [tuple(op for _, op in run) for _, run in runs]


def _only_angle(operations: Sequence[Operation]) -> Angle | None:
    """Returns the one angle that is no number, where the matrix has but one frequency in it; else None."""
    found = [(op, angle) for op in operations for angle in op.angles if not angle.is_constant]
    if len(found) != 1 or len(found[0][0].angles) != 1:
        return None
    op, angle = found[0]
    return angle if has_one_frequency(op) else None


def rotation_constants(item: NativeGate) -> np.ndarray:
    """Returns what the native code makes an item of one angle from: see `constants_of`; s as a sum of float32."""
    assert item.form is not None
    ((scale, *rest),) = constants_of([(Factor(item.operations, item.angle), item.qubits, item.form)])
    parts: list[float] = []
    for _ in range(NUM_SCALES):
        parts.append(float(np.float32(scale - sum(parts))))
    return np.array([*parts, *rest])
