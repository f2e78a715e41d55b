"""Joining the processes of a run on several hosts."""

import os

import jax

from qjax.checks import check

# Seconds without a sign of life after which a worker counts as dead; JAX's own default is 100.
HEARTBEAT_TIMEOUT = 10
# Seconds that a process at its end waits for the others; JAX's own default is 300. One that failed alone keeps its
# heartbeat while it waits, so this bounds how long the others hang in their next collective. The first process needs
# time for the report, whose figures may want a font cache first.
SHUTDOWN_TIMEOUT = 120


def join_cluster() -> None:
    """Connects this process to its peers where `QJAX_DISTRIBUTED` is set; call before anything uses a device.

    JAX finds them from Slurm, Open MPI, Kubernetes or a TPU's metadata. Elsewhere `JAX_COORDINATOR_ADDRESS`
    (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` say it.

    Raises:
      UserError: a variable is set but is not a number.
    """
    if os.environ.get("QJAX_DISTRIBUTED", "0") in ("", "0") or jax.distributed.is_initialized():
        return
    jax.distributed.initialize(
        num_processes=_number("JAX_NUM_PROCESSES"),
        process_id=_number("JAX_PROCESS_ID"),
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
    )


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    check(not text or text.isdecimal(), variable, "be a number from 0", repr(text))
    return int(text) if text else None
