"""Large single states on a CPU: passes by code of their own, and their final amplitudes put in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.engines.choices import coset_bits, native_workers
from qjax.quantum.engines.native.cpu.permute import LinearMap, moves_of, to_indices, to_rows
from qjax.quantum.engines.native.large_states import LargePlan
from qjax.quantum.engines.native.load import permute_target, target
from qjax.quantum.engines.native.table.entries import pair_neighbours
from qjax.quantum.engines.native.table.layout import VECTOR_BYTES, LargeCall, scratch_bytes
from qjax.quantum.engines.native.table.lists import with_records_at
from qjax.quantum.engines.native.table.passes import Pass, passes_of
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class LargeOnCpu(LargePlan):
    """A simulation that the native code of a CPU does, pass by pass; its coefficients are shared by all examples."""

    @property
    def has_code(self) -> bool:
        return self.batch == 1 and self.num_coset_bits > 2 * self._low

    @property
    def num_coset_bits(self) -> int:
        return coset_bits("cpu", self.num_qubits)[0]

    @property
    def _low(self) -> int:
        """Bits of a row's number that say where in a vector it lies."""
        return int(VECTOR_BYTES // self.dtype.itemsize).bit_length() - 1

    @cached_property
    def passes(self) -> list[Pass]:
        facts = self.table.gates_back, self.num_qubits, self.num_coset_bits, self._low
        run = coset_bits("cpu", self.num_qubits)[1]
        return passes_of(*facts, lanes=True, run=run, records=self.table.records)

    def run(self, tensors: Any, shared: Array, per_example: Array) -> Array:
        operands, parts = self._operands(False, shared), 1 + self.table.is_complex
        results = [self.shaped(self.batch, parts << self.num_qubits), self._workspace(False, self.table.num_shared)]
        if self.table.start is None:
            first = [self.first_states(tensors).T, jnp.zeros(0, self.dtype)]
        else:
            first = [jnp.pad(half[..., 0], ((0, parts - half.shape[0]), (0, 0))) for half in tensors]
        return self._call(False, results, operands, *first)[0].T

    def pull_back(
        self, states: Array, cotangent: Array, shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        each, operands = states.T, self._operands(True, shared)
        workspace = self._workspace(True, self.table.num_shared)
        made = [self.shaped(*each.shape), self.shaped(*each.shape), self.shaped(*shared.shape), workspace]
        _, back, sums, _ = self._call(True, made, operands, each, cotangent.T)
        return back.T, sums, jnp.zeros_like(per_example)

    def ordered(self, final: Array) -> Array:
        return self.amplitudes(self._permuted(final))

    def _permuted(self, final: Array) -> Array:
        """Returns the final states in the order of the basis; JAX can differentiate it once."""
        maps = to_rows(self.table.relabelling), to_indices(self.table.relabelling)

        @jax.custom_vjp
        def ordered(states: Array) -> Array:
            return self._moved(states, *maps)

        ordered.defvjp(lambda states: (ordered(states), None), lambda _, ct: (self._moved(ct, *maps[::-1]),))
        return ordered(final)

    def _moved(self, states: Array, forth: LinearMap, back: LinearMap) -> Array:
        moves = moves_of(forth, back, self.num_coset_bits, self._low)
        columns = np.array([*forth.columns, forth.offset], np.int32)
        facts = self._facts(1, 0)
        each = states.T
        results = [self.shaped(*each.shape), self._workspace(False, 0)]
        tables = moves.pivots, moves.sources, moves.targets, moves.places, moves.steps, columns
        call = jax.ffi.ffi_call(permute_target(self.dtype, self.table.is_complex), results)
        return call(*tables, each, facts)[0].T

    def _operands(self, backward: bool, shared: Array) -> tuple[Any, ...]:
        entries = [one.entries for one in self.passes]
        if not backward:
            entries = [pair_neighbours(rows, self.num_coset_bits - self._low) for rows in entries]
        firsts = np.cumsum([0, *(len(one.records) for one in self.passes)])
        placed = [with_records_at(rows, int(first)) for rows, first in zip(entries, firsts, strict=False)]
        tables = self.tables([(rows, len(rows)) for rows in placed], self._low)
        records = np.concatenate([one.records for one in self.passes])
        numbers = [self.table.operands.constants.view(np.int32), *self.table.operands.recipes]
        return *tables, records, self.table.content, np.concatenate(numbers), shared

    def _call(self, backward: bool, results: Sequence[Any], operands: Sequence[Any], *states: Array) -> list[Array]:
        facts, numbers = self._facts(len(self.passes), self.table.num_shared, backward), self.table.operands
        facts[LargeCall.NUM_SHARED], facts[LargeCall.NUM_CONSTANTS] = numbers.counts.shared, numbers.counts.constants
        facts[LargeCall.NUM_RECIPES] = len(numbers.recipes)
        facts[LargeCall.LOW_QUBITS] = 0 if backward else states[1].shape[-1].bit_length() - 1  # -1 without halves
        name = target(self.dtype, backward, self.table.is_complex, "cpu", large=True, lists=self.table.has_lists)
        return list(jax.ffi.ffi_call(name, results)(*operands, *states, facts))

    def _facts(self, num_passes: int, num_coefficients: int, backward: bool = False) -> np.ndarray:
        facts = np.zeros(LargeCall.ENTRIES, np.int32)
        facts[LargeCall.TOTAL], facts[LargeCall.BITS] = self.num_qubits, self.num_coset_bits
        facts[LargeCall.BATCH], facts[LargeCall.PASSES] = self.batch, num_passes
        facts[LargeCall.SHARES], facts[LargeCall.WORKERS] = self._num_shares, self._num_workers
        facts[LargeCall.NUM_COEFFICIENTS] = num_coefficients
        facts[LargeCall.WORKSPACE] = self._share_bytes(backward, num_coefficients)
        return facts

    @property
    def _num_workers(self) -> int:
        return native_workers(self.num_tiles, len(self.table.gates_back) << self.num_coset_bits)

    @property
    def _num_shares(self) -> int:
        """A few for each thread, so that none waits long for another one."""
        return min(self.num_tiles, 4 * self._num_workers)

    def workspace_bytes(self, gradient: bool) -> int:
        return int(self._workspace(gradient, self.table.num_shared).shape[0] * self.dtype.itemsize)

    def _share_bytes(self, backward: bool, num_coefficients: int) -> int:
        """Returns the bytes of a share's workspace."""
        tile = (1 + self.table.is_complex) * self.dtype.itemsize << self.num_coset_bits
        scratch = scratch_bytes(self.table.gates_back, 1 << (self.num_coset_bits - self._low), self.table.is_complex)
        return int(tile + scratch + (tile + VECTOR_BYTES * num_coefficients) * backward)

    def _workspace(self, backward: bool, num_coefficients: int) -> Any:
        """Returns the shape of the workspace: a vector of each coefficient, and the workspace of each share."""
        whole = VECTOR_BYTES * num_coefficients + self._num_shares * self._share_bytes(backward, num_coefficients)
        return self.shaped(whole // self.dtype.itemsize)
