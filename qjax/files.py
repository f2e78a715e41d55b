"""Writing files: a reader sees the old file or the new one, whole; no link is followed; errors name the file.

All that qjax writes into a workdir or its cache goes through here, except what orbax and TensorBoard write into
folders of their own.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from qjax.checks import check, fail

# A file or folder that is being made: random, so that a name is never used twice. Its maker holds a lock on it.
_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")
# Those of earlier versions, which held no lock.
_OLD_PARTIAL = re.compile(r"tmp\w{8}\.partial|\.config\.json\.\d+")
_DAY = 24 * 3600

# Folders of a workdir that a run writes.
_FOLDERS = ("checkpoints", "encoder", "export", "not_finite_step_*", "tensorboard")


@contextlib.contextmanager
def report_errors(path: str | Path) -> Iterator[None]:
    """Raises each `OSError` of the block (full disk, no permission, ...) as a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        reason = "a link" if error.errno == errno.ELOOP else f"the error: {error.strerror or error}"
        fail(str(path), "be writable", reason)


def make_folder(path: str | Path, *, argument: str | None = None) -> None:
    """Makes the folder and those above it where they are missing.

    Args:
      path: of the folder.
      argument: what named it, for the message; None takes the path.

    Raises:
      UserError: it cannot be made, or something else has its name.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expectation = "be a folder that can be written to"
        fail(argument or str(path), expectation, f"the error: {error.strerror}: {error.filename}")


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[BinaryIO]:
    """Gives a binary file to write, which becomes `path` at the end of the block, in place of what was there.

    Until then it lies beside `path` under a name of its own. It is on the disk before it is renamed, and it is
    removed where the block raises. Its mode is by the umask. A link called `path` is replaced, not followed.

    Raises:
      UserError: the system refused to write.
    """
    path = Path(path)
    with report_errors(path):
        temporary, descriptor = _make_partial(path.parent, is_folder=False)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
                temporary.replace(path)
            flush_to_disk(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a file whole or not at all, as `new_file` does."""
    with new_file(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes a file of UTF-8 text whole or not at all, as `new_file` does; line ends stay as they are."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def scratch_folder(parent: str | Path) -> Iterator[Path]:
    """Gives an empty folder in `parent`, which is removed at the end of the block with what is left in it.

    What is made in it becomes visible by renaming it to where it belongs.

    Raises:
      UserError: the system refused to write.
    """
    with report_errors(parent):
        folder, descriptor = _make_partial(Path(parent), is_folder=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def open_append(path: str | Path, mode: str = "a") -> TextIO:
    """Opens a file of UTF-8 text to append to, made where it is missing; its mode is by the umask.

    Args:
      path: of the file.
      mode: 'a', or 'a+' to read it too.

    Raises:
      UserError: `path` is a link, or the system refused.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o666)

    with report_errors(path):
        return open(path, mode, encoding="utf-8", errors="replace", newline="\n", opener=opener)  # type: ignore[return-value]


def flush_to_disk(path: Path) -> None:
    """Returns when the file's bytes, or the folder's entries, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder: str | Path) -> None:
    """Removes what killed processes left half made in `folder`; what a live one is making stays.

    Called before anything new is made in a folder.
    """
    names: list[str] = []
    with contextlib.suppress(OSError):  # no such folder, or not ours to read
        names = os.listdir(folder)
    for name in names:
        is_old = bool(_OLD_PARTIAL.fullmatch(name))
        if is_old or _PARTIAL.fullmatch(name):
            with contextlib.suppress(OSError):  # somebody else's, or gone by now
                _remove_if_stale(Path(folder, name), min_age=_DAY if is_old else 0)


def check_writable(folder: str | Path, argument: str) -> None:
    """Raises a `UserError` unless `folder` can be written to, or be made; makes nothing."""
    top = Path(folder).absolute()
    nearest = next(path for path in (top, *top.parents) if os.path.lexists(path))
    can_write = os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)
    check(can_write, argument, "be a folder that can be written to", f"{folder}, which cannot")


def check_no_links(workdir: str | Path) -> None:
    """Raises where what a run writes or reads in `workdir` is a link, as in a copy from an untrusted place.

    The workdir itself may be one, and so may its folder `checkpoints`, which a person may have put on another disk.

    Raises:
      UserError: names the link.
    """
    for path in _entries(Path(workdir)) if os.path.isdir(workdir) else ():
        finding = f"{path}, a link to {path.readlink()}" if path.is_symlink() else ""
        check(not finding, "--workdir", "hold no links, save for its folder checkpoints", finding)


def _entries(workdir: Path) -> Iterator[Path]:
    """Yields what lies in a workdir and in the folders that a run writes; links are not entered."""
    yield from (path for path in workdir.iterdir() if path.name != "checkpoints")
    for pattern in _FOLDERS:
        for top in workdir.glob(pattern):
            for root, folders, files in os.walk(top):
                yield from (Path(root, name) for name in (*folders, *files))


def _make_partial(folder: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Makes an empty file or folder and returns its path and a descriptor that holds its lock."""
    remove_stale(folder)
    while True:
        path = folder / f".{secrets.token_hex(8)}.partial"
        try:
            if is_folder:
                path.mkdir()
            flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            if folder.is_dir():
                continue  # another process took the new folder for stale
            raise
        with contextlib.suppress(OSError):  # no locks on this file system: `_remove_if_stale` goes by age
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():  # else another process took it for stale
            return path, descriptor
        os.close(descriptor)


def _remove_if_stale(path: Path, *, min_age: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            min_age = _DAY
        if time.time() - os.fstat(descriptor).st_mtime >= min_age:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
