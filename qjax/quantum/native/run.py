"""A simulation by the native code: the values that are read, and the cotangents of the coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.choices import native_pays, native_workers
from qjax.quantum.circuit import Circuit
from qjax.quantum.native.build import is_available, target
from qjax.quantum.native.forms import FORMS, KIND, VECTOR_BYTES, Facts, room_bytes
from qjax.quantum.native.table import Table, table_of
from qjax.quantum.primitive import with_batch
from qjax.quantum.readouts import ExpectationReadout, Readout, StateReadout
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class Native:
    """A simulation that the native code does.

    Attributes:
      table: what is done to the states.
      readout: what is read from the final ones.
      batch: number of examples.
      dtype: real dtype.
    """

    table: Table
    readout: Readout
    batch: int
    dtype: np.dtype[Any]

    @property
    def pays(self) -> bool:
        """Whether it is faster than XLA's own code."""
        room = self._num_workers * self._room(True)
        return native_pays(self.table.num_qubits, self.batch, self.table.num_coefficients, room)

    def __str__(self) -> str:
        kinds = [FORMS[kind][0] for kind in self.table.gates[:, KIND]]
        passes = 1 + sum(kind not in ("rotation", "column", "start") for kind in kinds)  # the first makes the states
        lanes, threads = VECTOR_BYTES // self.dtype.itemsize, self._num_workers
        words = "complex" if self.table.is_complex else "real"
        return (
            f"{len(kinds)} entries of the table, {passes} passes over the states; {lanes} examples at a time, "
            f"{words} amplitudes, {threads} thread{'s' * (threads > 1)}"
        )

    @property
    def num_kept(self) -> int:
        """Number of rows of the final states: all real parts, then all imaginary ones, where there are any."""
        return (1 + self.table.is_complex) << self.table.num_qubits

    def run(self, shared: Array, own: Array, keep: bool = False) -> tuple[tuple[Array, ...], Array]:
        """Returns what is read, each `[..., batch]`, and the final states as `pull_back` wants them.

        Args:
          shared: coefficients that all examples share, `[num_shared, 1]`.
          own: the others, `[num_own, batch]`.
          keep: whether the final states are wanted; else there are none, `[0, batch]`.
        """
        values, kept = self._values(shared, own, keep)
        return self._finish(values), kept

    def pull_back(self, shared: Array, own: Array, kept: Array, cotangents: Sequence[Array]) -> tuple[Array, Array]:
        """Returns the cotangents of the coefficients, given those of what is read; see `run`."""
        known = tuple(with_batch(x, self.batch) for x in cotangents)
        if self._strings is not None:
            values = _combined(self._strings[1].T, known[0])
        elif isinstance(self.readout, StateReadout):
            values = jnp.concatenate(known)
        else:
            (values,) = jax.vjp(self._finish, self._values(shared, own, False)[0])[1](known)
        count = shared.shape[0] + len(self.table.constants)
        shapes = (count, 1), (own.shape[0], self.batch), self._scratch_shape(True)
        kept = with_batch(kept, self.batch)
        found = self._call(True, shapes, shared, own, kept, values)
        return found[0][: shared.shape[0]], found[1]

    def _values(self, shared: Array, own: Array, keep: bool) -> tuple[Array, Array]:
        """Returns strings of I and Z, or real and then imaginary parts of the amplitudes, and what is kept."""
        count = len(self._rows) * (2 if self._strings is None else 1)
        shapes = (count, self.batch), (self.num_kept if keep else 0, self.batch), self._scratch_shape(False)
        values, kept, _ = self._call(False, shapes, shared, own)
        return values, kept

    def _finish(self, values: Array) -> tuple[Array, ...]:
        """Returns what is read, given `_values`."""
        if self._strings is not None:
            return (_combined(self._strings[1], values),)
        return self.readout(lax.complex(*jnp.split(values, 2)))

    def _call(self, backward: bool, shapes: Sequence[Any], shared: Array, own: Array, *more: Array) -> list[Array]:
        facts = np.zeros(len(Facts), np.int32)
        facts[Facts.QUBITS], facts[Facts.BATCH] = self.table.num_qubits, self.batch
        facts[Facts.TILES], facts[Facts.WORKERS] = self._num_tiles, self._num_workers
        facts[Facts.ROOM], facts[Facts.STATE] = self._room(backward), self._strings is None
        facts[Facts.NUM_MADE] = self.table.num_made
        results = [jax.ShapeDtypeStruct(shape, self.dtype) for shape in shapes]  # type: ignore[no-untyped-call]
        call = jax.ffi.ffi_call(target(self.dtype, backward, self.table.is_complex), results)
        whole = jnp.concatenate([shared, self.table.constants.astype(self.dtype)])
        gates = self.table.makers if backward and more[0].shape[0] else self.table.gates
        operands = gates, self.table.gates_back, self._rows, whole, own, facts, *more
        return list(call(*operands))

    # Sizes. ---------------------------------------------------------------------------------------------------

    @property
    def _num_tiles(self) -> int:
        return int(-(-self.batch * self.dtype.itemsize // VECTOR_BYTES))

    @property
    def _num_workers(self) -> int:
        return native_workers(self._num_tiles, len(self.table.gates) * 2**self.table.num_qubits)

    def _room(self, backward: bool) -> int:
        table = self.table
        return room_bytes(table.num_qubits, table.num_coefficients, backward, table.is_complex)

    def _scratch_shape(self, backward: bool) -> tuple[int, int]:
        return self._num_workers, self._room(backward) // self.dtype.itemsize

    # What is read. --------------------------------------------------------------------------------------------

    @cached_property
    def _strings(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of the strings of I and Z that are read, and the observables in terms of them; None for others."""
        if not isinstance(self.readout, ExpectationReadout) or not self.readout.folds:
            return None
        places: dict[int, int] = {}
        entries: list[tuple[int, int, float]] = []
        for k, observable in enumerate(self.readout.observables):
            for coefficient, string in observable.to_sum().terms:  # type: ignore[union-attr]
                mask, flip = self.table.frame.string(string.paulis)
                place = places.setdefault(mask, len(places))
                entries.append((k, place, float(coefficient) * (-1) ** flip))
        matrix = np.zeros((len(self.readout.observables), len(places)))
        for k, place, value in entries:
            matrix[k, place] += value
        return np.array(list(places), np.int32), matrix.astype(self.dtype)

    @cached_property
    def _rows(self) -> np.ndarray:
        return self.table.frame.rows() if self._strings is None else self._strings[0]


def _combined(matrix: np.ndarray, values: Array) -> Array:
    """Returns matrix @ values; one product for each row where the matrix is diagonal."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(np.diag(matrix))):
        return values if np.all(matrix.diagonal() == 1) else values * np.diag(matrix)[:, None]
    return jnp.matmul(matrix, values, precision=lax.Precision.HIGHEST)


@lru_cache(maxsize=512)
def native_of(
    circuit: Circuit, readout: Readout, batched: frozenset[str], batch: int, dtype: np.dtype[Any]
) -> Native | None:
    """Returns the simulation of a circuit on |0...0> by the native code; None where it can't be.

    Args:
      circuit: what to run.
      readout: what is read.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      dtype: real dtype, as NumPy has it.
    """
    table = table_of(circuit, batched) if is_available() else None
    return None if table is None else Native(table, readout, batch, dtype)
