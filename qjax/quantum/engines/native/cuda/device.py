"""The GPU, for those who do not write its code: what it has, and how XLA is asked to launch a kernel."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from qjax.quantum.engines.native.cuda.load import CudaError, device_facts
from qjax.types import Array


def launch(name: str, results: Sequence[Any], sizes: np.ndarray, *operands: Array | np.ndarray) -> list[Array]:
    """Returns what a kernel does; see `driver.py` for the sizes."""
    return list(jax.ffi.ffi_call(name, results)(*operands, sizes=sizes))


@cache
def gpu() -> tuple[int, int] | None:
    """Returns the number of a GPU's multiprocessors and the bytes that a block can have; None where CUDA is not."""
    try:
        return device_facts()[1:]
    except CudaError as error:
        warnings.warn(f"circuits run by XLA's code, which is slower: {error}", stacklevel=2)
        return None
