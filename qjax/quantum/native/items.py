"""From a compiled circuit to the gates of the native code, and what the coefficients of each are made from."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qjax.quantum.angle import Angle
from qjax.quantum.choices import MAX_NATIVE_DIAGONALS
from qjax.quantum.gates import gate
from qjax.quantum.matrices import constant_matrix
from qjax.quantum.native.forms import FORMS, Form, num_numbers
from qjax.quantum.operation import Operation
from qjax.quantum.program import Blocks, Program
from qjax.quantum.stages import Dense, Flip, Loop, Permutation, Phase, ProductState, Single, Stage

# Gates of the table that are others under controls, as (gate, number of its qubits that are controls).
_CONTROLLED = {"cx": ("x", 1), "ccx": ("x", 2), "cswap": ("swap", 1)}


class Unsupported(Exception):
    """The circuit has something that the native code does not do, or not well."""


@dataclass(frozen=True)
class Item:
    """A gate, or something that moves no amplitude.

    Attributes:
      form: see `forms.py`; None for X, CX and SWAP, which change the frame alone.
      qubits: that it acts on.
      operations: what its coefficients are made from.
      own: whether each example has coefficients of its own.
      controls: that it acts under.
      control_values: 0 or 1 for each control.
      kind: equal for items that differ in their angles alone.
      angle: of each example, from which the native code makes the coefficients; None where JAX makes them.
      first: place of the coefficients, or of the angle, among those of its level: shared or of each example.
      made: place among what the native code makes.
    """

    form: Form | None
    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]
    own: bool = False
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()
    kind: Hashable = None
    angle: Angle | None = None
    first: int = 0
    made: int = 0

    @property
    def size(self) -> int:
        """Number of its coefficients, in real numbers."""
        return 2 * num_numbers(self.form) if self.form else 0

    @property
    def num_made(self) -> int:
        """Number of those that the native code makes, with cosine and sine."""
        return self.size + 2 if self.angle else 0


@dataclass(frozen=True)
class TurnedStart:
    """The state of a fresh qubit, as a matrix that all examples share times a column that each example has.

    Attributes:
      column: the item of the column.
      matrix: the item of the matrix, which is no gate by itself.
      made: place of their product among what the native code makes.
    """

    column: Item
    matrix: Item
    made: int = 0


@dataclass(frozen=True, eq=False)
class Level:
    """The gates of a circuit, or of the body of a loop.

    Attributes:
      items: in order; a level stands for a loop, `reps` times.
      groups: items whose coefficients JAX makes, those of one kind together.
      angles: from which the native code makes the others, those that are built alike together.
      reps: repetitions.
      reverse: whether the last slice of the parameters comes first.
      names: parameters of which each repetition has a slice.
      counts: of one repetition: coefficients that all examples share; angles, and then coefficients, of each example;
        what the native code makes.
      firsts: the places of these among those of the level around it.
    """

    items: tuple["Item | TurnedStart | Level", ...]
    groups: tuple[tuple[Item, ...], ...]
    angles: tuple[tuple[Angle, ...], ...]
    reps: int
    reverse: bool
    names: tuple[str, ...]
    counts: tuple[int, int, int]
    firsts: tuple[int, int, int] = (0, 0, 0)

    @property
    def slices(self) -> int:
        """Number of repetitions that have coefficients of their own."""
        return self.reps if self.names else 1


def level_of(program: Program, batched: frozenset[str], with_controls: bool = True) -> Level:
    """Returns the gates of a program.

    Args:
      program: compiled so that no gate is wider than it must be.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      with_controls: whether gates under controls stay what they are; else they become wider matrices.

    Raises:
      Unsupported: it has something else.
    """
    blocks = Blocks(batched=batched)
    items: list[Item | TurnedStart | Level] = []
    items += _start_items(program.start, blocks) if program.start is not None else ()
    return _level([*items, *_items(program.stages, program.num_qubits, blocks, with_controls)])


# Stages to items. -------------------------------------------------------------------------------------------


def _start_items(start: ProductState, blocks: Blocks) -> Iterator[Item | TurnedStart]:
    """Yields what makes the state of each qubit, in the order of their bits of the row."""
    for qubit, run in enumerate(start.runs):
        last = max((i + 1 for i, op in enumerate(run) if blocks.is_batched(op)), default=len(run))
        column = _item(("start", 1, 0), (qubit,), run[:last], blocks)
        if last == len(run):
            yield column
        else:
            yield TurnedStart(column, _item(("dense", 1, 0), (qubit,), run[last:], blocks))


def _items(stages: Sequence[Stage], num_qubits: int, blocks: Blocks, with_controls: bool) -> Iterator[Item | Level]:
    for stage in stages:
        if isinstance(stage, Dense):
            yield _item(("dense", len(stage.qubits), 0), stage.qubits, stage.operations, blocks)
        elif isinstance(stage, Phase | Flip):
            if len(stage.operations) > MAX_NATIVE_DIAGONALS * num_qubits:
                raise Unsupported
            for op in stage.operations:
                qubits = op.all_qubits or (0,)  # a global phase is qubit 0's
                yield _item(("diagonal", len(qubits), 0), qubits, (op,), blocks)
        elif isinstance(stage, Permutation):
            for op in stage.operations:
                yield _permutation(op, blocks, with_controls)
        elif isinstance(stage, Single):
            op = stage.operation
            yield _under_controls(op, op.controls, op.control_values, blocks, with_controls)
        elif isinstance(stage, Loop):
            yield _level(
                list(_items(stage.body, num_qubits, blocks, with_controls)), stage.reps, stage.reverse, stage.names
            )
        else:
            raise Unsupported


def _permutation(op: Operation, blocks: Blocks, with_controls: bool) -> Item:
    """Returns the item of a permutation: of X, CX and SWAP without any gate, of others as a matrix under controls."""
    inner, count = _CONTROLLED.get(op.gate.name, (op.gate.name, 0))
    qubits, controls = op.qubits[count:], (*op.controls, *op.qubits[:count])
    values = (*op.control_values, *(1,) * count)
    if (inner == "x" and len(controls) <= 1) or (inner == "swap" and not controls):
        return Item(None, qubits, (op,), controls=controls, control_values=values)
    inside = Operation(gate(inner), qubits) if count else op
    return _under_controls(inside, controls, values, blocks, with_controls)


def _under_controls(
    op: Operation, controls: tuple[int, ...], values: tuple[int, ...], blocks: Blocks, with_controls: bool
) -> Item:
    """Returns the item of an operation's gate under these controls."""
    if not with_controls:
        whole = Operation(op.gate, op.qubits, op.angles, controls, values)
        return _item(("dense", len(whole.all_qubits), 0), whole.all_qubits, (whole,), blocks)
    plain, form = Operation(op.gate, op.qubits, op.angles), ("dense", len(op.qubits), len(controls))
    return _item(form, op.qubits, (plain,), blocks, controls=controls, control_values=values)


