"""Large states on a GPU: a launch for each pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.compile.conditions import permute
from qjax.quantum.engines.choices import CUDA_TILES, MAX_CUDA_COEFFICIENTS, MIN_CUDA_COSET_BITS, coset_bits
from qjax.quantum.engines.native.cuda import kernel_launch, scaled_gates
from qjax.quantum.engines.native.cuda.grouping import GroupedEntries, grouped_entries
from qjax.quantum.engines.native.cuda.launch_shape import Shape, coset_shape, demands
from qjax.quantum.engines.native.cuda.memory_banks import CosetLists
from qjax.quantum.engines.native.large_states import LargePlan
from qjax.quantum.engines.native.load import target
from qjax.quantum.engines.native.table.layout import LOW_BITS, Launch, ReadWord
from qjax.quantum.engines.native.table.passes import Pass, passes_of
from qjax.quantum.engines.native.table.z_strings import combined, in_coset, strings_of
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.states.batch import with_batch
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class LargeOnGpu(LargePlan):
    """A simulation that the native code of a GPU does, pass by pass."""

    @property
    def has_code(self) -> bool:
        is_short = sum(self.table.counts) <= MAX_CUDA_COEFFICIENTS and len(self.table.gates_back) > 0
        has_room = kernel_launch.gpu() is not None and self.num_coset_bits >= LOW_BITS + 3
        return self.dtype.itemsize == 4 and is_short and has_room

    @cached_property
    def num_coset_bits(self) -> int:
        """Bits of the rows of a part; fewer where multiprocessors have little memory, or would have nothing to do."""
        bits, gpu = coset_bits("cuda", self.num_qubits)[0], kernel_launch.gpu()
        if gpu is None:
            return bits
        while bits > MIN_CUDA_COSET_BITS and self.batch << (self.num_qubits - bits) < CUDA_TILES * gpu[0]:
            bits -= 1
        while bits > LOW_BITS and self._shape(True, bits).memory > gpu[1]:
            bits -= 1
        return bits

    @cached_property
    def passes(self) -> list[Pass]:
        facts = self.table.gates_back, self.num_qubits, self.num_coset_bits, LOW_BITS
        return passes_of(*facts, run=coset_bits("cuda", self.num_qubits)[1])

    def run(self, tensors: Any, shared: Array, per_example: Array) -> Array:
        return self._forth(tensors, shared, per_example, None, True)[0].T

    def run_and_read(
        self, readout: Readout, tensors: Any, shared: Array, per_example: Array, keep: bool
    ) -> tuple[tuple[Array, ...], Array | None]:
        strings = self._strings(readout)
        if strings is None:
            return super().run_and_read(readout, tensors, shared, per_example, keep)
        states, values = self._forth(tensors, shared, per_example, strings[0], keep)
        each = values.reshape(len(values), self.batch, -1).sum(axis=-1)
        return (combined(strings[1], each),), states.T if keep else None

    def _strings(self, readout: Readout) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns the words of the strings that the last pass reads, and the observables in terms of them.

        None where it reads none: they are others, or their values in all parts would take too much memory.
        """
        found = strings_of(readout, self.table.relabelling, self.dtype)
        if found is None or len(found[0]) > 1 << self.num_coset_bits:
            return None
        table, order = in_coset(found[0], self.passes[-1].basis)
        return table, found[1][:, order]

    def _forth(
        self, tensors: Any, shared: Array, per_example: Array, strings: np.ndarray | None, keep: bool
    ) -> tuple[Array, Array]:
        """Returns the states, `[batch, parts * 2**n]`, and the strings' values in all tiles, `[strings, tiles]`."""
        parts = 1 + self.table.is_complex
        halves = []
        for half in tensors:
            whole = jnp.pad(half, ((0, parts - half.shape[0]), (0, 0), (0, 0)))
            halves.append(with_batch(whole, self.batch).reshape(-1, self.batch).T)
        count = 0 if strings is None else len(strings)
        shapes = (self.batch, parts << self.num_qubits), (count, self.num_tiles)
        words = {
            Launch.KEPT: int(keep),
            Launch.LOW_QUBITS: tensors[1].shape[1].bit_length() - 1,
            Launch.STATE: int(strings is None),
        }
        states, values = self._call(False, shapes, words, strings, shared, per_example, *halves)
        return states, values

    def pull_back(
        self, states: Array, cotangent: Array, shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        return self._back(states, cotangent.T, None, shared, per_example)

    def pull_back_read(
        self, readout: Readout, final: Array, cotangents: tuple[Array, ...], shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        strings = self._strings(readout)
        if strings is None:
            return super().pull_back_read(readout, final, cotangents, shared, per_example)
        return self._back(final, combined(strings[1].T, cotangents[0]), strings[0], shared, per_example)

    def _back(
        self, states: Array, cotangents: Array, strings: np.ndarray | None, shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        """Returns what `pull_back` does, given cotangents of the states, or of the strings, `[strings, batch]`."""
        each, blocks, table = states.T, self._shape(True).blocks, self.table
        sums = (table.num_shared, blocks), (per_example.shape[0], self.num_tiles), (self._num_scaled(True), blocks)
        shapes, words = (each.shape, each.shape, *sums), {Launch.STATE: int(strings is None)}
        found = self._call(True, shapes, words, strings, shared, per_example, each, cotangents)
        _, back, of_shared, of_per_example, of_scaled = found
        facts = table.with_constants(shared), _grouped(self, True)[1], table.is_complex
        of_shared = scaled_gates.all_cotangents(of_shared, of_scaled, *facts)[: shared.shape[0]]
        each_tile = per_example.shape[0], self.batch, self.num_tiles // self.batch
        return back.T, of_shared, of_per_example.reshape(each_tile).sum(axis=-1)

    def ordered(self, final: Array) -> Array:
        return permute(self.amplitudes(final), self.table.moves)

    def workspace_bytes(self, gradient: bool) -> int:
        return math.prod(self._scratch(gradient)) * self.dtype.itemsize

    def _scratch(self, backward: bool) -> tuple[int, int]:
        return self._shape(backward).blocks, self.table.num_made * (1 + backward)

    def _call(
        self,
        backward: bool,
        shapes: Sequence[tuple[int, ...]],
        words: dict[Launch, int],
        strings: np.ndarray | None,
        shared: Array,
        per_example: Array,
        *more: Array,
    ) -> list[Array]:
        """Returns results of these shapes; behind them the kernel has its workspace."""
        passes, firsts, cosets = _grouped(self, backward)
        entries, places, lows, rows = self.tables([(one.entries, one.count) for one in passes], LOW_BITS)
        whole = self.table.with_constants(shared)
        name = target(self.dtype, backward, self.table.is_complex, "cuda", large=True, bits=self.num_coset_bits)
        read = np.zeros((0, ReadWord.SIZE), np.int32) if strings is None else strings
        words |= {
            Launch.NUM_SHARED: whole.shape[0],
            Launch.NUM_PER_EXAMPLE: per_example.shape[0],
            Launch.NUM_SCALED: self._num_scaled(backward),
            Launch.NUM_READ: len(read),
        }
        sizes = self._launches(backward, places, words)
        made = scaled_gates.tables(whole, firsts)
        operands = entries, lows, rows, whole, per_example, made, cosets, read
        results = [self.shaped(*shape) for shape in (*shapes, self._scratch(backward))]
        return kernel_launch.launch(name, results, sizes, *operands, *more)[:-1]

    def _num_scaled(self, backward: bool) -> int:
        """Returns the number of sums of gates that are scaled."""
        return len(_grouped(self, backward)[1]) * scaled_gates.num_sums(self.table.is_complex)

    def _launches(self, backward: bool, places: np.ndarray, more: dict[Launch, int]) -> np.ndarray:
        """Returns the shape of each launch, and then the kernel's words (`Launch`)."""
        shape = self._shape(backward)
        words = np.zeros((len(self.passes), len(Launch)), np.int32)
        facts = {
            Launch.QUBITS: self.num_coset_bits,
            Launch.TOTAL: self.num_qubits,
            Launch.BATCH: self.batch,
            Launch.TILES: self.num_tiles,
            Launch.GROUPS: shape.groups.bit_length() - 1,
            Launch.NUM_MADE: self.table.num_made,
            Launch.SCRATCH: self._scratch(backward)[1],
            Launch.STAGING: shape.staging,
            Launch.STAGING_SIZE: shape.staging_size,
        }
        for word, value in (facts | more).items():
            words[:, word] = value
        words[:, [Launch.FIRST_GATE, Launch.NUM_GATES]] = places
        words[:, Launch.PASS] = np.arange(len(self.passes))
        words[-1 if backward else 0, Launch.BEGINS] = words[0 if backward else -1, Launch.ENDS] = 1
        sizes = np.array([[shape.blocks, shape.groups, shape.memory]] * len(words), np.int32)
        whole = np.concatenate([sizes, words], axis=1)
        return (whole[::-1] if backward else whole).reshape(-1)

    def _shape(self, backward: bool, bits: int | None = None) -> Shape:
        gpu, bits = kernel_launch.gpu(), bits or self.num_coset_bits
        assert gpu is not None
        tiles = self.batch << (self.num_qubits - bits)
        return coset_shape(bits, tiles, *demands(self.table.gates_back, self.table.is_complex, backward), *gpu)


@lru_cache(maxsize=2 * MAX_KEPT_PLANS)
def _grouped(plan: LargeOnGpu, backward: bool) -> tuple[list[GroupedEntries], np.ndarray, np.ndarray]:
    """Returns what is done in each pass, one way, and the `firsts` and the lists of places of all of them."""
    lists, found, count = CosetLists(plan.num_coset_bits), [], 0
    for one in plan.passes:
        facts = one.entries, plan.num_coset_bits, plan.table.num_shared, backward
        found.append(grouped_entries(*facts, count, lists))
        count += len(found[-1].firsts)
    return found, np.concatenate([one.firsts for one in found]), lists.places
