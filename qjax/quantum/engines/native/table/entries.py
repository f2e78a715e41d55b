"""The table that the native code follows: one entry for each gate, every repetition written out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS, Blocks, Program, compile_circuit
from qjax.quantum.compile.relabelling import Frame, pivots
from qjax.quantum.compile.stages import ProductState
from qjax.quantum.engines.native.table.factor_recipes import recipe_of
from qjax.quantum.engines.native.table.fresh_columns import new_entry, turned_starts
from qjax.quantum.engines.native.table.layout import (
    COLUMN,
    CONTENT,
    COUNT,
    CPU_FORMS,
    DIAGONALS,
    ENTRY,
    FIRST,
    FLIP,
    FORMS,
    GATHERS,
    KIND,
    LANES,
    LEFT,
    LOW,
    MAKER_KINDS,
    MASK,
    MAX_QUBITS,
    NUM_RECORDS,
    REAL_ROWS,
    RECORD_ANGLE,
    RECORD_FLIP,
    RECORD_LOW,
    RECORD_SCALE,
    RECORD_WEIGHTS,
    RECORD_WORDS,
    RECORDS,
    RIGHT,
    SINGLE,
    START,
    TARGETS,
    WEIGHTS,
    num_numbers,
)
from qjax.quantum.engines.native.table.native_gates import (
    Counts,
    Item,
    Level,
    Rules,
    Unsupported,
    level_of,
    rotation_constants,
)
from qjax.quantum.states.matrices import constant_matrix
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class Table:
    """What the native code does.

    Attributes:
      num_qubits: n.
      level: all gates, and what their coefficients are made from.
      is_complex: whether the amplitudes are.
      big_endian: whether the rows are in the order of the basis at first, as those of a given state are.
    """

    num_qubits: int
    level: Level
    is_complex: bool
    big_endian: bool = False

    @cached_property
    def _laid_out(self) -> "_Entries":
        return _Entries(self.num_qubits, self.level, self.big_endian)

    @property
    def frame(self) -> Frame:
        """What the rows of the final state stand for."""
        return self._laid_out.frame

    @property
    def constants(self) -> np.ndarray:
        """Numbers that are the same in each call, `[., 1]`; they follow the coefficients that all examples share."""
        return np.concatenate([np.zeros(0), *self._laid_out.constants.values()])[:, None]

    @property
    def num_shared(self) -> int:
        """Number of coefficients that all examples share, constants and what is composed among them."""
        return self.level.counts[0] + len(self.constants) + self.num_composed

    def with_constants(self, shared: Array) -> Array:
        """Returns the coefficients that all examples share, `[., 1]`, and behind them the constants."""
        return jnp.concatenate([shared, self.constants.astype(shared.dtype)])

    @property
    def num_kept(self) -> int:
        """Number of rows of final states: all real parts, then all imaginary ones, where there are any."""
        return (1 + self.is_complex) << self.num_qubits

    def first_states(self, given: Sequence[Array], batch: int) -> Array:
        """Returns the rows of the first states, `[num_kept, batch]`.

        Args:
          given: their real parts, and their imaginary ones where they have any, each `[2**n, 1 or batch]`.
          batch: number of examples.
        """
        none = [jnp.zeros_like(given[0])] * (1 + self.is_complex - len(given))
        return jnp.concatenate([jnp.broadcast_to(x, (len(x), batch)) for x in (*given, *none)])

    @property
    def num_made(self) -> int:
        """Number of coefficients of each example that the native code makes."""
        return self.level.counts[2] + 4 * int(np.sum(self.gates_back[:, KIND] == COLUMN))

    @property
    def num_composed(self) -> int:
        """Number of those that all examples share."""
        return self.level.counts[3]

    @cached_property
    def recipes(self) -> list[np.ndarray]:
        """What the native code of a CPU makes those from: see `recipe_of`."""
        found = self._laid_out.recipes.values()
        return [recipe_of(item.factors, item.qubits, item.form, places) for item, places in found if item.form]

    @cached_property
    def signs(self) -> dict[int, np.ndarray]:
        """Of diagonal gates that are 1 and -1 in every call, by the place of their coefficients: 1 where it is -1."""
        found: dict[int, np.ndarray] = {}
        for item, places in self._laid_out.recipes.values():
            is_diagonal = item.form is not None and item.form[0] == "diagonal"
            matrix = constant_matrix(item.operations, item.qubits) if is_diagonal else None
            if matrix is not None and np.all(np.isin(np.diag(matrix), (1, -1))):
                found |= dict.fromkeys(places, np.diag(matrix).real < 0)
        return found

    @property
    def num_coefficients(self) -> int:
        """Number of coefficients in all, in real numbers."""
        return self.num_shared + self.level.counts[1] + self.num_made

    @cached_property
    def gates_back(self) -> np.ndarray:
        """Returns one entry for each gate, int32 `[gates, ENTRY]`."""
        return np.array(self._laid_out.entries, np.int32).reshape(-1, ENTRY)

    @cached_property
    def has_lists(self) -> bool:
        """Whether there are gates with lists, for which a CPU has code of its own."""
        return bool(np.isin(self.gates_back[:, KIND], [*CPU_FORMS.values()]).any())

    @property
    def records(self) -> np.ndarray:
        """What the entries with lists of strings of Z say of each, int64 `[records, RECORD_WORDS]`."""
        return np.array(self._laid_out.records, np.int64).reshape(-1, RECORD_WORDS)

    @property
    def content(self) -> np.ndarray:
        """Matrices and permutations of gates on many qubits, int32 `[.]`."""
        return np.concatenate([np.zeros(0, np.int32), *self._laid_out.content])

    @cached_property
    def work(self) -> float:
        """What the gates take forwards, in matrices on one qubit; what all examples share takes less:
        `shared_layers.py`."""
        kinds, firsts = self.gates_back[:, KIND], self.gates_back[:, FIRST]
        of_layers = np.isin(kinds, [SINGLE, *DIAGONALS]) & (firsts < self.num_shared)
        none = np.isin(kinds, [*MAKER_KINDS, START])
        return float(np.where(none, 0.0, np.where(of_layers, 0.4, 1.0)).sum())

    @cached_property
    def makers(self) -> np.ndarray:
        """Returns the entries that make coefficients, int32 `[entries, ENTRY]`."""
        return self.gates_back[np.isin(self.gates_back[:, KIND], MAKER_KINDS)]


@lru_cache(maxsize=MAX_KEPT_PLANS)
def table_of(circuit: Circuit, batched: frozenset[str], composes: bool = True, given: int = 0) -> Table | None:
    """Returns the table of a circuit; None where the native code lacks something that it needs.

    Args:
      circuit: what to run.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      composes: whether the native code makes the coefficients that all examples share, which that of a GPU does not.
      given: arrays that hold the first state: its real parts, and its imaginary ones; 0 for |0...0>.
    """
    program = _program(circuit, given)
    try:
        level = level_of(program, Rules(Blocks(batched=batched), composes=composes))
        return Table(circuit.num_qubits, level, _is_complex(program, given), big_endian=given > 0)
    except Unsupported:
        return None


def _program(circuit: Circuit, given: int) -> Program:
    blocks = Blocks(1, take_permutations=False)
    return compile_circuit(circuit, not given, blocks)


def _is_complex(program: Program, given: int) -> bool:
    start = () if program.start is None else (program.start,)
    return given == 2 or not all(part.is_real for part in (*start, *program.stages))


@dataclass(frozen=True, eq=False)
class LargeTable(Table):
    """The same of gates alone: the rows are in the order of the basis at first.

    Attributes:
      start: the first state, whose halves JAX makes; None where it is given.
    """

    start: ProductState | None = None

    @property
    def moves(self) -> tuple[Operation, ...]:
        """What is left to do at the end: the X, CX and SWAP of the circuit."""
        return tuple(self._laid_out.moves)


@lru_cache(maxsize=MAX_KEPT_PLANS)
def large_table_of(
    circuit: Circuit, batched: frozenset[str], with_controls: bool = True, given: int = 0
) -> LargeTable | None:
    """Returns the table of a circuit on large states; None where the native code lacks something.

    Args:
      circuit: see `table_of`.
      batched: likewise.
      with_controls: whether gates under controls stay what they are; else they become wider matrices.
      given: see `table_of`.
    """
    program = _program(circuit, given)
    try:
        level = level_of(replace(program, start=None), Rules(Blocks(batched=batched), with_controls))
        return LargeTable(circuit.num_qubits, level, _is_complex(program, given), True, program.start)
    except Unsupported:
        return None


class _Entries:
    """The entries of a level, in order.

    Attributes:
      frame: what the rows of the state stand for after them.
      constants: of each kind of gate whose coefficients are made from an angle.
      moves: the operations that changed the frame.
      recipes: of each kind of gate that is a product of factors: one of them, and for the place of the coefficients
        of each the places of its angles.
      records: of strings of Z, int64 arrays `[RECORD_WORDS]`, the last two words a number of float64.
      content: of matrices and permutations, int32 arrays `[.]`.
      entries: int64 arrays `[ENTRY]`.
    """

    def __init__(self, num_qubits: int, level: Level, big_endian: bool = False) -> None:
        self.frame = Frame(num_qubits)
        if big_endian:
            self.frame.masks.reverse()
            self.frame.weights.reverse()
        self.moves: list[Operation] = []
        self.records: list[np.ndarray] = []
        self.content: list[np.ndarray] = []
        self._contents: dict[bytes, int] = {}
        self.constants: dict[object, np.ndarray] = {}
        self.recipes: dict[object, tuple[Item, dict[int, list[int]]]] = {}
        self._starts: dict[object, int] = {}
        self._end = level.counts[0]
        self._collect(level)
        own = self._end + level.counts[3]
        made = own + level.counts[1]
        entries = list(self._of_level(level, (0, own, made, self._end)))
        self.entries = turned_starts(entries, own, made + level.counts[2])

    def _collect(self, level: Level) -> None:
        """Gives each kind its place: the constants come between shared coefficients and those of each example."""
        for item in level.items:
            if isinstance(item, Level):
                self._collect(item)
                continue
            if item.angle and item.kind not in self.constants:
                self.constants[item.kind] = rotation_constants(item)
                self._starts[item.kind] = self._end
                self._end += len(self.constants[item.kind])

    def _of_level(self, level: Level, places: Counts) -> Iterator[np.ndarray]:
        for rep in range(level.reps):
            piece = (level.reps - 1 - rep if level.reverse else rep) if level.names else 0
            here = _moved(places, level.counts, piece)
            starts = list(takewhile(_is_start, level.items))
            yield from self._of_starts(starts, here)
            for item in level.items[len(starts) :]:
                if isinstance(item, Level):
                    yield from self._of_level(item, _moved(here, item.firsts, 1))
                elif item.form is None:
                    _move(self.frame, item)
                    self.moves += item.operations
                else:
                    yield from self._made(item, here)
                    yield self._gate(item, self._place(item, here))

    def _of_starts(self, items: Sequence[Any], here: Counts) -> Iterator[np.ndarray]:
        """Yields what makes the first state: on a GPU neighbours of one kind need not wait for each other."""
        for item in items:
            yield from self._made(item, here)
        for item in items:
            yield self._gate(item, self._place(item, here))

    def _place(self, item: Item, here: Counts) -> int:
        """Returns the place of an item's coefficients, and notes how they are made of factors."""
        if item.factors:
            first = here[3] + item.first
            places = self.recipes.setdefault(item.kind, (item, {}))[1]
            places[first] = [row if row < 0 else here[0] + row for row in item.rows]
            return first
        return here[2] + item.made if item.angle else here[item.own] + item.first

    def _made(self, item: Item, here: Counts) -> Iterator[np.ndarray]:
        """Yields what makes the coefficients from an angle, where they are."""
        if item.angle and item.form:
            entry = new_entry("rotation", 1, here[2] + item.made)
            entry[LEFT], entry[RIGHT], entry[COUNT] = self._starts[item.kind], here[1] + item.first, item.size // 2
            yield entry

    def _gate(self, item: Item, first: int) -> np.ndarray:
        """Returns the entry of a gate whose coefficients begin at this place."""
        assert item.form is not None
        frame, qubits, wanted = self.frame, item.qubits, (0,) * len(item.qubits)
        if item.form in CPU_FORMS:
            entry = self._with_lists(item, first)
        else:
            entry = new_entry(item.form[0], item.form[1], first, item.form[2])
            qubits, wanted = (*qubits, *item.controls), (*wanted, *item.control_values)
        if item.form[0] == "start":  # the rows so far have no bit of this qubit's
            entry[MASK] = entry[COUNT] = frame.masks[qubits[0]]
            return entry
        if item.form == ("dense", 1, 0):
            entry[REAL_ROWS] = has_real_rows(item.operations)
        entry[COUNT] = 2 ** (frame.num_qubits - len(qubits))
        if entry[KIND] in GATHERS:  # whose qubits are records
            return entry
        assert len(qubits) <= MAX_QUBITS
        entry[LOW : LOW + len(qubits)] = [2**bit - 1 for bit in pivots([frame.masks[q] for q in qubits])]
        for k, (q, value) in enumerate(zip(qubits, wanted, strict=True)):
            entry[MASK + k], entry[WEIGHTS + k] = frame.masks[q], frame.weights[q]
            entry[FLIP + k] = frame.flips[q] ^ value
        return entry

    def _with_lists(self, item: Item, first: int) -> np.ndarray:
        """Returns the entry of a gate with records, which are added to all."""
        assert item.form is not None
        entry, kind = np.zeros(ENTRY, np.int64), CPU_FORMS[item.form]
        entry[KIND], entry[FIRST], entry[RECORDS] = kind, first, len(self.records)
        if kind in GATHERS:
            entry[TARGETS], entry[CONTENT] = len(item.qubits), self._content_at(item)
            masks = [self.frame.masks[q] for q in item.qubits]
            for q, mask, bit in zip(item.qubits, masks, pivots(masks), strict=True):
                self.records.append(self._record((q,), 0, mask))
                self.records[-1][RECORD_LOW] = 2**bit - 1
        for q, value in zip(item.controls, item.control_values, strict=True):
            self.records.append(self._record((q,), value ^ 1))
        for qubits, place, scale in item.strings:
            self.records.append(self._record(qubits, 0, place + first * (place >= 0), scale))
        entry[NUM_RECORDS] = len(self.records) - int(entry[RECORDS])
        return entry

    def _content_at(self, item: Item) -> int:
        """Returns where a matrix or a permutation lies; equal ones lie in one place."""
        (op,) = item.operations or (None,)
        if op is None:
            return 0
        if op.gate.permutation is not None:
            words = op.gate.permutation().astype(np.int32)
        else:
            words = op.gate.matrix().reshape(-1).view(np.int32)
        if words.tobytes() not in self._contents:
            self._contents[words.tobytes()] = sum(map(len, self.content))
            self.content.append(words)
        return self._contents[words.tobytes()]

    def _record(self, qubits: Sequence[int], flip: int, angle: int = -1, scale: float = 0.0) -> np.ndarray:
        """Returns the record of a string of Z, odd where so many of its qubits, and `flip`, are."""
        record = np.zeros(RECORD_WORDS, np.int64)
        for q in qubits:
            record[RECORD_WEIGHTS] ^= self.frame.weights[q]
            flip ^= self.frame.flips[q]
        record[RECORD_FLIP], record[RECORD_ANGLE] = flip, angle
        record[RECORD_SCALE:] = np.array([scale]).view(np.int32)
        return record


