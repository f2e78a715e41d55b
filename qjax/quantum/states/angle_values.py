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
    _reduced: dict[str, Array] = field(default_factory=dict)  # arrays of bounded angles
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

    def each(self, angles: Sequence[Angle]) -> list[Float[Array, "batch_or_1"]]:
        """Returns each angle's value, `[batch]` where it differs between examples and `[1]` where it does not.

        Values are mod 4 pi, and at most `2 * LIMIT` in size (`reduction.py`). Those of one form are made together.
        """
        groups: dict[Any, list[int]] = {}
        for i, angle in enumerate(angles):
            form = angle.shift, tuple((scale, len(refs)) for scale, refs in angle.terms), self.is_batched(angle)
            groups.setdefault(form, []).append(i)
        value_of: dict[int, Array] = {}
        for members in groups.values():
            value_of |= zip(members, self._of_one_form([angles[i] for i in members]), strict=True)
        return [value_of[i] for i in range(len(angles))]

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
            return _rows(self.each(angles))
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
        params = {**self.params, **{name: whole for name, (whole, _) in slices.items()}}
        reduced = {**self._reduced, **{name: within for name, (_, within) in slices.items()}}
        return Values(params, self.inputs, self.dtype, reduced)

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
        name = _array_name(reference)
        return self._bounded(name) if bounded else self.params[name] if name else self.inputs

    def _bounded(self, name: str) -> Array:
        """Returns an array of bounded angles, which is made once."""
        if name not in self._reduced:
            self._reduced[name] = bounded(self.params[name] if name else self.inputs)
        return self._reduced[name]

    def _look_up(self, reference: Reference, bounded: bool = False) -> Array:
        """Returns a reference's value, taken from its array, which is split once."""
        array, name, index = self._array(reference, bounded), _array_name(reference), _index(reference)
        *shape, batch = array.shape
        if (name, bounded) not in self._pieces:
            rows = array.reshape(math.prod(shape), batch)
            self._pieces[name, bounded] = list(lax.split(rows, [1] * rows.shape[0], axis=0))
        place = int(np.ravel_multi_index(index, shape)) if index else 0
        return self._pieces[name, bounded][place].reshape(-1)


def _rows(values: Sequence[Array]) -> Array:
    return jnp.stack(jnp.broadcast_arrays(*values))


def _array_name(reference: Reference) -> str:
    return reference.name if isinstance(reference, Parameter) else _INPUTS


def _index(reference: Reference) -> tuple[int, ...]:
    return reference.index if isinstance(reference, Parameter) else (reference.index,)


def _is_plain(angle: Angle) -> bool:
    """Whether the angle is an entry of an array, or one that was doubled or negated, and so exact."""
    return not angle.shift and [(abs(scale) in (1.0, 2.0), len(refs)) for scale, refs in angle.terms] == [(True, 1)]


def _box_of(angles: Sequence[Angle]) -> tuple[list[int], list[int], list[int]] | None:
    """Returns start, limit and strides of the slice of one array that is the angles in order; None if none is."""
    if any([len(refs) for _, refs in angle.terms] != [1] for angle in angles):
        return None
    forms = {(angle.shift, angle.terms[0][0], _array_name(angle.references[0])) for angle in angles}
    if len(forms) > 1:
        return None
    rows = np.array([_index(angle.references[0]) for angle in angles])
    places = [np.unique(column) for column in rows.T]
    strides = [int(axis[1] - axis[0]) if len(axis) > 1 else 1 for axis in places]
    if any(np.any(np.diff(axis) != stride) for axis, stride in zip(places, strides, strict=True)):
        return None
    grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, rows.shape[1])
    if not np.array_equal(grid, rows):
        return None
    return [int(axis[0]) for axis in places], [int(axis[-1]) + 1 for axis in places], strides


def take_rows(array: Array, rows: np.ndarray) -> Array:
    """Returns rows of an array `[rows, batch]`; its transpose adds what goes to one row in a fixed order.

    XLA's transpose of `x[rows]` is a scatter, which adds one row after the other on a CPU, and in any order on a GPU.
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
