"""One run a workdir: an advisory lock that the operating system drops when its holder dies, however it dies."""

import contextlib
import datetime
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from qjax.checks import fail
from qjax.files import make_folder, open_append

LOCK_NAME = ".lock"


@contextlib.contextmanager
def workdir_lock(workdir: str | Path) -> Iterator[None]:
    """Holds the lock of `workdir`, making the folder where it is missing.

    The lock is the kernel's (`flock`) on `workdir/.lock`; the text in that file only says who holds it. A file left
    by a killed run is therefore no obstacle, and it is not deleted: a run that had just opened it would then hold
    the lock of a file that nobody else finds.

    Raises:
      UserError: another run, in this process or another one, holds the lock; the file system has no locks or refuses
        to write; or the lock's file is a link.
    """
    path = Path(workdir) / LOCK_NAME
    make_folder(path.parent)
    with open_append(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "a process that has not said its name"
            fail("workdir", "not be in use by another run", f"{workdir}, in use by {holder}")
        except OSError as error:
            fail("workdir", "be on a file system that can lock files", f"{workdir} ({error})")
        try:
            started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            _write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}, started {started}\n")
            yield
        finally:
            _write(file.fileno(), "")  # closing the file drops the lock


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())
