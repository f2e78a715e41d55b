"""What the simulator chooses by size and platform, and from which measurements (benchmarks/RESULTS.md)."""

import os
from typing import Any

import jax

from qjax.quantum.engines.memory import device_bytes, state_bytes

# A window of k neighbouring qubits costs 2**(k + 1) multiply-adds for each real number, at a rate that grows with k.
# With at least MIN_LANES examples side by side, 3 qubits at a time take 0.8 of the time of 4 (n = 8). With fewer,
# and where passes over the memory are what costs, wider windows pay.
MAX_WINDOW_QUBITS, MIN_LANES = 3, 32
WIDE_WINDOW_QUBITS = 4
# Operations that all examples share become one matrix up to so many qubits: its rows are those of two states.
# A layer or two are not worth it: a matrix for each layer between inputs that are loaded again takes twice as long.
MAX_JOINED_QUBITS, MIN_JOINED_STAGES = 8, 6
# Grover iterations take the sums of the marked amplitudes and of the others as one product with constant masks up to
# so many qubits (n = 8, 10, 16, 50 iterations: 8.6, 11 and 233 us for 16, 19 and 282), above as sums that need none.
MAX_MASK_QUBITS = 16
# The reverse pass keeps the states where they take at most this many bytes, and at most this share of the memory.
MAX_SAVED_BYTES = 2**28
MAX_SAVED_SHARE = 0.25


