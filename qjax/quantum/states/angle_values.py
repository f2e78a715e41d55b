"""What a traced computation knows of a circuit's angles: parameters and inputs by reference.

Every value has shape `[1]` or `[batch]`: `[1]` where all examples share it, so that parameters are never broadcast to
the batch. Arrays are divided by one `split` each, whose transpose is one `concatenate`; an index for each angle
would cost the reverse pass one padded array for each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.angle import Angle, Parameter, Reference
from qjax.quantum.states.reduction import angle_sum, bounded, number_within_period, within_period
from qjax.types import Array, Float

_INPUTS = ""  # stands for the inputs: no parameter has that name


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
    _known: dict[str, Array] = field(default_factory=dict)  # bounded arrays
    _pieces: dict[tuple[str, bool], list[Array]] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Number of examples."""
        return max((x.shape[-1] for x in (self.inputs, *self.params.values())), default=1)

    @property
    def complex_dtype(self) -> Any:
        """The complex dtype of the state."""
        return jnp.complex64 if self.dtype == jnp.float32 else jnp.complex128

    def is_batched(self, angle: Angle) -> bool:
        """Whether the angle differs between examples."""
        return any(self._array(ref).shape[-1] > 1 for ref in angle.references)

    def angle(self, angle: Angle) -> Float[Array, "batch_or_1"]:
        """Returns the angle's value, `[batch]` where it differs between examples and `[1]` where it does not.

        Values are mod 4 pi, and at most `2 * LIMIT` in size; see `reduction.py`.
        """
        return self.each([angle])[0]

    def each(self, angles: Sequence[Angle]) -> list[Float[Array, "batch_or_1"]]:
        """Returns the value of each angle; those of one form are computed together. See `stacked`."""
        groups: dict[Any, list[int]] = {}
        for i, angle in enumerate(angles):
            form = angle.shift, tuple((scale, len(refs)) for scale, refs in angle.terms), self.is_batched(angle)
            groups.setdefault(form, []).append(i)
        found: list[Any] = [None] * len(angles)
        for members in groups.values():
            own = [angles[i] for i in members]
            for i, value in zip(members, self._of_one_form(own), strict=True):
                found[i] = value
        return found

    def small_angles(self, angles: Sequence[Angle]) -> list[Float[Array, "batch_or_1"]]:
        """Returns the value of each angle within 2 pi of 0, for sums of them."""
        return [within_period(value) for value in self.each(angles)]

    def stacked(self, angles: Sequence[Angle]) -> Float[Array, "count_or_1 batch_or_1"]:
        """Returns the values of several angles, `[count, ...]`, or `[1, ...]` where they are one and the same.

        Entries of one array at regular distances are one slice of it, where each by itself would be a kernel.

        Args:
          angles: of a gate each.
        """
        if all(angle == angles[0] for angle in angles):
            return self.each(angles[:1])[0][None]
        box = _box_of(angles)
        if box is None:
            values = self.each(angles)
            batch = max(value.shape[0] for value in values)
            return jnp.stack([jnp.broadcast_to(value, (batch,)) for value in values])
        ((scale, (first,)),), shift = angles[0].terms, angles[0].shift
        start, limit, strides = box
        array = self._array(first, bounded=_is_plain(angles[0]))
        cut = lax.slice(array, (*start, 0), (*limit, array.shape[-1]), (*strides, 1))
        cut = cut.reshape(len(angles), array.shape[-1])
        if _is_plain(angles[0]):
            return cut * scale if scale != 1.0 else cut
        return angle_sum(shift, (scale,), ((cut,),))

    def slices(self, names: tuple[str, ...]) -> dict[str, tuple[Array, Array]]:
        """Returns the named parameters, whole, as they are and bounded: what a loop runs along."""
        return {name: (self.params[name], self._bounded(name)) for name in names}

    def inside_loop(self, slices: Mapping[str, tuple[Array, Array]]) -> "Values":
        """Returns the values that one step of a loop sees: its slices of some parameters, and all others."""
        params = {**self.params, **{name: own for name, (own, _) in slices.items()}}
        known = {**self._known, **{name: own for name, (_, own) in slices.items()}}
        return Values(params, self.inputs, self.dtype, known)

    def _of_one_form(self, angles: Sequence[Angle]) -> Sequence[Array]:
        """Returns the values of angles that differ in their references alone."""
        first = angles[0]
        if first.is_constant:
            return [jnp.full((1,), number_within_period(first.shift), self.dtype)] * len(angles)
        if _is_plain(first):
            scale = first.terms[0][0]
            values = [self._look_up(angle.references[0], bounded=True) for angle in angles]
            return [value * scale for value in values] if scale != 1.0 else values
        distinct = list(dict.fromkeys(angles))
        factors = tuple(
            tuple(_rows([self._look_up(angle.terms[i][1][j]) for angle in distinct]) for j in range(len(refs)))
            for i, (_, refs) in enumerate(first.terms)
        )
        whole = angle_sum(first.shift, tuple(scale for scale, _ in first.terms), factors)
        rows = dict(zip(distinct, lax.split(whole, [1] * len(distinct), axis=0), strict=True))
        return [rows[angle].reshape(-1) for angle in angles]

    def _array(self, reference: Reference, bounded: bool = False) -> Array:
        name = reference.name if isinstance(reference, Parameter) else _INPUTS
        return self._bounded(name) if bounded else self.params[name] if name else self.inputs

    def _bounded(self, name: str) -> Array:
        """Returns an array of bounded angles, which is made once."""
        if name not in self._known:
            self._known[name] = bounded(self.params[name] if name else self.inputs)
        return self._known[name]

    def _look_up(self, reference: Reference, bounded: bool = False) -> Array:
        """Returns a reference's value, taken from its array, which is split once."""
        array, index = self._array(reference, bounded), reference.index
        shape = array.shape[:-1]
        name, place = (
            (reference.name, int(np.ravel_multi_index(index, shape)) if index else 0)  # type: ignore[arg-type]
            if isinstance(reference, Parameter)
            else (_INPUTS, index)
        )
        if (name, bounded) not in self._pieces:
            rows = array.reshape(math.prod(shape), array.shape[-1])
            self._pieces[name, bounded] = list(lax.split(rows, [1] * rows.shape[0], axis=0))
        return self._pieces[name, bounded][place].reshape(-1)  # type: ignore[index]


