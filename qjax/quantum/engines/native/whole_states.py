"""A simulation by the native code: the values that are read, and the cotangents of the coefficients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.engines import choices
from qjax.quantum.engines.native.cpu.shared_layers import Givens, givens_of
from qjax.quantum.engines.native.cuda import kernel_launch, scaled_gates
from qjax.quantum.engines.native.cuda.grouping import GroupedEntries, grouped_entries
from qjax.quantum.engines.native.cuda.launch_shape import Shape, demands, shape_of
from qjax.quantum.engines.native.load import target
from qjax.quantum.engines.native.table.entries import Table, pair_neighbours, table_of
from qjax.quantum.engines.native.table.layout import (
    CPU_MAKER_KINDS,
    PLACES,
    START,
    VECTOR_BYTES,
    Call,
    Launch,
    scratch_bytes,
    workspace_bytes,
)
from qjax.quantum.engines.native.table.z_strings import combined, strings_of
from qjax.quantum.engines.readouts import Readout, StateReadout
from qjax.quantum.states.barriers import stored
from qjax.quantum.states.batch import with_batch
from qjax.types import Array

_MAKE_STATES = (*CPU_MAKER_KINDS, START)


@dataclass(frozen=True, eq=False)
class WholePlan:
    """A simulation that the native code does.

    Attributes:
      table: what is done to the states.
      readout: what is read from the final ones.
      batch: number of examples.
      dtype: real dtype.
      platform: 'cpu' or 'cuda'.
    """

    table: Table
    readout: Readout
    batch: int
    dtype: np.dtype[Any]
    platform: str = "cpu"

    @property
    def fits(self) -> bool:
        """Whether it fits the memory, and that of a multiprocessor of a GPU."""
        table = self.table
        if self.platform == "cuda" and self._shape(True) is None:
            return False
        return choices.native_fits(self.platform, table.num_coefficients, self._scratch_bytes(True))

    def bytes_held(self, gradient: bool) -> int:
        """Returns an estimate of the bytes that are held at once, arguments and results left out.

        Args:
          gradient: whether the reverse pass follows; then coefficients have cotangents, and final states may be kept.
        """
        rows = (self.table.counts.per_example + self._num_values + self.num_given) * (1 + gradient)
        if gradient and choices.native_keeps(self.table.num_qubits, self.batch, self.dtype, self.table.work):
            rows += self.table.num_kept
        return rows * self.batch * self.dtype.itemsize + self._scratch_bytes(gradient)

    @property
    def num_given(self) -> int:
        """Rows of the first states that are given; 0 where all are |0...0>."""
        return self.table.num_kept if self.table.big_endian else 0

    @property
    def words(self) -> str:
        """How the states are held, in plain words."""
        words = "complex" if self.table.is_complex else "real"
        if self.platform == "cuda":
            shape = self._shape(False)
            assert shape is not None
            threads = f"{shape.blocks} blocks of {shape.lanes * shape.groups} threads"
            return f"{words} amplitudes; {threads}, {shape.lanes} examples at a time each"
        words, count = f"{words}{' float64' * self._is_wide}", self._num_workers
        threads = f"{count} thread{'s' * (count > 1)}"
        return f"{words} amplitudes; {self._num_lanes} examples at a time, {threads}"

    def run(
        self, shared: Array, per_example: Array, keep: bool = False, first: Sequence[Array] = ()
    ) -> tuple[tuple[Array, ...], Array]:
        """Returns what is read, each `[..., batch]`, and the final states as `pull_back` wants them.

        Args:
          shared: coefficients that all examples share, `[num_shared, 1]`.
          per_example: the others, `[num_per_example, batch]`.
          keep: whether the final states are wanted; else there are none, `[0, batch]`.
          first: real parts of the first states, and imaginary ones, each `[2**n, 1 or batch]`; () for |0...0>.
        """
        values, kept = self._values(shared, per_example, self._begin(first), keep)
        return self._finish(values), kept

    def pull_back(
        self, shared: Array, per_example: Array, kept: Array, cotangents: Sequence[Array], first: Sequence[Array] = ()
    ) -> tuple[Array, ...]:
        """Returns the cotangents of coefficients and first states, given those of what is read; see `run`."""
        begin = self._begin(first)
        full_cotangents = tuple(with_batch(x, self.batch) for x in cotangents)
        if self._strings is not None:
            values = combined(self._strings[1].T, full_cotangents[0])
        elif isinstance(self.readout, StateReadout):
            values = jnp.concatenate(full_cotangents)
        else:
            (values,) = jax.vjp(self._finish, self._values(shared, per_example, begin, False)[0])[1](full_cotangents)
        kept, count = with_batch(kept, self.batch), shared.shape[0]
        is_kept = kept.shape[0] > 0
        if self.platform == "cpu":
            shapes = [(count, 1), per_example.shape, begin.shape, self._scratch_shape(True)]
            states = kept if is_kept else begin
            of_shared, of_per_example, of_begin, _ = self._call(
                True, is_kept, shapes, shared, per_example, states, values
            )
            of_parts = jnp.split(of_begin, len(first)) if first else []
            summed = (
                ct.sum(-1, keepdims=True) if x.shape[-1] < self.batch else ct
                for x, ct in zip(first, of_parts, strict=True)
            )
            return of_shared, of_per_example, *summed
        rows, blocks = self.table.num_shared, self._num_sums
        shapes = [(rows, blocks), per_example.shape, (self._num_scaled, blocks), self._scratch_shape(True)]
        of_shared, of_per_example, of_scaled, _ = self._call(True, is_kept, shapes, shared, per_example, kept, values)
        facts = self.table.with_constants(shared), self._grouped[1].firsts, self.table.is_complex
        return scaled_gates.all_cotangents(of_shared, of_scaled, *facts)[:count], of_per_example

    def _begin(self, first: Sequence[Array]) -> Array:
        """Returns the rows of the first states, without imaginary parts of real ones; none where they are |0...0>."""
        if not first:
            return jnp.zeros((0, self.batch), self.dtype)
        parts = [with_batch(part, self.batch) for part in first]
        # Each by itself: XLA takes 8 times as long where it transposes and joins them in one loop.
        return parts[0] if len(parts) == 1 else jnp.concatenate([stored(part) for part in parts])

    def _values(self, shared: Array, per_example: Array, begin: Array, keep: bool) -> tuple[Array, Array]:
        """Returns strings of I and Z, or real and then imaginary parts of the amplitudes, and what is kept."""
        of_kept = self.table.num_kept if keep else 0, self.batch
        shapes = [(self._num_values, self.batch), of_kept, self._scratch_shape(False)]
        more = [begin] if self.platform == "cpu" else []
        values, kept, _ = self._call(False, keep, shapes, shared, per_example, *more)
        return values, kept

    def _finish(self, values: Array) -> tuple[Array, ...]:
        """Returns what is read, given `_values`."""
        if self._strings is not None:
            return (combined(self._strings[1], values),)
        return self.readout(lax.complex(*jnp.split(values, 2)))

    def _call(
        self, backward: bool, kept: bool, shapes: Sequence[Any], shared: Array, per_example: Array, *more: Array
    ) -> list[Array]:
        results = [jax.ShapeDtypeStruct(shape, self.dtype) for shape in shapes]  # type: ignore[no-untyped-call]
        table = self.table
        if self.platform == "cpu":
            gates = table.makers if backward and kept else self._gates
            name = target(self.dtype, backward, table.is_complex, "cpu", wide=self._is_wide, lists=table.has_lists)
            return list(jax.ffi.ffi_call(name, results)(self._plan(backward, gates), shared, per_example, *more))
        whole, (forth, back) = table.with_constants(shared), self._grouped
        gates = table.makers if backward and kept else forth.entries
        operands = gates, back.entries, self._rows, whole, per_example
        name = target(self.dtype, backward, table.is_complex, "cuda")
        made = scaled_gates.tables(whole, np.concatenate([back.firsts, forth.firsts]))
        return kernel_launch.launch(name, results, self._launch(backward, operands, kept), *operands, made, *more)

    @cached_property
    def _grouped(self) -> tuple[GroupedEntries, GroupedEntries]:
        """What a GPU does on the way forward, and back."""
        table = self.table
        facts = table.gates_back, table.num_qubits, table.num_shared
        back = grouped_entries(*facts, True)  # their numbers are those of their sums, too, so they come first
        return grouped_entries(*facts, False, len(back.firsts)), back

    @property
    def _num_scaled(self) -> int:
        """Number of the sums of gates that are scaled, on a GPU."""
        return len(self._grouped[1].firsts) * scaled_gates.num_sums(self.table.is_complex)

    def _plan(self, backward: bool, gates: np.ndarray) -> np.ndarray:
        """Returns the plan of a call on a CPU; see `whole_driver.py`."""
        table, facts = self.table, np.zeros(Call.SHARED, np.int32)
        facts[Call.QUBITS], facts[Call.BATCH] = table.num_qubits, self.batch
        facts[Call.TILES], facts[Call.WORKERS] = self._num_tiles, self._num_workers
        facts[Call.WORKSPACE], facts[Call.STATE] = self._workspace(backward), self._strings is None
        facts[Call.NUM_MADE], facts[Call.NUM_COMPOSED] = table.num_made, table.counts.composed
        recipes = np.concatenate([np.zeros(0, np.int32), *table.operands.recipes])
        constants, givens = table.operands.constants, self._givens
        facts[Call.NUM_TABLES] = givens.num_tables
        lists = givens.rotations, givens.factors, table.records.astype(np.int32), table.content
        parts = [gates, givens.gates_back, self._rows, recipes, constants.view(np.int32), *lists]
        counts = [
            len(part) for part in (gates, givens.gates_back, self._rows, table.operands.recipes, constants, *lists)
        ]
        end = len(facts)
        for place, part, count in zip(PLACES, parts, counts, strict=True):
            facts[place], facts[place + 1] = end, count
            end += part.size
        return np.concatenate([facts, *(part.reshape(-1) for part in parts)])

    def _launch(self, backward: bool, operands: Sequence[Array | np.ndarray], kept: bool) -> np.ndarray:
        """Returns the shape of a launch on a GPU, and then the kernel's words (`Launch`)."""
        shape, words = self._shape(backward), np.zeros(len(Launch), np.int32)
        assert shape is not None
        words[Launch.QUBITS], words[Launch.BATCH] = self.table.num_qubits, self.batch
        words[Launch.TILES] = -(-self.batch // shape.lanes)
        words[Launch.LANES], words[Launch.GROUPS] = shape.lanes.bit_length() - 1, shape.groups.bit_length() - 1
        words[Launch.NUM_GATES] = operands[0].shape[0] if backward and kept else self._grouped[0].count
        words[Launch.NUM_GATES_BACK], words[Launch.NUM_SCALED] = self._grouped[1].count, self._num_scaled
        places = [Launch.NUM_READ, Launch.NUM_SHARED, Launch.NUM_PER_EXAMPLE]
        words[places] = [operand.shape[0] for operand in operands[2:]]
        words[Launch.NUM_MADE], words[Launch.KEPT] = self.table.num_made, kept
        words[Launch.STATE], words[Launch.SCRATCH] = self._strings is None, self._scratch_shape(backward)[1]
        words[Launch.STAGING], words[Launch.STAGING_SIZE] = shape.staging, shape.staging_size
        sizes = [shape.blocks, shape.lanes * shape.groups, shape.memory]
        return np.concatenate([np.array(sizes, np.int32), words])

    @cached_property
    def _givens(self) -> Givens:
        """What a CPU does for the entries of the table."""
        table = self.table
        if self._num_tiles == 1:  # the tables would cost what they save
            return givens_of(table.gates_back, table.num_qubits, 0)
        return givens_of(table.gates_back, table.num_qubits, table.num_shared, table.operands.signs)

    @cached_property
    def _gates(self) -> np.ndarray:
        """The entries that a CPU follows forwards, int32 `[gates, ENTRY]`."""
        return pair_neighbours(self._givens.gates, self.table.num_qubits)

    # Sizes. ---------------------------------------------------------------------------------------------------

    @property
    def _num_tiles(self) -> int:
        return -(-self.batch // self._num_lanes)

    @property
    def _num_lanes(self) -> int:
        """Number of examples in a vector."""
        return int(VECTOR_BYTES // (8 if self._is_wide else self.dtype.itemsize))

    @property
    def _is_wide(self) -> bool:
        """Whether a CPU computes in float64: so few examples leave half of a vector of float32 empty."""
        return self.platform == "cpu" and self.dtype.itemsize == 4 and self.batch <= VECTOR_BYTES // 8

    @property
    def _num_workers(self) -> int:
        return choices.native_workers(self._num_tiles, len(self._gates) * 2**self.table.num_qubits)

    def _workspace(self, backward: bool) -> int:
        table = self.table
        more = len(self._givens.rotations), self._givens.num_tables, 8 if self._is_wide else self.dtype.itemsize
        workspace = workspace_bytes(table.num_qubits, table.num_coefficients, backward, table.is_complex, *more)
        return workspace + scratch_bytes(table.gates_back, 1 << table.num_qubits, table.is_complex)

    @property
    def _num_sums(self) -> int:
        """Number of parts in which the sums over the examples come."""
        shape = self._shape(True) if self.platform == "cuda" else None
        return 1 if shape is None else shape.blocks

    def _shape(self, backward: bool) -> Shape | None:
        """Returns the shape of a launch on a GPU; None where it cannot be."""
        gpu = kernel_launch.gpu()
        if self.dtype.itemsize != 4 or gpu is None:
            return None
        table = self.table
        wanted = demands(table.gates_back, table.is_complex, backward)
        return shape_of(table.num_qubits, self.batch, *wanted, *gpu)

    def _scratch_shape(self, backward: bool) -> tuple[int, int]:
        if self.platform == "cuda":
            shape, count = self._shape(backward), self.table.num_made
            assert shape is not None
            return shape.blocks, shape.lanes * (count + backward * (self.table.num_coefficients + self._num_scaled))
        return self._num_workers, self._workspace(backward) // self.dtype.itemsize

    def _scratch_bytes(self, backward: bool) -> int:
        return math.prod(self._scratch_shape(backward)) * self.dtype.itemsize

    # What is read. --------------------------------------------------------------------------------------------

    @cached_property
    def _strings(self) -> tuple[np.ndarray, np.ndarray] | None:
        return strings_of(self.readout, self.table.relabelling, self.dtype)

    @property
    def _num_values(self) -> int:
        """Number of values that are read: strings, or real and imaginary parts of amplitudes."""
        return len(self._rows) * (2 if self._strings is None else 1)

    @cached_property
    def _rows(self) -> np.ndarray:
        return self.table.relabelling.rows() if self._strings is None else self._strings[0]


@lru_cache(maxsize=MAX_KEPT_PLANS)
def whole_plan_of(
    circuit: Circuit,
    readout: Readout,
    batched: frozenset[str],
    batch: int,
    dtype: np.dtype[Any],
    platform: str = "cpu",
    given: int = 0,
) -> WholePlan:
    """Returns the simulation of a circuit by the native code.

    Args:
      circuit: what to run.
      readout: what is read.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      dtype: real dtype, as NumPy has it.
      platform: 'cpu' or 'cuda'.
      given: arrays that hold the first states, see `run`; 0 for |0...0>.

    Raises:
      Unsupported: the native code lacks a gate.
    """
    return WholePlan(table_of(circuit, batched, platform == "cpu", given), readout, batch, dtype, platform)