def _num_cores() -> int:
    """Returns the number of cores that XLA may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


# XLA runs one loop after the other, and shares each matrix product among the cores, which pays for large ones alone.
# So parts fit the second-level cache of a single core, but several cores want larger ones.
SEVERAL_CORES = _num_cores() > 1
# A batch is run in parts whose states take this many bytes, a share of a core's second-level cache; those of more
# qubits than this are too large for it one by one. From so many qubits on several cores want parts so many times
# larger (n = 12, batch 512, two cores: 19 ms for 25, gradient 107 for 118; but n = 8: 1.5 for 0.8 and 4.5 for 3.4).
CHUNK_BYTES, MAX_CHUNK_QUBITS = 2**18, 18
MIN_LARGE_CHUNK_QUBITS, LARGE_CHUNKS = 11, 16 if SEVERAL_CORES else 1
# A single state of at least 2**MIN_PASS_BITS numbers, which is all of a core's second-level cache, goes through
# neighbouring steps in parts of 2**PART_BITS numbers, with rows of at least 2**MIN_LANE_BITS of them side by side.
MIN_PASS_BITS, PART_BITS, MIN_LANE_BITS = 19, 20 if SEVERAL_CORES else 16, 6
# A single state of this many qubits or more is large enough for windows across layers to pay.
MIN_WIDE_QUBITS = 12
# A GPU takes all examples at once unless their states take more than this, and whole passes: its cores share each.
GPU_CHUNK_BYTES = 2**32
# Whether native code may be used at all (`native/`).
USE_NATIVE = os.environ.get("QJAX_NATIVE", "1") != "0"
# It runs as many examples at once as a vector has numbers, 16 in float32 (up to 8 in float64, at no cost), so that
# few leave most of it empty: up to 8 qubits even one is faster (n = 4, 8: 14, 25 us for 9.5, 18), on 10 it takes 4
# (65 us for 62), on 16 a full vector (12 ms for 10). It is faster up to 18 qubits at least; a thread holds 5
# vectors for each amplitude, and 2 for each coefficient.
MAX_SINGLE_NATIVE_QUBITS, MAX_NATIVE_QUBITS = 8, 18
FEW_NATIVE, FULL_VECTOR = 4, 16
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


def in_parts(num_bits: int) -> bool:
    """Returns whether a single state of 2**num_bits numbers goes through neighbouring steps in parts."""
    return num_bits >= MIN_PASS_BITS and not on_gpu()


def block_qubits(num_qubits: int, batch: int) -> int:
    """Returns the width of the dense blocks: the n qubits in as few windows as are allowed, of equal width."""
    if is_wide(num_qubits, batch):
        return WIDE_WINDOW_QUBITS
    lanes = chunk_size(num_qubits, batch) or batch
    windows = -(-num_qubits // (MAX_WINDOW_QUBITS if lanes >= MIN_LANES else WIDE_WINDOW_QUBITS))
    return max(2, -(-num_qubits // windows))


def one_matrix_pays(num_qubits: int, batch: int, num_stages: int) -> bool:
    """Returns whether stages that all examples share cost less as one matrix on all qubits.

    A stage costs about 32 multiply-adds for each number of a state, and is done for the 2**n basis states in place of
    the examples; the matrix costs 2**(n + 1) for each number.
    """
    dim = 2**num_qubits
    possible = num_qubits <= MAX_JOINED_QUBITS and num_stages >= MIN_JOINED_STAGES
    return possible and 16 * num_stages * (batch - dim) >= dim * batch


def saves_states(num_states: int, num_qubits: int, batch: int, dtype: Any) -> bool:
    """Returns whether the reverse pass keeps the states: where all of them are small.

    A single one that does not fit into the cache is sooner computed again than fetched.
    """
    if batch == 1 and in_parts(num_qubits + 1):
        return False
    needed = num_states * state_bytes(num_qubits, batch, dtype)
    return needed <= min(MAX_SAVED_BYTES, MAX_SAVED_SHARE * device_bytes())


def native_keeps(num_qubits: int, batch: int, dtype: Any, work: float) -> bool:
    """Returns whether native code keeps the final states of whole ones for the reverse pass, or makes them again.

    Args:
      num_qubits: of each state.
      batch: number of states.
      dtype: real dtype.
      work: forwards, as `Table.work` counts it.
    """
    if on_gpu():
        return saves_states(1, num_qubits, batch, dtype)
    return work >= MIN_KEPT_WORK and state_bytes(num_qubits, batch, dtype) <= MAX_KEPT_BYTES


def chunk_size(num_qubits: int, batch: int) -> int:
    """Returns how many of the examples are run at once, so that their states stay in the cache; 0 for all of them.

    Parts cost the gradient a second run of the circuit, which fewer than two full ones are not worth.
    """
    size = max(1, chunk_bytes(num_qubits) // (8 * 2**num_qubits))
    return size if 2 * size <= batch and (num_qubits <= MAX_CHUNK_QUBITS or on_gpu()) else 0


def chunk_bytes(num_qubits: int) -> int:
    """Returns the bytes that the states of a part of a batch take."""
    if on_gpu():
        return GPU_CHUNK_BYTES
    return CHUNK_BYTES * (LARGE_CHUNKS if num_qubits >= MIN_LARGE_CHUNK_QUBITS else 1)


def is_wide(num_qubits: int, batch: int) -> bool:
    """Returns whether passes over the state are what costs: then windows are filled across the layers."""
    return num_qubits >= MIN_WIDE_QUBITS and (batch == 1 or num_qubits > MAX_CHUNK_QUBITS)


def native_pays(platform: str, num_qubits: int, batch: int) -> bool:
    """Returns whether native code that holds whole states suits them better than any other.

    Args:
      platform: 'cpu' or 'cuda'.
      num_qubits: of each state.
      batch: number of states.
    """
    if platform == "cuda":
        return USE_NATIVE and num_qubits <= MAX_CUDA_QUBITS
    wanted = min(max(FEW_NATIVE, 2 ** max(0, num_qubits - MAX_SINGLE_NATIVE_QUBITS)), FULL_VECTOR)
    enough = num_qubits <= MAX_SINGLE_NATIVE_QUBITS or batch >= wanted
    return USE_NATIVE and enough and num_qubits <= MAX_NATIVE_QUBITS


def native_fits(platform: str, num_coefficients: int, room: int) -> bool:
    """Returns whether native code that holds whole states takes at most half of the memory.

    Args:
      platform: 'cpu' or 'cuda'.
      num_coefficients: of all gates.
      room: bytes that it takes.
    """
    return 2 * room <= device_bytes() and (platform == "cpu" or num_coefficients <= MAX_CUDA_COEFFICIENTS)


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
