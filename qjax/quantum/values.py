"""What a traced computation knows of a circuit's angles: parameters and inputs by reference.

Every value has shape `[1]` or `[batch]`: `[1]` where all examples share it, so that parameters are never broadcast to
the batch. Arrays are taken apart by one `split` each, whose transpose is one `concatenate`; an index for each angle
would cost the reverse pass one padded array for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.angle import Angle, Parameter, Reference
from qjax.types import Array, Float


@dataclass(frozen=True)
class Values:
    """Parameters and inputs of one call.

    Attributes:
      params: name -> real array `[*shape, 1 or batch]`, of the shape that the circuit states.
      inputs: `[num_inputs, batch]`, where batch is 1 for a single example.
      dtype: real dtype of the computation.
    """

    params: Mapping[str, Array]
    inputs: Float[Array, "num_inputs batch"]
    dtype: Any
    _pieces: dict[str, list[Array]] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Number of examples."""
        return max((x.shape[-1] for x in (self.inputs, *self.params.values())), default=1)

    @property
    def complex_dtype(self) -> Any:
        """The complex dtype of the state."""
        return jnp.complex64 if self.dtype == jnp.float32 else jnp.complex128

    def angle(self, angle: Angle) -> Float[Array, "batch_or_1"]:
        """Returns the angle's value, `[batch]` where it differs between examples and `[1]` where it does not."""
        value = angle.evaluate(self._look_up)
        return jnp.full((1,), value, self.dtype) if isinstance(value, float) else value

    def stacked(self, angles: Sequence[Angle]) -> Float[Array, "count_or_1 batch_or_1"]:
        """Returns the values of several angles, `[count, ...]`, or `[1, ...]` where they are one and the same.

        Entries of one array at regular distances are one slice of it, where each by itself would be a kernel.
        """
        if all(angle == angles[0] for angle in angles):
            return self.angle(angles[0])[None]
        box = _box_of(angles)
        if box is None:
            values = [self.angle(angle) for angle in angles]
            batch = max(value.shape[0] for value in values)
            return jnp.stack([jnp.broadcast_to(value, (batch,)) for value in values])
        first = angles[0].references[0]
        array = self.params[first.name] if isinstance(first, Parameter) else self.inputs
        start, limit, strides = box
        cut = lax.slice(array, (*start, 0), (*limit, array.shape[-1]), (*strides, 1)).reshape(-1, array.shape[-1])
        scale = angles[0].terms[0][0]
        cut = cut * scale if scale != 1.0 else cut
        return cut + angles[0].shift if angles[0].shift else cut

    def slices(self, names: tuple[str, ...]) -> dict[str, Array]:
        """Returns the named parameters, whole: what a loop runs along."""
        return {name: self.params[name] for name in names}

    def inside_loop(self, slices: Mapping[str, Array]) -> "Values":
        """Returns the values that one step of a loop sees: its slices of some parameters, and all others."""
        return Values({**self.params, **slices}, self.inputs, self.dtype)

    def _look_up(self, reference: Reference) -> Array:
        if not isinstance(reference, Parameter):
            return self._split("", self.inputs)[reference.index].reshape(-1)
        array = self.params[reference.name]
        shape = array.shape[:-1]
        flat_index = int(np.ravel_multi_index(reference.index, shape)) if reference.index else 0
        return self._split(reference.name, array.reshape(-1, array.shape[-1]))[flat_index].reshape(-1)

    def _split(self, name: str, array: Array) -> list[Array]:
        """Takes the array apart along its first axis, once; inputs go by the empty name, which no parameter has."""
        if name not in self._pieces:
            self._pieces[name] = list(lax.split(array, [1] * array.shape[0], axis=0))
        return self._pieces[name]


def _box_of(angles: Sequence[Angle]) -> tuple[list[int], list[int], list[int]] | None:
    """Returns start, limit and strides of the slice of one array that is the angles in order; None if none is."""
    terms = [angle.terms for angle in angles]
    if any(len(own) != 1 or len(own[0][1]) != 1 for own in terms):
        return None
    references = [own[0][1][0] for own in terms]
    alike = {
        (own[0][0], angle.shift, ref.name if isinstance(ref, Parameter) else "")
        for own, angle, ref in zip(terms, angles, references, strict=True)
    }
    if len(alike) > 1:
        return None
    rows = np.array([ref.index if isinstance(ref, Parameter) else (ref.index,) for ref in references])
    places = [np.unique(column) for column in rows.T]
    strides = [int(own[1] - own[0]) if len(own) > 1 else 1 for own in places]
    if any(np.any(np.diff(own) != stride) for own, stride in zip(places, strides, strict=True)):
        return None
    grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, rows.shape[1])
    if not np.array_equal(grid, rows):
        return None
    return [int(own[0]) for own in places], [int(own[-1]) + 1 for own in places], strides
