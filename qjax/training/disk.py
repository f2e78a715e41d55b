"""What the system says when it refuses to write, found in the errors of libraries that write in their own threads."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

# Full, read-only or failing disks, quotas and limits, and paths that cannot be.
_REFUSALS = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EMFILE,
        errno.ENFILE,
    )
)


def refusal(error: BaseException | None) -> str | None:
    """Returns why the system refused to write, or None where `error` is another one.

    By the layer that was writing it comes as an `OSError`, in the text of another error, or as its cause.
    """
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        reason = next((text for text in _REFUSALS if text in str(error)), None)
        if reason is not None:
            return reason
        error = error.__cause__ or error.__context__
    return None


class _Echo(logging.Filter):
    """Passes over what orbax logs, with a traceback each, of errors that one of its methods then raises.

    A full disk is a dozen of them. Those that nobody waited for come by way of asyncio.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        if record.name == "absl":
            return "orbax" not in record.pathname
        error = record.exc_info[1] if record.exc_info else None
        return "orbax" not in record.getMessage() and refusal(error) is None


def silence_echoes() -> None:
    """Lets an error of orbax's be said once, where it is raised."""
    for name in ("absl", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Echo) for known in logger.filters):
            logger.addFilter(_Echo())
    if not isinstance(sys.unraisablehook, _LateThreads):
        sys.unraisablehook = _LateThreads(sys.unraisablehook)


class _LateThreads:
    """Passes over what tensorstore's threads print where orbax, upon an error, has stopped waiting for them."""

    def __init__(self, hook: Callable[[Any], Any]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)
