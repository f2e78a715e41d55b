"""SIGTERM and SIGINT (Ctrl-C): how a command ends when one of them asks it to, and what it says.

A thread reads the signals as they come: a handler of Python's would wait for whatever runs in C++, and a compilation
takes minutes. Where nothing is lost by it, the command ends at once, with one line. A block that has something to
save takes a `StopRequest` instead, see `deferred`. A second signal of the same kind ends the command in any case.
"""

import collections
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

CAUGHT = (signal.SIGTERM, signal.SIGINT)
# What Python's handler adds to a signal's number, to tell its byte from that of the handler in C.
_BY_PYTHON = 128
# The byte that ends the thread.
_LAST = 0


class StopError(Exception):
    """Raised by `StopRequest.check`: the block that asked is to end and save."""


class StopRequest:
    """Whether a signal asks a block to end.

    Attributes:
      signal: name of the signal, None while there is none.
      is_polled: whether the block has begun to poll. Until then, in compilations say, it has nothing to save.
    """

    signal: str | None = None
    is_polled: bool = False

    def ask(self, name: str) -> None:
        """Takes in the signal called `name`."""
        self.signal = name

    def poll(self) -> str | None:
        """Returns the signal once the block is to end."""
        self.is_polled = True
        return self.signal

    def check(self) -> None:
        """Raises a `StopError` once the block is to end."""
        if self.poll() is not None:
            raise StopError


def say_end(line: str, status: int) -> int:
    """Prints the last line of a command, to standard output where the status is 0, and returns the status."""
    print(line, file=sys.stderr if status else sys.stdout, flush=True)
    return status


class _Command:
    """What this process does, and what a signal is to do to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.resumable = False
        self.phase = "in start-up"
        self.request: StopRequest | None = None
        self.missed: str | None = None  # a signal that came when the deferred block looked no more
        self.make_request: Callable[[], StopRequest] = StopRequest
        self.end: Callable[[str, int], int] = say_end

    def arrived(self, name: str) -> None:
        with self.lock:
            if self.request is not None and self.request.is_polled:
                self.missed = name
                self.request.ask(name)
            else:
                self.stop(name)

    def stop(self, name: str) -> None:
        """Ends the process."""
        status = 0 if self.resumable else 128 + signal.Signals[name]
        line = f"Stopped by {name} {self.phase}. Run the same command {'to go on' if self.resumable else 'again'}."
        if sys.stderr.isatty():
            line = "\n" + line  # below a progress bar
        with contextlib.suppress(OSError, ValueError):
            self.end(line, status)
        os._exit(status)


_command = _Command()


def set_resumable() -> None:
    """Says that the same command goes on where it was stopped, so that a stop is no failure: its status is 0."""
    _command.resumable = True


def set_phase(phase: str) -> None:
    """Sets what a signal finds the command doing, completing "Stopped by SIGTERM ...".

    Ends the process here where a signal came at the end of a deferred block, too late for it.
    """
    with _command.lock:
        _command.phase = phase
        if _command.missed is not None and _command.request is None:
            _command.stop(_command.missed)


def end(line: str, status: int) -> int:
    """Ends the command with `line`: returns the status, or, where there are several processes, ends all of them."""
    return _command.end(line, status)


def connect(*, make_request: Callable[[], StopRequest], end: Callable[[str, int], int]) -> None:
    """Lets several processes act as one: their requests are made by `make_request`, and they end by `end`."""
    _command.make_request, _command.end = make_request, end


@contextlib.contextmanager
def deferred() -> Iterator[StopRequest]:
    """Lets a signal that comes after the block's first poll of its request wait until the next."""
    request = _command.make_request()
    with _command.lock:
        _command.request = request
    try:
        yield request
    finally:
        with _command.lock:
            _command.request = None


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Catches both signals inside the block; outside the main thread, where Python cannot, it does nothing."""
    global _command
    _command = _Command()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def handle(number: int, _: Any) -> None:
        os.write(writer, bytes([number + _BY_PYTHON]))

    previous = {number: signal.getsignal(number) for number in CAUGHT}
    previous_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_read, args=(reader, _command), name="signals", daemon=True)
    thread.start()
    for number in CAUGHT:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_writer)
        os.write(writer, bytes([_LAST]))
        thread.join()
        os.close(writer)
        os.close(reader)


def _read(reader: int, command: _Command) -> None:
    """Acts on each signal once, though two bytes come of it.

    The byte of the handler in C comes at once, unless an event loop of the main thread has taken its place for a
    moment; that of Python's comes in any case.
    """
    bytes_of, num_seen = collections.Counter[int](), collections.Counter[int]()
    while (byte := os.read(reader, 1)[0]) != _LAST:
        number = byte % _BY_PYTHON
        bytes_of[byte] += 1
        if max(bytes_of[number], bytes_of[number + _BY_PYTHON]) == num_seen[number]:
            continue
        num_seen[number] += 1
        if number not in CAUGHT:
            continue
        if num_seen[number] > 1:
            os._exit(128 + number)
        command.arrived(signal.Signals(number).name)
