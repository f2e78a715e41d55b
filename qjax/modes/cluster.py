"""Joining the processes of a run on several hosts: they start together, stop at the same step and end together."""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from jax._src import distributed  # the client of the coordinator's key-value store has no public name

from qjax import signals
from qjax.checks import UserError, check

# Seconds without a sign of life after which a worker counts as dead; JAX's own default is 100.
HEARTBEAT_TIMEOUT = 10
# Seconds between two looks at what the others have to say.
_PERIOD = 0.25
# Seconds that processes have to answer each other; each does so in a thread that waits for nothing else.
_ANSWER_TIMEOUT = 20
_LAST_ONE_WAITS = 1
_A_YEAR = 365 * 24 * 3600

# Names in the coordinator's store. A name is set once, by whoever is first.
_STOP, _END = "qjax/said/stop", "qjax/said/end"
_SAID = "qjax/said/"


class Peers:
    """The processes of a run, of which this is one.

    A thread reads what any of them has said to all: that a signal asks to stop, or that it has ended.
    """

    def __init__(self, client: Any, *, index: int, count: int) -> None:
        self.client, self.index, self.count = client, index, count
        self.request = AgreedRequest(self)
        self._ending = threading.Lock()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="peers", daemon=True)
        self._thread.start()

    def say(self, name: str, text: str) -> None:
        """Sets `name` for all to read, unless somebody has."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self.client.key_value_set(name, text)

    def gather(self, name: str, text: str) -> list[str]:
        """Returns the texts that the processes have given under `name`, in their order; waits for all."""
        self.say(f"qjax/{name}/{self.index}", text)
        timeout = 1000 * _ANSWER_TIMEOUT
        return [self.client.blocking_key_value_get(f"qjax/{name}/{i}", timeout) for i in range(self.count)]

    def end(self, line: str, status: int, *, trace: str = "") -> NoReturn:
        """Ends all processes, this one with `line` as its last and the others with a line that quotes it."""
        self.say(_END, f"{status} Process {self.index} of {self.count} has ended: {line}")
        self._end_here(trace or line, status)

    def finish(self) -> None:
        """Returns when all processes have come here."""
        self.client.wait_at_barrier("qjax/finished", 1000 * _A_YEAR)
        self._finished.set()
        self._thread.join()

    def _end_here(self, line: str, status: int) -> NoReturn:
        with self._ending:  # never released: whoever of this process's threads is first speaks, and no other
            signals.say_end(line, status)
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                self.gather("gone", "")  # one that was still at work would take an absence for a failure
                if self.index == 0:  # it holds the store, without which JAX ends the others with lines of its own
                    time.sleep(_LAST_ONE_WAITS)
            os._exit(status)

    def _listen(self) -> None:
        while not self._finished.wait(_PERIOD):
            try:
                said = dict(self.client.key_value_dir_get(_SAID))
                if _STOP in said and self.request.signal is None:
                    self.request.agree(said[_STOP])
            except jax.errors.JaxRuntimeError:  # no coordinator any more; JAX ends the process soon
                continue
            if _END in said:
                status, _, line = said[_END].partition(" ")
                self._end_here(line, int(status))


class AgreedRequest(signals.StopRequest):
    """A request that ends the blocks of all processes at the same poll: all of them poll equally often.

    While they agree, none of them goes beyond the poll that it has come to.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._num_polls = 0
        self._last_poll = sys.maxsize

    def ask(self, name: str) -> None:
        self._peers.say(_STOP, name)

    def poll(self) -> str | None:
        self.is_polled = True
        with self._lock:
            self._num_polls += 1
            return self.signal if self._num_polls >= self._last_poll else None

    def agree(self, name: str) -> None:
        """Sets the poll at which all are to stop: the next one of the process that has come farthest."""
        with self._lock:
            self._last_poll = 1 + max(map(int, self._peers.gather("polls", str(self._num_polls))))
            self.signal = name


def join_cluster() -> Peers | None:
    """Connects this process to its peers where `QJAX_DISTRIBUTED` is set; call before anything uses a device.

    JAX finds them from Slurm, Open MPI, Kubernetes or a TPU's metadata. Elsewhere `JAX_COORDINATOR_ADDRESS`
    (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` say it.

    Returns:
      The peers; None where there are none.

    Raises:
      UserError: a variable is set but is not a number.
    """
    if os.environ.get("QJAX_DISTRIBUTED", "0") in ("", "0") or jax.distributed.is_initialized():
        return None
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and knows no SIGINT
    jax.distributed.initialize(
        num_processes=_number("JAX_NUM_PROCESSES"),
        process_id=_number("JAX_PROCESS_ID"),
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
    )
    state = distributed.global_state
    return Peers(state.client, index=state.process_id, count=state.num_processes)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the cluster, if there is one. Its processes end together: when all are done, or when one ends early."""
    peers = join_cluster()
    if peers is None:
        yield
        return
    signals.connect(make_request=lambda: peers.request, end=peers.end)
    try:
        yield
    except UserError:
        raise  # `main` ends the command with its message
    except Exception as error:
        peers.end(f"{type(error).__name__}: {error}", 1, trace=traceback.format_exc())
    peers.finish()


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    check(not text or text.isdecimal(), variable, "be a number from 0", repr(text))
    return int(text) if text else None
