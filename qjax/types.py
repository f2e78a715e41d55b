"""Array types shared by all of qjax, and the conventions they stand for.

Qubit 0 is the most significant bit of a basis index: index = sum of bit(q) << (n - 1 - q), so |10> has qubit 0 set.
A state is complex with shape `[2**n]`, or `[batch, 2**n]` at a public boundary; inside the simulator the batch is the
LAST axis. Angles are real, in radians. Shapes in docstrings use the same words as the aliases: `[batch, length,
features]`.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Bool, Complex, Float, Int, Key, PyTree

# Trainable values of a circuit: parameter name -> real array of the shape that the circuit states.
CircuitParams = Mapping[str, Any]

__all__ = ["Array", "Bool", "CircuitParams", "Complex", "Float", "Int", "Key", "PyTree"]
