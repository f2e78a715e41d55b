"""Errors of a disk among others, and what libraries say of them."""

import contextlib
import errno
import logging

import pytest

from qjax.checks import UserError
from qjax.training.disk import refusal, silence_echoes
from qjax.training.lock import workdir_lock
from qjax.training.metrics_log import MetricsLog


def caused_by(cause):
    try:
        try:
            raise cause
        except OSError as error:
            raise RuntimeError("thread failed") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "file"), "No space left on device"),
        (OSError("of no number"), "of no number"),
        (
            ValueError("Failed to write 6 bytes: No space left on device [os_error_code='28']"),
            "No space left on device",
        ),
        (ValueError("PERMISSION_DENIED: Error opening: Read-only file system"), "Read-only file system"),
        (caused_by(OSError(errno.EDQUOT, "Disk quota exceeded")), "Disk quota exceeded"),
        (ZeroDivisionError("division by zero"), None),
        (RuntimeError("Event loop is closed"), None),
    ],
)
def test_reason_of_an_error(error, reason):
    assert refusal(error) == reason


def test_only_what_orbax_says_of_its_own_errors_is_passed_over(caplog):
    silence_echoes()
    full, bug = OSError(errno.ENOSPC, "No space left on device"), ZeroDivisionError()
    for name, path, text, error in [
        ("absl", "/site-packages/orbax/futures.py", "run() raised an exception", bug),
        ("absl", "/qjax/other.py", "kept", full),
        ("asyncio", "/asyncio/events.py", "Task exception was never retrieved, defined at /orbax/save.py", bug),
        ("asyncio", "/asyncio/events.py", "Future exception was never retrieved", full),
        ("asyncio", "/asyncio/events.py", "kept too", bug),
    ]:
        logger = logging.getLogger(name)
        raised = (type(error), error, None)
        logger.handle(logging.LogRecord(name, logging.ERROR, path, 1, text, None, raised))
    assert caplog.messages == ["kept", "kept too"]


# A disk without any space -------------------------------------------------------------------------------------------


def fill(folder):
    """Takes all space of a disk."""
    with contextlib.suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


def test_lock(small_disk):
    disk = small_disk(64)
    fill(disk)
    message = r"disk/run/\.lock` must be writable, .*No space left"
    with pytest.raises(UserError, match=message), workdir_lock(disk / "run"):
        pass


@pytest.mark.parametrize("is_full_at_once", [True, False])
def test_metrics_log(small_disk, is_full_at_once):
    disk = small_disk(64)
    if is_full_at_once:
        fill(disk)

    def write_rows():
        with MetricsLog(disk, 0) as log:
            log.write(1, "train", {"loss": 0.5})
            fill(disk)
            for step in range(2, 1000):  # all that a page of the file may hold, and what any queue may
                log.write(step, "train", {"loss": 0.5})

    with pytest.raises(UserError, match=r"disk/(metrics\.jsonl|tensorboard/.*)` must be writable, .*No space left"):
        write_rows()
