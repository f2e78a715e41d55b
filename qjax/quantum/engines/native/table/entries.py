"""The table that the native code follows: one entry for each gate, every repetition written out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import takewhile

import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS, Blocks, Program, compile_circuit
from qjax.quantum.compile.relabelling import Relabelling, pivots
from qjax.quantum.compile.stages import ProductState
from qjax.quantum.engines.native.table.fresh_columns import new_entry, with_fresh_columns, with_products
from qjax.quantum.engines.native.table.layout import (
    COLUMN,
    CPU_FORMS,
    CPU_MAKER_KINDS,
    DIAGONALS,
    FORMS,
    GATHERS,
    MAX_QUBITS,
    PRODUCT_KIND,
    SINGLE,
    START,
    Entry,
    MadeEntry,
    RecordWord,
    num_numbers,
)
from qjax.quantum.engines.native.table.lists import Lists
from qjax.quantum.engines.native.table.native_gates import GateLoop, NativeGate, Rules, gates_of
from qjax.quantum.engines.native.table.operands import Counts, Operands, Sources
from qjax.quantum.engines.native.table.passes import are_apart
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class Table:
    """What the native code does.

    Attributes:
      num_qubits: n.
      level: all gates.
      sources: parameters and inputs.
      is_complex: whether the amplitudes are.
      composes: whether the native code makes the coefficients that all examples share.
      big_endian: whether the rows are in the order of the basis at first, as those of a given state are.
    """

    num_qubits: int
    level: GateLoop
    sources: Sources
    is_complex: bool
    composes: bool
    big_endian: bool = False

    @cached_property
    def _laid_out(self) -> "_Entries":
        return _Entries(self)

    @property
    def operands(self) -> Operands:
        """Where the numbers of the gates come from."""
        return self._laid_out.operands

    @property
    def relabelling(self) -> Relabelling:
        """What the rows of the final state stand for."""
        return self._laid_out.relabelling

    @property
    def counts(self) -> Counts:
        """How many numbers the gates have."""
        return self.operands.counts

    @property
    def num_shared(self) -> int:
        """See `Counts`."""
        return self.counts.num_shared

    def with_constants(self, shared: Array) -> Array:
        """Returns the coefficients that all examples share, `[., 1]`, and behind them the constants."""
        return jnp.concatenate([shared, self.operands.constants[:, None].astype(shared.dtype)])

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
        kinds = self.gates_back[:, Entry.KIND]
        return self.counts.made + 4 * int(np.sum(kinds == COLUMN)) + 8 * int(np.sum(kinds == PRODUCT_KIND))

    @property
    def num_coefficients(self) -> int:
        """Number of coefficients in all, in real numbers."""
        return self.num_shared + self.counts.per_example + self.num_made

    @cached_property
    def gates_back(self) -> np.ndarray:
        """Returns one entry for each gate, int32 `[gates, ENTRY]`."""
        return np.array(self._laid_out.entries, np.int32).reshape(-1, Entry.SIZE)

    @cached_property
    def has_lists(self) -> bool:
        """Whether there are gates with lists, for which a CPU has code of its own."""
        return bool(np.isin(self.gates_back[:, Entry.KIND], [*CPU_FORMS.values()]).any())

    @property
    def records(self) -> np.ndarray:
        """What the entries with lists of strings of Z say of each, int64 `[records, RECORD_WORDS]`."""
        return np.array(self._laid_out.lists.records, np.int64).reshape(-1, RecordWord.SIZE)

    @property
    def content(self) -> np.ndarray:
        """Matrices and permutations of gates on many qubits, int32 `[.]`."""
        return np.concatenate([np.zeros(0, np.int32), *self._laid_out.lists.content])

    @cached_property
    def work(self) -> float:
        """What the gates take forwards, in matrices on one qubit; what all examples share takes less:
        `shared_layers.py`."""
        kinds, firsts = self.gates_back[:, Entry.KIND], self.gates_back[:, Entry.FIRST]
        of_layers = np.isin(kinds, [SINGLE, *DIAGONALS]) & (firsts < self.num_shared)
        none = np.isin(kinds, [*CPU_MAKER_KINDS, START])
        return float(np.where(none, 0.0, np.where(of_layers, 0.4, 1.0)).sum())

    @cached_property
    def makers(self) -> np.ndarray:
        """Returns the entries that make coefficients, int32 `[entries, ENTRY]`."""
        return self.gates_back[np.isin(self.gates_back[:, Entry.KIND], CPU_MAKER_KINDS)]


@lru_cache(maxsize=MAX_KEPT_PLANS)
def table_of(circuit: Circuit, batched: frozenset[str], composes: bool = True, given: int = 0) -> Table:
    """Returns the table of a circuit.

    Args:
      circuit: what to run.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      composes: whether the native code makes the coefficients that all examples share, which that of a GPU does not.
      given: arrays that hold the first state: its real parts, and its imaginary ones; 0 for |0...0>.

    Raises:
      Unsupported: the native code lacks something that it needs.
    """
    program = program_of(circuit, given)
    level = gates_of(program, Rules(Blocks(batched=batched), composes=composes))
    facts = circuit.num_qubits, level, _sources(circuit, batched), _is_complex(program, given), composes
    return Table(*facts, big_endian=given > 0)


def program_of(circuit: Circuit, given: int) -> Program:
    """Returns the stages of a circuit that native code starts from."""
    blocks = Blocks(1, take_permutations=False)
    return compile_circuit(circuit, not given, blocks)


def _is_complex(program: Program, given: int) -> bool:
    start = () if program.start is None else (program.start,)
    return given == 2 or not all(part.is_real for part in (*start, *program.stages))


def _sources(circuit: Circuit, batched: frozenset[str]) -> Sources:
    return Sources(circuit.parameter_shapes, circuit.num_inputs, batched)


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
) -> LargeTable:
    """Returns the table of a circuit on large states; see `table_of`.

    `with_controls` says whether gates under controls stay what they are; else they become wider matrices.
    """
    program = program_of(circuit, given)
    rules = Rules(Blocks(batched=batched), with_controls, composes=not with_controls)
    level, sources = gates_of(replace(program, start=None), rules), _sources(circuit, batched)
    facts = circuit.num_qubits, level, sources, _is_complex(program, given), rules.composes
    return LargeTable(*facts, True, program.start)


class _Entries:
    """The entries of a table, in order.

    Attributes:
      operands: where the numbers of the gates come from.
      relabelling: what the rows of the state stand for after them.
      moves: the operations that changed the relabelling.
      lists: of the gates that have such.
      entries: lists of `ENTRY` integers.
    """

    def __init__(self, table: Table) -> None:
        self.relabelling = Relabelling(table.num_qubits)
        if table.big_endian:
            self.relabelling.masks.reverse()
            self.relabelling.weights.reverse()
        self.moves: list[Operation] = []
        self.lists = Lists(self.relabelling)
        gates = list(table.level.gates())
        self.operands = Operands(gates, table.sources, table.composes)
        entries = list(self._in_order([item for item, _ in gates]))
        counts = self.operands.counts
        entries = with_fresh_columns(entries, counts.num_shared, sum(counts))
        end = sum(counts) + 4 * sum(entry[Entry.KIND] == COLUMN for entry in entries)
        self.entries = with_products(entries, counts.num_shared, end) if table.composes else entries

    def _in_order(self, items: Sequence[NativeGate]) -> Iterator[list[int]]:
        """Yields the entries of all gates."""
        firsts, starts = self.operands.firsts, list(takewhile(lambda item: item.form == ("start", 1, 0), items))
        for item, first in zip(starts, firsts, strict=False):  # on a GPU like neighbours need not wait for each other
            yield from self._made(item, first)
        for number, item in enumerate(items):
            if item.form is None:
                _move(self.relabelling, item)
                self.moves += item.operations
                continue
            if number >= len(starts):
                yield from self._made(item, firsts[number])
            yield self._gate(item, number)

    def _made(self, item: NativeGate, first: int) -> Iterator[list[int]]:
        """Yields the entry that makes the coefficients from an angle, if one does."""
        if first in self.operands.rotations:
            entry = new_entry("rotation", 1, first)
            entry[MadeEntry.LEFT], entry[MadeEntry.RIGHT] = self.operands.rotations[first]
            entry[Entry.COUNT] = item.size // 2
            yield entry

    def _gate(self, item: NativeGate, number: int) -> list[int]:
        """Returns the entry of a gate, given its number among all."""
        assert item.form is not None
        first = self.operands.firsts[number]
        relabelling, qubits, wanted = self.relabelling, item.qubits, (0,) * len(item.qubits)
        if item.form in CPU_FORMS:
            entry = self.lists.entry(item, first, self.operands.angles.get(number, ()))
        else:
            entry = new_entry(item.form[0], item.form[1], first, item.form[2])
            qubits, wanted = (*qubits, *item.controls), (*wanted, *item.control_values)
        if item.form[0] == "start":  # the rows so far have no bit of this qubit's
            entry[Entry.MASK] = entry[Entry.COUNT] = relabelling.masks[qubits[0]]
            return entry
        if item.form == ("dense", 1, 0):
            entry[Entry.REAL_ROWS] = has_real_rows(item.operations)
        entry[Entry.COUNT] = 2 ** (relabelling.num_qubits - len(qubits))
        if entry[Entry.KIND] in GATHERS:  # whose qubits are records
            return entry
        assert len(qubits) <= MAX_QUBITS
        entry[Entry.LOW : Entry.LOW + len(qubits)] = [
            2**bit - 1 for bit in pivots([relabelling.masks[q] for q in qubits])
        ]
        for k, (q, value) in enumerate(zip(qubits, wanted, strict=True)):
            entry[Entry.MASK + k], entry[Entry.WEIGHTS + k] = relabelling.masks[q], relabelling.weights[q]
            entry[Entry.FLIP + k] = relabelling.flips[q] ^ value
        return entry


def has_real_rows(operations: Sequence[Operation]) -> bool:
    """Whether each row of the product on one qubit is one of real numbers times a phase: real ones come first."""
    real = [op.gate.is_real for op in operations]
    first = real.index(False) if False in real else len(real)
    return all(op.gate.structure == "diagonal" for op in operations[first:])


def _move(relabelling: Relabelling, item: NativeGate) -> None:
    """Changes the relabelling by X, CX or SWAP."""
    if len(item.qubits) == 2:
        relabelling.swap(*item.qubits)
        return
    if item.controls:
        relabelling.cx(*item.controls, *item.qubits)
    if item.control_values != (1,):
        relabelling.x(*item.qubits)


_PAIR = FORMS.index(("pair", 2, 0))


def pair_neighbours(entries: np.ndarray, num_qubits: int) -> np.ndarray:
    """Returns entries with neighbours on one qubit each in pairs, int32 `[gates, ENTRY]`; rows have so many bits."""
    found: list[np.ndarray] = []
    for entry in entries:
        paired = _pair(found[-1], entry, num_qubits) if found else None
        if paired is None:
            found.append(entry)
        else:
            found[-1] = paired
    return np.array(found, np.int32).reshape(-1, Entry.SIZE)


def _pair(first: np.ndarray, last: np.ndarray, num_qubits: int) -> np.ndarray | None:
    """Returns the entry of two gates on one qubit each, whose coefficients are neighbours; None where it can't be."""
    are_single = first[Entry.KIND] == last[Entry.KIND] == SINGLE and num_qubits > 1
    if not are_single or first[Entry.MASK] == last[Entry.MASK] or not are_apart(first, last):
        return None
    if last[Entry.FIRST] != first[Entry.FIRST] + 2 * num_numbers(FORMS[SINGLE]):
        return None
    entry = first.copy()
    entry[Entry.KIND], entry[Entry.COUNT] = _PAIR, 2 ** (num_qubits - 2)
    entry[Entry.LOW : Entry.LOW + 2] = [2**bit - 1 for bit in pivots([int(first[Entry.MASK]), int(last[Entry.MASK])])]
    for place in (Entry.MASK, Entry.WEIGHTS, Entry.FLIP):
        entry[place + 1] = last[place]
    entry[Entry.LANES] |= last[Entry.LANES] << 4
    return entry
