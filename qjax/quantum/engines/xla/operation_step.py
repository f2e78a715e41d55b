"""The step that applies any one operation by complex arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import jax
import jax.numpy as jnp

from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.xla.planes import Layout, from_complex, to_complex
from qjax.quantum.engines.xla.steps import Tensors
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.apply import apply_operation
from qjax.quantum.states.barriers import barrier
from qjax.quantum.states.batch import with_batch
from qjax.types import Array


@dataclass(frozen=True, eq=False)
class OperationStep:
    """Any one operation, by complex arithmetic: a gate that is too wide for a block, or under many controls.

    Tensors: its angles, `[1 or batch]`.
    """

    before: Layout
    after: Layout
    operation: Operation

    def apply(self, state: Array, tensors: Tensors) -> Array:
        none = jnp.zeros((0, 1), state.dtype)
        values = _GivenAngles({}, none, state.dtype, angles=dict(zip(self.operation.angles, tensors, strict=True)))
        done = apply_operation(to_complex(state, self.before), self.operation, values)
        return barrier(from_complex(done, self.after))

    def undo(self, state: Array, tensors: Tensors) -> Array:
        batch = max([state.shape[1], *(t.shape[0] for t in tensors)])
        template = jax.ShapeDtypeStruct((2**self.before.num_bits, batch), state.dtype)
        back = jax.linear_transpose(lambda x: self.apply(x, tensors), template)
        return cast(Array, back(with_batch(state, batch))[0])

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        if not tensors:
            return ()
        batch = cotangent.shape[-1]
        before = with_batch(self.undo(after, tensors), batch)
        inputs = tuple(with_batch(t, batch) for t in tensors) if per_example else tensors
        return tuple(jax.vjp(lambda t: self.apply(before, t), inputs)[1](cotangent)[0])


@dataclass(frozen=True)
class _GivenAngles(Values):
    """Values where the angles of one operation are known."""

    angles: Mapping[Angle, Array] = field(default_factory=dict)

    def each(self, angles: Sequence[Angle], any_size: bool = False) -> list[Array]:
        return [self.angles[angle] for angle in angles]
