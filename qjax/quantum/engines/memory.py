"""How much memory a simulation needs, and whether the device has it."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from qjax.checks import fail

# States that are alive at once while a stage is applied: the old one, the new one and a part in work.
STATES_IN_USE = 3

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def state_bytes(num_qubits: int, batch: int, dtype: Any) -> int:
    """Returns the size of `batch` states, in bytes.

    Args:
      num_qubits: n, for 2**n amplitudes each.
      batch: number of states.
      dtype: real dtype of the simulation; an amplitude is two of them.

    >>> state_bytes(20, 1, "float32")
    8388608
    """
    return int(2**num_qubits * batch * 2 * jnp.dtype(dtype).itemsize)


@lru_cache(maxsize=1)
def device_bytes() -> int:
    """Returns the memory of this process's first device in bytes; on a CPU the part that the process may use."""
    device = jax.local_devices()[0]  # of a process on several hosts, jax.devices() begins with another host's
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return int(limit)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def check_matrix_fits(num_qubits: int, dtype: Any) -> None:
    """Raises a `UserError` where the matrix of a circuit, 2**n states, cannot be in the device's memory."""
    needed = STATES_IN_USE * state_bytes(2 * num_qubits, 1, dtype)
    available = device_bytes()
    if needed > available:
        largest = max((available // (STATES_IN_USE * state_bytes(0, 1, dtype))).bit_length() - 1, 0) // 2
        expectation = f"be at most {largest} for a matrix on this device, which has {show_bytes(available)}"
        fail("num_qubits", expectation, f"{num_qubits} qubits, which need {show_bytes(needed)}")


def fits(num_qubits: int, batch: int, dtype: Any) -> bool:
    """Returns whether a batch of states, and those that a stage makes of it, fit into the device's memory."""
    return STATES_IN_USE * state_bytes(num_qubits, batch, dtype) <= device_bytes()


def check_fits(num_qubits: int, batch: int, dtype: Any) -> None:
    """Raises a `UserError` if a batch of states, and those that a stage makes of it, exceed the device's memory."""
    if not fits(num_qubits, batch, dtype):
        needed, available = STATES_IN_USE * state_bytes(num_qubits, batch, dtype), device_bytes()
        largest = max((available // (STATES_IN_USE * state_bytes(0, batch, dtype))).bit_length() - 1, 0)
        fail(
            "num_qubits",
            f"be at most {largest} with a batch of {batch} on this device, which has {show_bytes(available)}",
            f"{num_qubits} qubits, which need {show_bytes(needed)} ({STATES_IN_USE} states at once)",
        )


def check_bytes(needed: int, num_qubits: int, batch: int, gradient: bool, before: str = "") -> None:
    """Raises a `UserError` if a run needs more bytes than the device's memory has.

    Args:
      needed: bytes that a run holds at its peak.
      num_qubits: of the circuit.
      batch: number of examples.
      gradient: whether the reverse pass is part of the run.
      before: advice on what takes less memory, said before the advice that always holds.
    """
    available = device_bytes()
    if needed > available:
        advice = before + ("a smaller batch" if batch > 1 else "fewer qubits")
        run = "a gradient" if gradient else "a run"
        fail(
            "num_qubits",
            f"leave {run} within this device's memory of {show_bytes(available)} ({advice} takes less)",
            f"{num_qubits} qubits with a batch of {batch}, which need {show_bytes(needed)}",
        )


def show_bytes(count: int) -> str:
    """Returns the count in the unit that suits it, or as the nearest power of 2 below where none does.

    >>> show_bytes(3 * 2**20), show_bytes(3 * 2**99)
    ('3.0 MiB', 'over 2^100 bytes')
    """
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = max(count.bit_length() - 1, 0) // 10
    if power >= len(units):
        return f"over 2^{count.bit_length() - 1} bytes"
    return f"{count / 2 ** (10 * power):,.1f} {units[power]}" if power else f"{count} bytes"
