"""Arguments of public functions as arrays, with one clear error for what is none."""

from typing import Any

import jax
import numpy as np

from qjax.checks import fail
from qjax.types import Array


def as_array(argument: str, value: Any, dtype: Any = None) -> np.ndarray:
    """Returns the value as an array; raises where it holds no numbers, or numbers that a trace does not know."""
    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        fail(argument, "be an array of numbers", f"{type(error).__name__}: {str(error).splitlines()[0]}")


def as_jax_array(argument: str, value: Any) -> Array:
    """Returns the value as an array of JAX, which may be traced; raises where it holds no numbers."""
    try:
        return jax.numpy.asarray(value)
    except (TypeError, ValueError):
        fail(argument, "be an array of numbers", value)
