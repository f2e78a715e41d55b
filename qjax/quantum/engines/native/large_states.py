"""What a simulation of large states by native code is on any device: passes over cosets, between JAX's first states
and readouts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.engines.native.table.entries import LargeTable
from qjax.quantum.engines.native.table.passes import Pass
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.batch import with_batch
from qjax.quantum.states.product_state import halves, product_state, pull_back_product
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class LargePlan(ABC):
    """A simulation that the native code does, pass by pass.

    Attributes:
      table: what is done to the states.
      batch: number of examples.
      dtype: real dtype.
    """

    table: LargeTable
    batch: int
    dtype: np.dtype[Any]

    @property
    def num_qubits(self) -> int:
        """The number of qubits, n."""
        return self.table.num_qubits

    @property
    def pays(self) -> bool:
        """Whether the native code runs it.

        Raises:
          Unsupported: some gate fits into no pass.
        """
        return self.has_code and len(self.passes) > 0

    @property
    def words(self) -> str:
        """How the states are held, in plain words."""
        words = "complex" if self.table.is_complex else "real"
        count = len(self.passes)
        return f"{words} amplitudes; {count} pass{'es' * (count != 1)}, parts of 2**{self.num_coset_bits} amplitudes"

    def bytes_held(self, gradient: bool) -> int:
        """Returns an estimate of the bytes that are held at once, arguments and results left out.

        Args:
          gradient: whether the reverse pass follows, which has state and cotangent before and after the passes.
        """
        parts = (1 + self.table.is_complex) * self.dtype.itemsize
        return (4 if gradient else 2) * (parts * self.batch << self.num_qubits) + self.workspace_bytes(gradient)

    # What devices differ in. --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def has_code(self) -> bool:
        """Whether the device has code for it, as far as sizes and dtype decide."""

    @property
    @abstractmethod
    def num_coset_bits(self) -> int:
        """Bits of the rows of a part."""

    @property
    @abstractmethod
    def passes(self) -> list[Pass]:
        """The passes, in order."""

    @abstractmethod
    def run(self, tensors: Any, shared: Array, per_example: Array) -> Array:
        """Returns the states after all gates, `[parts * 2**n, batch]`.

        Args:
          tensors: of the first states; see `begin`.
          shared: coefficients that all examples share, `[num_shared, 1]`.
          per_example: the others, `[num_per_example, batch]`.
        """

    @abstractmethod
    def pull_back(
        self, states: Array, cotangent: Array, shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        """Returns the cotangents of the first states, and of the coefficients.

        Args:
          states: after all gates, `[parts * 2**n, batch]`.
          cotangent: of these.
          shared: see `run`.
          per_example: likewise.
        """

    @abstractmethod
    def workspace_bytes(self, gradient: bool) -> int:
        """Returns the bytes of the workspace in which a run, or its reverse pass, works."""

    @abstractmethod
    def ordered(self, final: Array) -> Array:
        """Returns the amplitudes of the final states in the order of the basis, complex `[2**n, batch]`."""

    # From parameters to the first state, and from the final one to what is read. --------------------------------

    def begin(self, values: Values, first: Sequence[Array] = ()) -> Any:
        """Returns the tensors of the first states: two halves, or `first` where given; see `WholePlan.run`."""
        return first if self.table.start is None else halves(self.table.start.runs, values)

    def first_states(self, tensors: Any) -> Array:
        """Returns the first states, `[parts * 2**n, batch]`."""
        if self.table.start is None:
            return self.table.first_states(tensors, self.batch)
        made = product_state(tensors)
        if len(made) == 1 and self.table.is_complex:
            made = jnp.concatenate([made, jnp.zeros_like(made)])
        return with_batch(made.reshape(-1, made.shape[-1]), self.batch)

    def pull_back_first(self, tensors: Any, cotangent: Array) -> Any:
        """Returns the cotangents of the tensors, given that of the first states."""
        if self.table.start is None:
            return jax.vjp(self.first_states, tensors)[1](cotangent)[0]
        parts, batch = len(tensors[0]), max(half.shape[-1] for half in tensors)
        each = cotangent if batch > 1 else cotangent.sum(axis=-1, keepdims=True)
        return pull_back_product(tensors, each.reshape(1 + self.table.is_complex, -1, batch)[:parts])

    def amplitudes(self, states: Array) -> Array:
        """Returns states `[parts * 2**n, batch]` as complex ones, `[2**n, batch]`."""
        real, *imag = states.reshape(1 + self.table.is_complex, -1, states.shape[-1])
        return jax.lax.complex(real, imag[0] if imag else jnp.zeros_like(real))

    def run_and_read(
        self, readout: Readout, tensors: Any, shared: Array, per_example: Array, keep: bool
    ) -> tuple[tuple[Array, ...], Array | None]:
        """Returns what is read, each `[..., batch]`, and the final states, `[parts * 2**n, batch]`.

        Args:
          readout: what is read.
          tensors: see `run`.
          shared: likewise.
          per_example: likewise.
          keep: whether the final states are wanted; else there may be none.
        """
        final = self.run(tensors, shared, per_example)
        return self.read(readout, final), final

    def pull_back_read(
        self, readout: Readout, final: Array, cotangents: tuple[Array, ...], shared: Array, per_example: Array
    ) -> tuple[Array, Array, Array]:
        """Returns what `pull_back` does, given the cotangents of what is read.

        Args:
          readout: see `run_and_read`.
          final: the states after all gates, `[parts * 2**n, batch]`.
          cotangents: each `[..., batch]`.
          shared: see `run`.
          per_example: likewise.
        """
        (cotangent,) = jax.vjp(lambda final: self.read(readout, final), final)[1](cotangents)
        return self.pull_back(final, cotangent, shared, per_example)

    def read(self, readout: Readout, final: Array) -> tuple[Array, ...]:
        """Returns what is read from the final states, each `[..., batch]`."""
        moves = self.table.moves
        if moves and not readout.folds:
            found = readout(self.ordered(final))
        else:
            found = (readout.before(moves) if moves else readout)(self.amplitudes(final))
        return tuple(with_batch(x, self.batch) for x in found)

    # For the passes. ----------------------------------------------------------------------------------------------

    @property
    def num_tiles(self) -> int:
        """The number of parts of all examples."""
        return self.batch << (self.num_qubits - self.num_coset_bits)

    def tables(self, entries: Sequence[tuple[np.ndarray, int]], low: int) -> tuple[np.ndarray, ...]:
        """Returns the words of the passes.

        Args:
          entries: of each pass, and how many of them are done one after the other.
          low: so many lowest bits of a row are in every part.

        Returns:
          The entries of all passes, of each pass the first one and how many are done, int32 `[passes, 2]`, the bits
          below its pivots, and the rows of its first part whose numbers are multiples of 2**low.
        """
        firsts = np.cumsum([0, *(len(rows) for rows, _ in entries[:-1])])
        places = np.stack([firsts, [count for _, count in entries]], axis=1).astype(np.int32)
        lows = np.array([[2**pivot - 1 for pivot in one.pivots] for one in self.passes], np.int32)
        rows = np.stack([one.rows(low) for one in self.passes])
        return np.concatenate([rows for rows, _ in entries]), places, lows, rows

    def shaped(self, *shape: int) -> Any:
        """Returns what stands for an array of real numbers."""
        return jax.ShapeDtypeStruct(shape, self.dtype)  # type: ignore[no-untyped-call]