def _item(
    form: Form, qubits: tuple[int, ...], operations: tuple[Operation, ...], blocks: Blocks, **more: Any
) -> Item:
    """Returns the item of a gate made of operations."""
    if form not in FORMS:
        raise Unsupported
    own = any(map(blocks.is_batched, operations))
    angle = _only_angle(operations) if own else None
    places = [tuple(qubits.index(q) for q in op.all_qubits) for op in operations]
    kind = []
    for op, place in zip(operations, places, strict=True):
        angles = tuple(a.shift if a.is_constant else blocks.differs(a) for a in op.angles)
        kind.append((op.gate, op.control_values, place, angles))
    return Item(form, qubits, operations, own, kind=(form, own, tuple(kind)), angle=angle, **more)


def _only_angle(operations: Sequence[Operation]) -> Angle | None:
    """Returns the one angle that is no number, where the matrix has but one frequency in it; else None."""
    found = [(op, angle) for op in operations for angle in op.angles if not angle.is_constant]
    if len(found) != 1 or len(found[0][0].angles) != 1:
        return None
    op, angle = found[0]
    return angle if op.gate.exponents and len(_frequencies(op)) == 1 else None


def _frequencies(op: Operation) -> list[float]:
    return sorted({abs(m) for m in op.gate.exponents[0]} - {0.0})


