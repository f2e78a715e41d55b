"""The GPU as seen from outside its kernels: its size, and how XLA is asked to launch a kernel."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from qjax.quantum.engines.native.cuda.load import CudaError, device_facts
from qjax.types import Array


def launch(name: str, results: Sequence[Any], sizes: np.ndarray, *operands: Array | np.ndarray) -> list[Array]:
    """Launches a kernel and returns its results; `sizes` are those of `driver.py`."""
    return list(jax.ffi.ffi_call(name, results)(*operands, sizes=sizes))


@cache
def gpu() -> tuple[int, int] | None:
    """Returns how many multiprocessors a GPU has, and the bytes of shared memory of a block; None without CUDA."""
    try:
        return device_facts()[1:]
    except CudaError as error:
        warnings.warn(f"circuits run by XLA's code, which is slower: {error}", stacklevel=2)
        return None