def _is_plain(angle: Angle) -> bool:
    """Whether the angle is an entry of an array, or one that was doubled or negated, and so exact."""
    return not angle.shift and [(abs(scale) in (1.0, 2.0), len(refs)) for scale, refs in angle.terms] == [(True, 1)]


def _rows(values: Sequence[Array]) -> Array:
    return jnp.stack(jnp.broadcast_arrays(*values))


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


def take_rows(array: Array, rows: np.ndarray) -> Array:
    """Returns rows of an array `[rows, batch]`; its transpose adds what goes to one row in a fixed order.

    XLA would make that scatter of its own, which adds one row after the other on a CPU, and in any order on a GPU.
    """
    first, count = int(rows[0]), len(rows)
    if np.array_equal(rows, np.arange(first, first + count)):
        return array if count == len(array) else lax.slice_in_dim(array, first, first + count)
    uses = np.bincount(rows, minlength=len(array))
    order = np.argsort(rows, kind="stable")
    places = np.full((len(array), uses.max()), count)  # of a row that is 0, where a row is used less often
    places[rows[order], np.arange(count) - (np.cumsum(uses) - uses)[rows[order]]] = order

    @jax.custom_vjp
    def take(x: Array) -> Array:
        return x[rows]

    def back(_: None, cotangent: Array) -> tuple[Array]:
        padded = jnp.concatenate([cotangent, jnp.zeros_like(cotangent[:1])])
        return (padded[places].sum(axis=1),)

    take.defvjp(lambda x: (take(x), None), back)
    return take(array)
