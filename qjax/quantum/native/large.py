"""A simulation of large states by native code: passes over cosets, after first states and before readouts by JAX."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.choices import MAX_NATIVE_COEFFICIENTS, coset_bits, native_workers
from qjax.quantum.circuit import Circuit
from qjax.quantum.loop_step import run
from qjax.quantum.native.build import is_available, permute_target, target
from qjax.quantum.native.cosets import Pass, passes_of
from qjax.quantum.native.cuda_passes import LOW_BITS
from qjax.quantum.native.cuda_shape import Shape, coset_shape, num_parts
from qjax.quantum.native.forms import MAX_SEVERAL_BACK, VECTOR_BYTES, LargeFacts, Launch
from qjax.quantum.native.items import Unsupported
from qjax.quantum.native.permute import LinearMap, moves_of, to_indices, to_rows
from qjax.quantum.native.run import gpu, launch
from qjax.quantum.native.several import pieces_of
from qjax.quantum.native.table import LargeTable, large_table_of
from qjax.quantum.plan import Plan, make_plan
from qjax.quantum.planes import Layout, from_complex, to_complex
from qjax.quantum.primitive import with_batch
from qjax.quantum.program import Program
from qjax.quantum.readouts import Readout
from qjax.quantum.stages import Permutation
from qjax.quantum.values import Values
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class Large:
    """A simulation that the native code does, pass by pass.

    Attributes:
      table: what is done to the states.
      batch: number of examples.
      dtype: real dtype.
      platform: 'cpu' or 'cuda'.
    """

    table: LargeTable
    batch: int
    dtype: np.dtype[Any]
    platform: str

    @property
    def num_qubits(self) -> int:
        """The number of qubits, n."""
        return self.table.num_qubits

    @property
    def pays(self) -> bool:
        """Whether it can be done here, and its table is not too long to be written out."""
        if sum(self.table.level.counts) > MAX_NATIVE_COEFFICIENTS or not len(self.table.gates_back):
            return False
        if self.platform == "cuda":
            return self.dtype.itemsize == 4 and gpu() is not None and self.num_coset_bits >= LOW_BITS + 3
        return not self.table.level.counts[1] and self.num_coset_bits > 2 * self._low and self.can_go

    def __str__(self) -> str:
        words = "complex" if self.table.is_complex else "real"
        count, bits = len(self.passes), self.num_coset_bits
        return f"{count} pass{'es' * (count != 1)} over the states, {words} amplitudes, in parts of 2**{bits}"

    @cached_property
    def num_coset_bits(self) -> int:
        """Bits of the rows of a part; a GPU with little memory in its multiprocessors takes smaller ones."""
        bits = coset_bits(self.platform, self.num_qubits)[0]
        device = gpu() if self.platform == "cuda" else None
        while device is not None and bits > LOW_BITS and self._shape(True, bits).memory > device[1]:
            bits -= 1
        return bits

    @property
    def _low(self) -> int:
        """Lowest bits of a row that every part has: a warp's, or those of what a vector holds."""
        return LOW_BITS if self.platform == "cuda" else (VECTOR_BYTES // self.dtype.itemsize).bit_length() - 1

    @cached_property
    def passes(self) -> list[Pass]:
        """The passes, in order."""
        facts = self.table.gates_back, self.num_qubits, self.num_coset_bits, self._low
        run = coset_bits(self.platform, self.num_qubits)[1]
        return passes_of(*facts, lanes=self.platform == "cpu", run=run)

    @property
    def can_go(self) -> bool:
        """Whether each gate can be done in some part."""
        try:
            return self.passes is not None
        except Unsupported:
            return False

    # From parameters to the first state, and from the final one to what is read. --------------------------------

    @cached_property
    def layout(self) -> Layout:
        """All real parts before all imaginary ones."""
        return Layout(self.num_qubits, 0 if self.table.is_complex else None)

    @cached_property
    def _first_plan(self) -> Plan:
        return make_plan(Program(self.num_qubits, self.table.start, ()))

    def begin(self, values: Values) -> Any:
        """Returns the tensors of the first states; see `first_states`."""
        return self._first_plan.start_tensors(values)

    def first_states(self, tensors: Any) -> Array:
        """Returns the first states, `[parts * 2**n, batch]`."""
        made = self._first_plan.prepare(tensors)
        return self._wide(made, self._first_plan.before)

    def pull_back_first(self, tensors: Any, cotangent: Array) -> Any:
        """Returns the cotangents of the tensors, given that of the first states."""
        plan = self._first_plan
        if plan.before.place is None and self.table.is_complex:
            cotangent = cotangent[: 2**self.num_qubits]
        return plan.pull_back_start(tensors, cotangent)

    def _wide(self, state: Array, layout: Layout) -> Array:
        if layout.place is None and self.table.is_complex:
            return jnp.concatenate([state, jnp.zeros_like(state)])
        assert layout.place in (None, 0)
        return state

    def read(self, readout: Readout, final: Array) -> tuple[Array, ...]:
        """Returns what is read from the final states, `[parts * 2**n, batch]`."""
        moves = self.table.moves
        if moves and readout.folds:
            readout = readout.before(moves)
        elif moves and self.platform == "cpu":
            return readout(to_complex(self._permuted(final), self.layout))
        elif moves:
            plan = self._last_plan
            ordered = from_complex(to_complex(final, self.layout), plan.before)
            moved = run(plan.steps, ordered, tuple(() for _ in plan.steps))
            return readout(to_complex(moved, plan.after))
        return readout(to_complex(final, self.layout))

    def _permuted(self, final: Array) -> Array:
        """Returns the final states in the order of the basis; JAX can differentiate it once."""
        maps = to_rows(self.table.frame), to_indices(self.table.frame)

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
        results = [self._like(each), self._room(False, 0)]
        tables = moves.pivots, moves.sources, moves.targets, moves.places, moves.steps, columns
        call = jax.ffi.ffi_call(permute_target(self.dtype, self.table.is_complex), results)
        return call(*tables, each, facts)[0].T

    @cached_property
    def _last_plan(self) -> Plan:
        """The plan that puts every amplitude where it belongs."""
        stages = (Permutation(tuple(self.table.moves)),)
        return make_plan(Program(self.num_qubits, None, stages), real_start=not self.table.is_complex)

    # The passes. ------------------------------------------------------------------------------------------------

    def run(self, tensors: Any, shared: Array, own: Array) -> Array:
        """Returns the states after all gates, `[parts * 2**n, batch]`.

        Args:
          tensors: of the first states; see `begin`.
          shared: coefficients that all examples share, `[num_shared, 1]`.
          own: the others, `[num_own, batch]`.
        """
        operands = self._operands(False, shared, own)
        if self.platform == "cpu":
            parts = 1 + self.table.is_complex
            results = [self._shaped(self.batch, parts << self.num_qubits), self._room(False, len(operands[4]))]
            halves = [jnp.pad(half[..., 0], ((0, parts - half.shape[0]), (0, 0))) for half in tensors]
            return self._call_cpu(False, results, operands, *halves)[0].T
        each = with_batch(self.first_states(tensors), self.batch).T
        results = [self._like(each), self._like(self._scratch(False))]
        return self._call(False, results, operands, each)[0].T

    def pull_back(self, states: Array, cotangent: Array, shared: Array, own: Array) -> tuple[Array, Array, Array]:
        """Returns the cotangents of the first states, and of the coefficients.

        Args:
          states: after all gates, `[parts * 2**n, batch]`.
          cotangent: of these.
          shared: see `run`.
          own: likewise.
        """
        each, operands = states.T, self._operands(True, shared, own)
        if self.platform == "cpu":
            count = len(operands[4])
            made = [*map(self._like, (each, each, np.zeros((count, 1)))), self._room(True, count)]
            _, back, sums, _ = self._call_cpu(True, made, operands, each, cotangent.T)
            return back.T, sums[: shared.shape[0]], jnp.zeros_like(own)
        shape = self._shape(True)
        parts = np.zeros((operands[3].shape[0], shape.blocks)), np.zeros((own.shape[0], self._num_tiles))
        results = [self._like(x) for x in (each, each, *parts, self._scratch(True))]
        _, back, of_shared, of_own, _ = self._call(True, results, operands, each, cotangent.T)
        of_shared = of_shared[: shared.shape[0]].sum(axis=-1, keepdims=True)
        cosets = self._num_tiles // self.batch
        return back.T, of_shared, of_own.reshape(own.shape[0], self.batch, cosets).sum(axis=-1)

    def _like(self, array: Any) -> Any:
        return self._shaped(*array.shape)

    def _shaped(self, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, self.dtype)  # type: ignore[no-untyped-call]

    def _scratch(self, backward: bool) -> np.ndarray:
        blocks, count = self._shape(backward).blocks, self.table.num_made
        return np.zeros((blocks, count * (1 + backward)), np.bool_)  # its shape alone is used

    def _operands(self, backward: bool, shared: Array, own: Array) -> tuple[Any, ...]:
        passes = self.passes
        entries, places = self._entries(backward)
        lows = np.array([[2**pivot - 1 for pivot in one.pivots] for one in passes], np.int32)
        rows = np.stack([one.rows(self._low) for one in passes])
        whole = jnp.concatenate([shared, self.table.constants.astype(self.dtype)])
        if self.platform == "cuda":
            return entries, lows, rows, whole, own
        return entries, places, lows, rows, whole

    def _entries(self, backward: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns the entries of all passes, and of each pass the first one, and how many are done one by one."""
        found = []
        for one in self.passes:
            if self.platform == "cpu":
                entries = one.entries if backward else one.paired
                found.append((entries, len(entries)))
            else:
                found.append(pieces_of(one.entries, self.num_coset_bits, backward))
        firsts = np.cumsum([0, *(len(entries) for entries, _ in found[:-1])])
        places = np.stack([firsts, [count for _, count in found]], axis=1)
        return np.concatenate([entries for entries, _ in found]), places.astype(np.int32)

    def _call(self, backward: bool, results: Sequence[Any], operands: Sequence[Any], *states: Array) -> list[Array]:
        name = target(self.dtype, backward, self.table.is_complex, "cuda", large=True)
        return launch(name, results, self._launches(backward, operands), *operands, *states)

    # On a CPU. --------------------------------------------------------------------------------------------------

    def _call_cpu(
        self, backward: bool, results: Sequence[Any], operands: Sequence[Any], *states: Array
    ) -> list[Array]:
        facts = self._facts(len(self.passes), len(operands[4]), backward)
        facts[LargeFacts.LOW_QUBITS] = 0 if backward else states[1].shape[-1].bit_length() - 1
        name = target(self.dtype, backward, self.table.is_complex, "cpu", large=True)
        return list(jax.ffi.ffi_call(name, results)(*operands, *states, facts))

    def _facts(self, num_passes: int, num_coefficients: int, backward: bool = False) -> np.ndarray:
        facts = np.zeros(len(LargeFacts), np.int32)
        facts[LargeFacts.TOTAL], facts[LargeFacts.BITS] = self.num_qubits, self.num_coset_bits
        facts[LargeFacts.BATCH], facts[LargeFacts.PASSES] = self.batch, num_passes
        facts[LargeFacts.SHARES], facts[LargeFacts.WORKERS] = self._num_shares, self._num_workers
        facts[LargeFacts.NUM_COEFFICIENTS] = num_coefficients
        facts[LargeFacts.ROOM] = self._room_bytes(backward, num_coefficients)
        return facts

    @property
    def _num_workers(self) -> int:
        return native_workers(self._num_tiles, len(self.table.gates_back) << self.num_coset_bits)

    @property
    def _num_shares(self) -> int:
        """A few for each thread, so that none waits long for another one."""
        return min(self._num_tiles, 4 * self._num_workers)

    def _room_bytes(self, backward: bool, num_coefficients: int) -> int:
        tile = (1 + self.table.is_complex) * self.dtype.itemsize << self.num_coset_bits
        return int(tile * (1 + backward) + VECTOR_BYTES * num_coefficients * backward)

    def _room(self, backward: bool, num_coefficients: int) -> Any:
        """Returns the shape of the room: a vector of each coefficient, and each share's own."""
        whole = VECTOR_BYTES * num_coefficients + self._num_shares * self._room_bytes(backward, num_coefficients)
        return self._shaped(whole // self.dtype.itemsize)

    # On a GPU. --------------------------------------------------------------------------------------------------

    def _launches(self, backward: bool, operands: Sequence[Any]) -> np.ndarray:
        """Returns the shape of each launch, and then what the kernel is told."""
        shape = self._shape(backward)
        words = np.zeros((len(self.passes), len(Launch)), np.int32)
        words[:, Launch.QUBITS], words[:, Launch.TOTAL] = self.num_coset_bits, self.num_qubits
        words[:, Launch.BATCH], words[:, Launch.TILES] = self.batch, self._num_tiles
        words[:, Launch.GROUPS] = shape.groups.bit_length() - 1
        words[:, [Launch.FIRST_GATE, Launch.NUM_GATES]] = self._entries(backward)[1]
        words[:, Launch.PASS] = np.arange(len(self.passes))
        words[:, Launch.NUM_SHARED], words[:, Launch.NUM_OWN] = operands[3].shape[0], operands[4].shape[0]
        words[:, Launch.NUM_MADE], words[:, Launch.SCRATCH] = self.table.num_made, self._scratch(backward).shape[1]
        words[:, Launch.STAGING], words[:, Launch.STAGING_SIZE] = shape.staging, shape.staging_size
        words[-1 if backward else 0, Launch.BEGINS] = 1
        sizes = np.array([[shape.blocks, shape.groups, shape.memory]] * len(words), np.int32)
        whole = np.concatenate([sizes, words], axis=1)
        return (whole[::-1] if backward else whole).reshape(-1)

    @property
    def _num_tiles(self) -> int:
        return self.batch << (self.num_qubits - self.num_coset_bits)

    def _shape(self, backward: bool, bits: int | None = None) -> Shape:
        device, bits = gpu(), bits or self.num_coset_bits
        assert device is not None
        parts = num_parts(self.table.gates_back, self.table.is_complex, MAX_SEVERAL_BACK) if backward else 0
        numbers = (1 + self.table.is_complex) * (1 + backward)
        tiles = self.batch << (self.num_qubits - bits)
        return coset_shape(bits, tiles, numbers, parts, *device)


@lru_cache(maxsize=128)
def large_of(
    circuit: Circuit, batched: frozenset[str], batch: int, dtype: np.dtype[Any], platform: str
) -> Large | None:
    """Returns the simulation of a circuit on |0...0>, pass by pass; None where it can't be.

    Args:
      circuit: what to run.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      dtype: real dtype, as NumPy has it.
      platform: 'cpu' or 'cuda'.
    """
    table = large_table_of(circuit, batched, platform == "cuda") if is_available() else None
    return None if table is None else Large(table, batch, dtype, platform)