def rotation_constants(item: Item) -> np.ndarray:
    """Returns s, then of each number real and imaginary part of C, A, B: the item is C + A cos(s t) + B sin(s t)."""
    (op,) = [op for op in item.operations if any(not a.is_constant for a in op.angles)]
    (scale,) = _frequencies(op)

    def numbers(angle: float) -> np.ndarray:
        known = tuple(replace(o, angles=(Angle(angle),)) if o is op else o for o in item.operations)
        matrix = constant_matrix(known, item.qubits)
        assert matrix is not None
        assert item.form is not None
        kind = item.form[0]
        return matrix[:, 0] if kind == "start" else np.diag(matrix) if kind == "diagonal" else matrix.reshape(-1)

    ends = numbers(0.0), numbers(np.pi / scale)
    constant, cosine = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
    sine = numbers(np.pi / 2 / scale) - constant
    parts = [part for value in (constant, cosine, sine) for part in (value.real, value.imag)]
    return np.concatenate([[scale], np.stack(parts, axis=1).reshape(-1)])


# Levels. ----------------------------------------------------------------------------------------------------


def _level(
    items: Sequence[Item | TurnedStart | Level], reps: int = 1, reverse: bool = False, names: tuple[str, ...] = ()
) -> Level:
    """Returns the level of items, with the places of what each one has."""
    parts: list[Any] = []
    for item in items:
        parts += [item.column, item.matrix] if isinstance(item, TurnedStart) else [item]
    angles = _alike(list(dict.fromkeys(part.angle for part in parts if isinstance(part, Item) and part.angle)))
    rows = {angle: row for row, angle in enumerate(angle for group in angles for angle in group)}
    groups = _kinds(parts)
    shared, own, made = 0, len(rows), 0
    for i in (i for members in groups for i in members):
        parts[i] = replace(parts[i], first=own if parts[i].own else shared)
        shared, own = shared + (not parts[i].own) * parts[i].size, own + parts[i].own * parts[i].size
    for i, part in enumerate(parts):
        if isinstance(part, Item) and part.angle:
            parts[i] = replace(part, first=rows[part.angle], made=made)
            made += part.num_made
        elif isinstance(part, Level):
            parts[i] = replace(part, firsts=(shared, own, made))
            shared, own, made = (x + part.slices * y for x, y in zip((shared, own, made), part.counts, strict=True))
    placed: list[Item | TurnedStart | Level] = []
    rest = iter(parts)
    for item in items:
        if isinstance(item, TurnedStart):
            placed.append(TurnedStart(next(rest), next(rest), made))
            made += item.column.size
        else:
            placed.append(next(rest))
    members = tuple(tuple(parts[i] for i in group) for group in groups)
    return Level(tuple(placed), members, angles, reps, reverse, names, (shared, own, made))


def _kinds(parts: Sequence[Item | Level]) -> list[list[int]]:
    """Returns the places of the items whose coefficients JAX makes, those of one kind together."""
    kinds: dict[Hashable, list[int]] = {}
    for i, part in enumerate(parts):
        if isinstance(part, Item) and part.form and not part.angle:
            kinds.setdefault(part.kind, []).append(i)
    return list(kinds.values())


def _alike(angles: Sequence[Angle]) -> tuple[tuple[Angle, ...], ...]:
    """Returns the angles in groups: multiples of entries of one array, shifted alike, are one slice of it."""
    groups: dict[Hashable, list[Angle]] = {}
    for angle in angles:
        kind = (
            angle.shift,
            tuple((scale, tuple(getattr(ref, "name", "") for ref in refs)) for scale, refs in angle.terms),
        )
        groups.setdefault(kind, []).append(angle)
    return tuple(tuple(group) for group in groups.values())
