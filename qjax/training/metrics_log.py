"""The figures of a run over its steps: `metrics.jsonl` for programs and TensorBoard files for eyes.

A row is one JSON object, `{"step": 40, "split": "train", "time": 1760000000.0, "loss": 0.61, ...}`. After a resume
the rows beyond the restored step are cut off before the run writes them again, so the file has no gap and no
duplicate.

A line begins with a checksum of the rest of it, `{"crc32": "0a1b2c3d", "step": 40, ...`; lines of earlier versions
begin with the step. Both are read, and no flipped bit makes one from the other.
"""

import json
import math
import os
import re
import socket
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat

from qjax.checks import UserError, check, fail
from qjax.files import make_folder, open_append, report_errors, write_text
from qjax.untrusted import parse_json

LOG_NAME = "metrics.jsonl"
TENSORBOARD_NAME = "tensorboard"

Row = dict[str, Any]

_CHECKED = re.compile(rb'\{"crc32": "([0-9a-f]{8})", (.*)', re.DOTALL)
_UNCHECKED = b'{"step": '


class MetricsLog:
    """Appends rows to the log of a workdir; use it as a context manager, or call `close`.

    Args:
      workdir: the run's folder, made where it is missing.
      step: the restored step, 0 for a run that starts anew; rows of later steps are removed.

    Raises:
      UserError: a line of the log, other than a torn last one, is not a row.
    """

    def __init__(self, workdir: str | Path, step: int) -> None:
        path = Path(workdir) / LOG_NAME
        make_folder(path.parent)
        _cut_back(path, step)
        self._file = open_append(path)
        self._tensorboard = _TensorBoard(path.parent / TENSORBOARD_NAME, first_step=step + 1)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, step: int, split: str, values: Mapping[str, SupportsFloat]) -> None:
        """Appends one row with the time in seconds since 1970, handed to the operating system before this returns.

        Args:
          step: training step.
          split: what the values are of: 'train' or 'validation'.
          values: name -> number. JSON knows no NaN and no infinity: both are written as null.

        Raises:
          UserError: a value has the name of one of the row's own columns.
        """
        expectation = "leave the columns 'step', 'split' and 'time' to the row"
        for name in ("step", "split", "time"):
            check(name not in values, "values", expectation, sorted(values))
        numbers = {name: float(value) for name, value in values.items()}
        row: Row = {"step": step, "split": split, "time": round(time.time(), 3)}
        row |= {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        with report_errors(self._file.name):
            self._file.write(_line(row))
            self._file.flush()
        self._tensorboard.write(step, {f"{split}/{name}": value for name, value in numbers.items()})

    def close(self) -> None:
        """Closes both files."""
        with report_errors(self._file.name):
            self._file.close()
        self._tensorboard.close()


class _TensorBoard:
    """A file of TensorBoard's in `folder`, which passes over what older files hold from `first_step` on.

    Each row is handed to the operating system at once. The writer of tensorboardX has a thread for that, whose death
    on a full disk leaves the run waiting for ever.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from tensorboardX.proto import event_pb2  # here: a quarter of a second that no other mode needs to wait

        self._events = event_pb2
        make_folder(folder)
        # Two files of the same second would have the same name but for the end.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        with report_errors(folder):
            self._file = (folder / name).open("xb", buffering=0)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step, file_version="brain.Event:2")
        self._write(step=first_step, session_log=start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._write(step=step, summary=scalar(name, value))

    def close(self) -> None:
        self._file.close()

    def _write(self, **fields: Any) -> None:
        """Writes an event as TensorBoard's record: length, its checksum, the event, its checksum."""
        from tensorboardX.record_writer import masked_crc32c

        event = self._events.Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(event))
        checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, event)]
        with report_errors(self._file.name):
            self._file.write(length + checksums[0] + event + checksums[1])


def read_rows(workdir: str | Path) -> list[Row]:
    """The rows of a workdir's log in the order written; none where there is no log.

    A last line that a kill left torn is passed over.

    Raises:
      UserError: any other line is not a row as it was written; the message has its number.
    """
    path = Path(workdir) / LOG_NAME
    if not path.exists():
        return []
    rows: list[Row] = []
    *lines, last = path.read_bytes().split(b"\n")
    if b"}" in last[:-1]:  # not torn, for a row ends with its bracket: what stood behind it was the end of the line
        lines.append(last)
    for number, line in enumerate(lines, start=1):
        row = _read_line(line)
        if row is None:
            expectation = "be a row as it was written: restore the file, or delete the line to go on without it"
            fail(f"{path}, line {number}", expectation, repr(line[:80]))
        rows.append(row)
    return rows


def _line(row: Row) -> str:
    rest = json.dumps(row, allow_nan=False)[1:]
    return f'{{"crc32": "{zlib.crc32(rest.encode()):08x}", {rest}\n'


def _read_line(line: bytes) -> Row | None:
    """Returns the row of a line without its end, None where it is none or another than was written."""
    text, checked = line, _CHECKED.fullmatch(line)
    if checked:
        text = b"{" + checked[2]
        if zlib.crc32(checked[2]) != int(checked[1], 16):
            return None
    elif not line.startswith(_UNCHECKED):
        return None
    try:
        row = parse_json(text, LOG_NAME)
    except UserError:
        return None
    return row if isinstance(row.get("step"), int) else None


def _cut_back(path: Path, step: int) -> None:
    """Replaces the log by its rows up to `step`, in one rename."""
    if not path.exists():
        return
    kept = [row for row in read_rows(path.parent) if row["step"] <= step]
    write_text(path, "".join(map(_line, kept)))
