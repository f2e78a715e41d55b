"""One run a workdir: an advisory lock that the operating system drops when its holder dies, however it dies."""

import contextlib
import datetime
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from qjax.checks import fail
from qjax.files import make_folder, open_append, report_errors

LOCK_NAME = ".lock"


@contextlib.contextmanager
def workdir_lock(workdir: str | Path) -> Iterator[None]:
    """Holds the lock of `workdir`, making the folder where it is missing.

    The lock is the kernel's (`flock`) on `workdir/.lock`; the text in that file only says who holds it, and a file
    left by a killed run is no obstacle. At the end the file is removed, and with it every folder that was made for it
    and holds nothing else: a refused command leaves no trace.

    Raises:
      UserError: another run, in this process or another one, holds the lock; the file system has no locks or refuses
        to write; or the lock's file is a link.
    """
    path = Path(workdir) / LOCK_NAME
    made = [folder for folder in (path.parent, *path.parent.parents) if not os.path.exists(folder)]
    try:
        make_folder(path.parent, argument="--workdir")
        with _open_locked(path) as file:
            try:
                started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
                with report_errors(path):
                    holder = f"process {os.getpid()} on {socket.gethostname()}, started {started}\n"
                    _write(file.fileno(), holder)
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()  # closing the file drops the lock, so that nobody else's file is removed
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _write(descriptor: int, text: str) -> None:
    """Replaces what a file holds; of a buffer the rest would be written when the file is closed, and fail again."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())


def _open_locked(path: Path) -> TextIO:
    """Returns the file of the lock, locked, and still the one that `path` names."""
    while True:
        with contextlib.ExitStack() as on_failure:
            file = on_failure.enter_context(open_append(path, "a+"))
            _lock(file, path)
            if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                on_failure.pop_all()
                return file  # else the run before removed it between opening and locking


def _lock(file: TextIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "a process that has not said its name"
        fail("workdir", "not be in use by another run", f"{path.parent}, in use by {holder}")
    except OSError as error:
        path.unlink()
        fail("workdir", "be on a file system that can lock files", f"{path.parent} ({error})")
