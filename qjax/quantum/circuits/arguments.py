"""Arguments of public functions as arrays, with one clear error for a value that is not an array."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from qjax.checks import fail
from qjax.types import Array

P = ParamSpec("P")
T = TypeVar("T")


def without_reverse_pass(function: Callable[P, T]) -> Callable[P, T]:
    """Returns the function with a clear error for `reverse_pass`, an argument of earlier versions."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if "reverse_pass" in kwargs:
            expectation = "be left out: the engine decides it now, and `explain` says which one runs"
            fail("reverse_pass", expectation, kwargs["reverse_pass"])
        return function(*args, **kwargs)

    return checked


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
