"""What the simulator chooses by size and platform, and from which measurements (benchmarks/NOTES.md)."""

import os
from typing import Any

import jax

from qjax.quantum.engines.memory import device_bytes, state_bytes

# On a GPU native code keeps the final states where they take at most this many bytes, and this share of the memory.
MAX_SAVED_BYTES = 2**28
MAX_SAVED_SHARE = 0.25


def _num_cores() -> int:
    """Returns the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


# Whether native code may be used at all (`native/`).
USE_NATIVE = os.environ.get("QJAX_NATIVE", "1") != "0"
# It runs as many examples at once as a vector has numbers, 16 in float32 (up to 8 in float64, at no cost), so that
# few leave most of it empty: from 9 qubits on, so many are sooner run one after the other, pass by pass, and from 17
# on any number (gradients one after the other / at once, ms: n = 10, batch 2 and 4: 0.15 / 0.21, 0.13 / 0.10; n = 12,
# batch 4 and 8: 0.38 / 0.46, 0.84 / 0.46; n = 14, 8 and 16: 6.8 / 12.6, 14.4 / 13.1; n = 18, 16: 421 / 1,155). A
# thread holds 5 vectors for each amplitude, and 2 for each coefficient.
MAX_NATIVE_QUBITS = 16
MIN_WHOLE, FULL_VECTOR = {9: 2, 10: 4, 11: 4, 12: 8}, 16
# On a CPU it makes the final states again in the cache unless that takes long, and they are few: to keep and fetch
# them takes as long as 16 gates (n = 8, batch 512, value and gradient: 3 layers made again 0.41 ms, kept 0.45; 20
# layers 3.0, 2.5; n = 12, batch 512, inputs in each of 3 layers: 18, 20), 16 MiB longer (n = 16, batch 32: 20, 40).
MIN_KEPT_WORK, MAX_KEPT_BYTES = 16, 2**21
# It applies diagonal gates one by one; of more than so many for each qubit, side by side, it sums the phases of each
# row and takes one cosine and sine. On a GPU XLA's code does (n = 10, batch 64, 55 of them: 0.8 ms for 1.1).
MAX_NATIVE_DIAGONALS = 4
# On a GPU, whose blocks hold whole states, a state and its cotangent must fit into the memory of a multiprocessor; a
# circuit of more coefficients than this is left to XLA there.
MAX_CUDA_QUBITS, MAX_CUDA_COEFFICIENTS = 14, 2**16
# Other states go through the memory in cosets of 2**k amplitudes. On a GPU k = 13 where each multiprocessor has two
# of them to do, else 12 (W2, n = 24: 0.85 ms for 0.87, gradient 3.2 for 3.5). On a CPU k is more for larger states,
# whose pages lie farther apart, in runs of 2**(k - 9) neighbours: 14 for n = 20 (gradient of W2: k = 13 to 16 take
# 77, 73, 74, 78 ms), 15 for n = 22 (394, 375, 347, 363), 16 for n = 24 (W5: 746, 634, 608, 558). Single states on a
# CPU: gradient of W2 for n = 10, 12, 16: 0.2, 0.7, 10 ms by XLA's code, 0.1, 0.2, 3.1 so.
MIN_CUDA_COSET_BITS, MAX_CUDA_COSET_BITS, CUDA_TILES = 12, 13, 2
MIN_COSET_BITS, MAX_COSET_BITS, RUN_BITS = 14, 16, 9
MIN_LARGE_QUBITS, MAX_LARGE_QUBITS = 9, 30
# Less work than this, in tiles times rows times gates, is done before another thread has begun.
MIN_SHARED_WORK = 2**14


def on_gpu() -> bool:
    """Returns whether JAX runs on a GPU, if not told otherwise."""
    return bool(jax.default_backend() == "gpu")


def native_platform() -> str | None:
    """Returns the platform whose native code may run here, 'cpu' or 'cuda'; None where there is none."""
    return {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend()) if USE_NATIVE else None


def native_keeps(num_qubits: int, batch: int, dtype: Any, work: float) -> bool:
    """Returns whether native code keeps the final states of whole ones for the reverse pass, or makes them again.

    Args:
      num_qubits: of each state.
      batch: number of states.
      dtype: real dtype.
      work: forwards, as `Table.work` counts it.
    """
    if on_gpu():
        return state_bytes(num_qubits, batch, dtype) <= min(MAX_SAVED_BYTES, MAX_SAVED_SHARE * device_bytes())
    return work >= MIN_KEPT_WORK and state_bytes(num_qubits, batch, dtype) <= MAX_KEPT_BYTES


def native_pays(platform: str, num_qubits: int, batch: int) -> bool:
    """Returns whether native code that holds whole states suits them better than any other.

    Args:
      platform: 'cpu' or 'cuda'.
      num_qubits: of each state.
      batch: number of states.
    """
    if platform == "cuda":
        return USE_NATIVE and num_qubits <= MAX_CUDA_QUBITS
    enough = num_qubits < MIN_LARGE_QUBITS or batch >= MIN_WHOLE.get(num_qubits, FULL_VECTOR)
    return USE_NATIVE and enough and num_qubits <= MAX_NATIVE_QUBITS


def native_fits(platform: str, num_coefficients: int, workspace: int) -> bool:
    """Returns whether native code that holds whole states takes at most half of the memory.

    Args:
      platform: 'cpu' or 'cuda'.
      num_coefficients: of all gates.
      workspace: bytes that it takes.
    """
    return 2 * workspace <= device_bytes() and (platform == "cpu" or num_coefficients <= MAX_CUDA_COEFFICIENTS)


def large_pays(num_qubits: int) -> bool:
    """Returns whether native code goes over large states pass by pass, where it does not hold whole ones."""
    return USE_NATIVE and MIN_LARGE_QUBITS <= num_qubits <= MAX_LARGE_QUBITS


def coset_bits(platform: str, num_qubits: int) -> tuple[int, int]:
    """Returns how many bits number the amplitudes of a coset, at most, and how many are the lowest bits of a row."""
    if platform == "cuda":
        return min(MAX_CUDA_COSET_BITS, num_qubits), 0
    bits = min(max(MIN_COSET_BITS, num_qubits // 2 + 4), MAX_COSET_BITS, num_qubits)
    return bits, max(bits - RUN_BITS, 0)


def native_workers(num_tiles: int, work: int) -> int:
    """Returns how many threads share the tiles of a batch, each of which takes this much work: rows times gates."""
    if num_tiles * work < MIN_SHARED_WORK:
        return 1
    return min(num_tiles, _num_cores())
