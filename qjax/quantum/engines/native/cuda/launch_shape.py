"""How the blocks of a GPU divide a batch: examples of a tile, threads, and memory."""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.table.layout import FORMS, MAX_GROUP_BACK, Entry, num_numbers

# Threads for which a multiprocessor has registers: in the forward kernel, and in the reverse one.
RESIDENT_THREADS, RESIDENT_THREADS_BACK = 512, 256
# The same where tiles are cosets of large states, and the rows of a tile that one thread loads and stores.
COSET_RESIDENT, COSET_RESIDENT_BACK, COSET_ROWS = 512, 384, 32
_WARP, _MAX_BLOCKS, _BLOCK_OVERHEAD = 32, 32, 1024
_NUMBER = 4  # bytes


@dataclass(frozen=True)
class Shape:
    """The shape of a launch: how a kernel is spread over a GPU.

    Attributes:
      lanes: examples of a tile, a power of two.
      groups: threads for each example, a power of two.
      blocks: number of blocks.
      memory: bytes of shared memory of a block.
      staging: where the staging area of sums begins in that memory, counted in numbers.
      staging_size: numbers in each of its two halves.
    """

    lanes: int
    groups: int
    blocks: int
    memory: int
    staging: int
    staging_size: int


def shape_of(num_qubits: int, batch: int, numbers: int, parts: int, multiprocessors: int, limit: int) -> Shape | None:
    """Returns the shape of a launch; None where the states of one example exceed the shared memory of a block.

    Args:
      num_qubits: of each state.
      batch: number of examples.
      numbers: real numbers for each amplitude, those of its cotangent included.
      parts: most real numbers that a gate sums over the rows; 0 in the forward pass, which sums none.
      multiprocessors: number that the GPU has.
      limit: bytes of shared memory that a block can have.
    """
    rows = 1 << num_qubits
    fewest = max(1, 2 * _WARP // rows)  # so that all threads of a warp have work
    lanes, most = _WARP, RESIDENT_THREADS_BACK if parts else RESIDENT_THREADS
    # Few examples are spread over most of the multiprocessors.
    while lanes > fewest and 4 * -(-batch // lanes) < 3 * multiprocessors:
        lanes //= 2
    while True:
        tiles = -(-batch // lanes)
        size = numbers * rows * lanes
        resident = min(_MAX_BLOCKS, max(1, limit // (_NUMBER * size + _BLOCK_OVERHEAD)))
        wanted = most // min(resident, -(-tiles // multiprocessors))
        threads = max(_WARP, min(most, _power_of_two(wanted), rows // 4 * lanes))
        staging = parts * (threads // _WARP) * lanes
        memory = _NUMBER * (size + 2 * staging)
        if memory <= limit:
            break
        if lanes == 1:
            return None
        lanes //= 2
    resident = min(limit // (memory + _BLOCK_OVERHEAD) or 1, most // threads, _MAX_BLOCKS)
    return Shape(lanes, threads // lanes, min(tiles, multiprocessors * resident), memory, size, staging)


def coset_shape(num_bits: int, num_tiles: int, numbers: int, parts: int, multiprocessors: int, limit: int) -> Shape:
    """Returns the shape of a launch whose tiles are cosets of large states.

    Args:
      num_bits: of the rows of a coset.
      num_tiles: cosets of all examples.
      numbers: see `shape_of`.
      parts: see `shape_of`.
      multiprocessors: see `shape_of`.
      limit: see `shape_of`.
    """
    rows, threads = 1 << num_bits, coset_threads(num_bits)
    size, staging = numbers * rows, parts * threads // _WARP
    memory = _NUMBER * (size + 2 * staging)
    resident = min(limit // (memory + _BLOCK_OVERHEAD) or 1, coset_blocks(num_bits, parts > 0))
    return Shape(1, threads, min(num_tiles, multiprocessors * resident), memory, size, staging)


def coset_threads(num_bits: int) -> int:
    """Returns the threads of a block for cosets of 2**num_bits rows."""
    return max(_WARP, (1 << num_bits) // COSET_ROWS)


def coset_blocks(num_bits: int, backward: bool) -> int:
    """Returns for how many such blocks a multiprocessor has registers: while one waits, another one computes."""
    return max(1, (COSET_RESIDENT_BACK if backward else COSET_RESIDENT) // coset_threads(num_bits))


def demands(gates: np.ndarray, is_complex: bool, backward: bool) -> tuple[int, int]:
    """Returns the arguments `numbers` and `parts` of `shape_of`; the latter is a power of two.

    Args:
      gates: entries of a table, `[gates, ENTRY]`.
      is_complex: whether the amplitudes are.
      backward: whether it is the reverse pass.
    """
    if not backward:
        return 1 + is_complex, 0
    forms = [FORMS[kind] for kind in set(gates[:, Entry.KIND].tolist())]
    at_once = {("dense", 1, 0): MAX_GROUP_BACK}  # most gates of this form that are applied at once
    counts = [num_numbers(form) * at_once.get(form, 1) for form in forms if form[0] != "column"]
    parts = max(counts, default=0) * (1 + is_complex)
    return 2 * (1 + is_complex), _power_of_two(parts) if parts else 0


def _power_of_two(number: int) -> int:
    """Returns the least power of two that is at least the number."""
    return 1 << max(0, number - 1).bit_length()
