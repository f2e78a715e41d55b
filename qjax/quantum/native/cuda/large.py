"""Large states on a GPU: a launch for each pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qjax.quantum.choices import coset_bits
from qjax.quantum.loop_step import run
from qjax.quantum.native.build import target
from qjax.quantum.native.cosets import Pass, passes_of
from qjax.quantum.native.cuda import device
from qjax.quantum.native.cuda.pieces import pieces_of
from qjax.quantum.native.cuda.shape import Shape, coset_shape, demands
from qjax.quantum.native.forms import LOW_BITS, Launch
from qjax.quantum.native.large_base import Large
from qjax.quantum.plan import Plan, make_plan
from qjax.quantum.planes import from_complex, to_complex
from qjax.quantum.primitive import with_batch
from qjax.quantum.program import Program
from qjax.quantum.stages import Permutation
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class LargeOnGpu(Large):
    """A simulation that the native code of a GPU does, pass by pass."""

    @property
    def has_code(self) -> bool:
        return self.dtype.itemsize == 4 and device.gpu() is not None and self.num_coset_bits >= LOW_BITS + 3

    @cached_property
    def num_coset_bits(self) -> int:
        """Bits of the rows of a part; where multiprocessors have little memory they are fewer."""
        bits, gpu = coset_bits("cuda", self.num_qubits)[0], device.gpu()
        while gpu is not None and bits > LOW_BITS and self._shape(True, bits).memory > gpu[1]:
            bits -= 1
        return bits

    @cached_property
    def passes(self) -> list[Pass]:
        facts = self.table.gates_back, self.num_qubits, self.num_coset_bits, LOW_BITS
        return passes_of(*facts, run=coset_bits("cuda", self.num_qubits)[1])

    def run(self, tensors: Any, shared: Array, own: Array) -> Array:
        each = with_batch(self.first_states(tensors), self.batch).T
        results = [self.shaped(*each.shape), self.shaped(*self._scratch(False))]
        return self._call(False, results, shared, own, each)[0].T

    def pull_back(self, states: Array, cotangent: Array, shared: Array, own: Array) -> tuple[Array, Array, Array]:
        each = states.T
        sums = (shared.shape[0] + len(self.table.constants), self._shape(True).blocks), (own.shape[0], self.num_tiles)
        results = [self.shaped(*shape) for shape in (each.shape, each.shape, *sums, self._scratch(True))]
        _, back, of_shared, of_own, _ = self._call(True, results, shared, own, each, cotangent.T)
        of_shared = of_shared[: shared.shape[0]].sum(axis=-1, keepdims=True)
        cosets = self.num_tiles // self.batch
        return back.T, of_shared, of_own.reshape(own.shape[0], self.batch, cosets).sum(axis=-1)

    def ordered(self, final: Array) -> Array:
        plan = self._last_plan
        states = from_complex(to_complex(final, self.layout), plan.before)
        return to_complex(run(plan.steps, states, tuple(() for _ in plan.steps)), plan.after)

    @cached_property
    def _last_plan(self) -> Plan:
        """The plan that puts every amplitude where it belongs."""
        stages = (Permutation(tuple(self.table.moves)),)
        return make_plan(Program(self.num_qubits, None, stages), real_start=not self.table.is_complex)

    def room_bytes(self, gradient: bool) -> int:
        return math.prod(self._scratch(gradient)) * self.dtype.itemsize

    def _scratch(self, backward: bool) -> tuple[int, int]:
        """Returns the shape of the room to work in."""
        return self._shape(backward).blocks, self.table.num_made * (1 + backward)

    def _call(self, backward: bool, results: Sequence[Any], shared: Array, own: Array, *states: Array) -> list[Array]:
        pieces = [pieces_of(one.entries, self.num_coset_bits, backward) for one in self.passes]
        entries, places, lows, rows = self.tables(pieces, LOW_BITS)
        whole = self.with_constants(shared)
        name = target(self.dtype, backward, self.table.is_complex, "cuda", large=True)
        sizes = self._launches(backward, places, whole, own)
        return device.launch(name, results, sizes, entries, lows, rows, whole, own, *states)

    def _launches(self, backward: bool, places: np.ndarray, shared: Array, own: Array) -> np.ndarray:
        """Returns the shape of each launch, and then what the kernel is told."""
        shape = self._shape(backward)
        words = np.zeros((len(self.passes), len(Launch)), np.int32)
        words[:, Launch.QUBITS], words[:, Launch.TOTAL] = self.num_coset_bits, self.num_qubits
        words[:, Launch.BATCH], words[:, Launch.TILES] = self.batch, self.num_tiles
        words[:, Launch.GROUPS] = shape.groups.bit_length() - 1
        words[:, [Launch.FIRST_GATE, Launch.NUM_GATES]] = places
        words[:, Launch.PASS] = np.arange(len(self.passes))
        words[:, Launch.NUM_SHARED], words[:, Launch.NUM_OWN] = shared.shape[0], own.shape[0]
        words[:, Launch.NUM_MADE], words[:, Launch.SCRATCH] = self.table.num_made, self._scratch(backward)[1]
        words[:, Launch.STAGING], words[:, Launch.STAGING_SIZE] = shape.staging, shape.staging_size
        words[-1 if backward else 0, Launch.BEGINS] = 1
        sizes = np.array([[shape.blocks, shape.groups, shape.memory]] * len(words), np.int32)
        whole = np.concatenate([sizes, words], axis=1)
        return (whole[::-1] if backward else whole).reshape(-1)

    def _shape(self, backward: bool, bits: int | None = None) -> Shape:
        gpu, bits = device.gpu(), bits or self.num_coset_bits
        assert gpu is not None
        tiles = self.batch << (self.num_qubits - bits)
        return coset_shape(bits, tiles, *demands(self.table.gates_back, self.table.is_complex, backward), *gpu)
