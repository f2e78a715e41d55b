"""What a traced computation knows of a circuit's angles: parameters and inputs by reference.

Every value has shape `[1]` or `[batch]`: `[1]` where all examples share it, so that parameters are never broadcast to
the batch. Arrays are taken apart by one `split` each, whose transpose is one `concatenate`; an index for each angle
would cost the reverse pass one padded array for each.
"""

from collections.abc import Mapping
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
