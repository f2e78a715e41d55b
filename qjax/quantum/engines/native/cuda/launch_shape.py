"""How the blocks of a GPU share a batch: examples of a tile, threads, and memory."""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.table.layout import FORMS, KIND, MAX_SEVERAL_BACK, num_numbers

# Threads of a multiprocessor with as many registers as the kernels take, forwards and backwards.
RESIDENT_THREADS, RESIDENT_THREADS_BACK = 512, 256
# Likewise where tiles are cosets of large states: there a thread has this many rows of its block's tile.
COSET_RESIDENT, COSET_RESIDENT_BACK, COSET_ROWS = 512, 384, 32
_WARP, _MAX_BLOCKS, _BLOCK_OVERHEAD = 32, 32, 1024
_NUMBER = 4  # bytes


@dataclass(frozen=True)
class Shape:
    """The shape of a launch.

    Attributes:
      lanes: examples of a tile, a power of two.
      groups: threads for each example, likewise.
      blocks: number of blocks.
      memory: bytes that the threads of a block share.
      staging: place, in numbers, of what they add up there.
      staging_size: numbers of one half of it.
    """

    lanes: int
    groups: int
    blocks: int
    memory: int
    staging: int
    staging_size: int


def shape_of(num_qubits: int, batch: int, numbers: int, parts: int, multiprocessors: int, limit: int) -> Shape | None:
    """Returns the shape of a launch; None where not even one example fits into a multiprocessor.

    Args:
      num_qubits: of each state.
      batch: number of examples.
      numbers: real numbers for each amplitude, those of its cotangent with it.
      parts: real numbers that are added up at once at most; 0 for none, on the way forward.
      multiprocessors: of the GPU.
      limit: bytes that a block can have.
    """
    rows = 1 << num_qubits
    fewest = max(1, 2 * _WARP // rows)  # so that a warp has work
    lanes, most = _WARP, RESIDENT_THREADS_BACK if parts else RESIDENT_THREADS
    # Few examples are spread over most multiprocessors.
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
      parts: likewise.
      multiprocessors: likewise.
      limit: likewise.
    """
    rows, threads = 1 << num_bits, coset_threads(num_bits)
    size, staging = numbers * rows, parts * threads // _WARP
    memory = _NUMBER * (size + 2 * staging)
    resident = min(limit // (memory + _BLOCK_OVERHEAD) or 1, coset_blocks(num_bits, parts > 0))
    return Shape(1, threads, min(num_tiles, multiprocessors * resident), memory, size, staging)


def coset_threads(num_bits: int) -> int:
    """Returns the threads of a block for cosets of so many bits."""
    return max(_WARP, (1 << num_bits) // COSET_ROWS)


def coset_blocks(num_bits: int, backward: bool) -> int:
    """Returns how many such blocks of a multiprocessor have registers: while one waits, another one computes."""
    return max(1, (COSET_RESIDENT_BACK if backward else COSET_RESIDENT) // coset_threads(num_bits))


def demands(gates: np.ndarray, is_complex: bool, backward: bool) -> tuple[int, int]:
    """Returns what decides on the shape of a launch: `numbers` and `parts` of `shape_of`, the latter a power of two.

    Args:
      gates: of a table.
      is_complex: whether the amplitudes are.
      backward: whether it is the reverse pass.
    """
    if not backward:
        return 1 + is_complex, 0
    forms = [FORMS[kind] for kind in set(gates[:, KIND].tolist())]
    several = {("dense", 1, 0): MAX_SEVERAL_BACK}  # so many of these are done at once
    counts = [num_numbers(form) * several.get(form, 1) for form in forms if form[0] != "column"]
    parts = max(counts, default=0) * (1 + is_complex)
    return 2 * (1 + is_complex), _power_of_two(parts) if parts else 0


def _power_of_two(number: int) -> int:
    """Returns the least power of two that is not below the number."""
    return 1 << max(0, number - 1).bit_length()