def has_real_rows(operations: Sequence[Operation]) -> bool:
    """Whether each row of the product on one qubit is one of real numbers times a phase: real ones come first."""
    real = [op.gate.is_real for op in operations]
    first = real.index(False) if False in real else len(real)
    return all(op.gate.structure == "diagonal" for op in operations[first:])


def _is_start(item: Any) -> bool:
    """Whether an item makes the state of a fresh qubit."""
    return isinstance(item, Item) and item.form == ("start", 1, 0)


def _moved(places: Counts, by: Counts, times: int) -> Counts:
    shared, own, made, composed = (x + times * y for x, y in zip(places, by, strict=True))
    return shared, own, made, composed


def _move(frame: Frame, item: Item) -> None:
    """Changes the frame by X, CX or SWAP."""
    if len(item.qubits) == 2:
        frame.swap(*item.qubits)
        return
    if item.controls:
        frame.cx(*item.controls, *item.qubits)
    if item.control_values != (1,):
        frame.x(*item.qubits)


_PAIR = FORMS.index(("pair", 2, 0))


def pair_neighbours(entries: np.ndarray, num_qubits: int) -> np.ndarray:
    """Returns entries of a table with neighbours on one qubit each in pairs, int32 `[gates, ENTRY]`.

    Args:
      entries: int32 `[gates, ENTRY]`.
      num_qubits: bits of a row.
    """
    found: list[np.ndarray] = []
    for entry in entries:
        paired = _pair(found[-1], entry, num_qubits) if found else None
        if paired is None:
            found.append(entry)
        else:
            found[-1] = paired
    return np.array(found, np.int32).reshape(-1, ENTRY)


def _pair(first: np.ndarray, last: np.ndarray, num_qubits: int) -> np.ndarray | None:
    """Returns the entry of two gates on one qubit each, whose coefficients are neighbours; None where it can't be."""
    if first[KIND] != SINGLE or last[KIND] != SINGLE or num_qubits < 2 or first[MASK] == last[MASK]:
        return None
    apart = all((int(a[WEIGHTS]) & int(b[MASK])).bit_count() % 2 == 0 for a, b in ((first, last), (last, first)))
    if not apart or last[FIRST] != first[FIRST] + 2 * num_numbers(FORMS[SINGLE]):
        return None
    entry = first.copy()
    entry[KIND], entry[COUNT] = _PAIR, 2 ** (num_qubits - 2)
    entry[LOW : LOW + 2] = [2**bit - 1 for bit in pivots([int(first[MASK]), int(last[MASK])])]
    for place in (MASK, WEIGHTS, FLIP):
        entry[place + 1] = last[place]
    entry[LANES] |= last[LANES] << 4
    return entry
