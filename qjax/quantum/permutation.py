"""Permutation of the rows of a state."""

import jax.numpy as jnp
import numpy as np

from qjax.types import Array


def permute_rows(state: Array, source: np.ndarray) -> Array:
    """Returns the state whose row i is row `source[i]` of `state`."""
    return jnp.take(state, source, axis=0, unique_indices=True, mode="clip")
