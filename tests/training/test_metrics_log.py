import binascii
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from qjax.checks import UserError
from qjax.training.metrics_log import MetricsLog, read_rows

ROOT = Path(__file__).parents[2]
LOG_UNTIL_KILLED = """
import itertools, sys
from qjax.training.metrics_log import MetricsLog
with MetricsLog(sys.argv[1], 0) as log:
    for step in itertools.count(1):
        log.write(step, "train", {"loss": 1 / step})
        if step == 200:
            print("ready", flush=True)
"""


NOW = 1760000000.0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5  # the feeder of a closed multiprocessing queue ends a moment later
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def lines(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


def read_events(workdir):
    """The TensorBoard events in order of writing, by the record format: length, 4 bytes of CRC, data, 4 of CRC."""
    events = []
    paths = [*(workdir / "tensorboard").iterdir()]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def test_writes_one_json_object_a_line_at_once(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(20, "train", {"loss": 0.5, "count": 3, "array": jnp.asarray(2.0), "float32": np.float32(0.1)})
        log.write(20, "validation", {"accuracy": 1})
        assert read_rows(tmp_path) == [  # before the file is closed
            {
                "step": 20,
                "split": "train",
                "time": NOW,
                "loss": 0.5,
                "count": 3.0,
                "array": 2.0,
                "float32": float(np.float32(0.1)),
            },
            {"step": 20, "split": "validation", "time": NOW, "accuracy": 1.0},
        ]


def test_writes_null_for_what_json_cannot_hold(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"a": float("nan"), "b": float("inf"), "c": -np.inf, "d": 1.0})
    row = json.loads(lines(tmp_path)[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    del row["crc32"]
    assert row == {"step": 1, "split": "train", "time": NOW, "a": None, "b": None, "c": None, "d": 1.0}


def test_resumed_log_equals_an_uninterrupted_one(tmp_path):
    def write(log, steps):
        for step in steps:
            log.write(step, "train", {"loss": 1 / (step + 1)})
            if step % 4 == 0:
                log.write(step, "validation", {"loss": 3 / (step + 1)})

    with MetricsLog(tmp_path / "whole", 0) as log:
        write(log, range(1, 13))
    with MetricsLog(tmp_path / "cut", 0) as log:
        write(log, range(1, 11))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "split": "tr')
    with MetricsLog(tmp_path / "cut", 8) as log:
        assert [row["step"] for row in read_rows(tmp_path / "cut")] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
        write(log, range(9, 13))
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_a_run_that_starts_anew_drops_rows_without_a_checkpoint(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"loss": 1.0})
    with MetricsLog(tmp_path, 0):
        assert read_rows(tmp_path) == []


def test_tensorboard_holds_the_values_and_purges_what_is_cut(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"loss": 0.5})
        log.write(2, "train", {"loss": 0.25})
    with MetricsLog(tmp_path, 1) as log:
        log.write(2, "train", {"loss": 0.125})
    events = read_events(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert scalars == [(1, "train/loss", 0.5), (2, "train/loss", 0.25), (2, "train/loss", 0.125)]
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts == [1, 2]  # TensorBoard drops what earlier files hold from these steps on


def test_a_killed_run_leaves_whole_rows(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", LOG_UNTIL_KILLED, tmp_path],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with MetricsLog(tmp_path, 150):
        assert [row["step"] for row in read_rows(tmp_path)] == list(range(1, 151))


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b'{"step": 2', b"\xff\xfe{", b"3"])
def test_a_torn_last_line_is_passed_over(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + torn)
    assert read_rows(tmp_path) == [{"step": 1}]
    with MetricsLog(tmp_path, 5):
        assert read_rows(tmp_path) == [{"step": 1}]
        assert lines(tmp_path)[0].startswith('{"crc32": "')  # which the row of an earlier version has now


def test_the_checksum_is_of_the_rest_of_the_line(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"loss": 0.5})
    line = (tmp_path / "metrics.jsonl").read_bytes()
    rest = b'"step": 1, "split": "train", "time": %s, "loss": 0.5}' % str(NOW).encode()
    assert line == b'{"crc32": "%08x", %s\n' % (binascii.crc32(rest), rest)


def test_every_flipped_bit_is_found_and_the_line_said(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write(step, "validation", {"loss": 0.5 / step, "accuracy": 0.75})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for place in range(len(whole)):
        number = whole[:place].count(b"\n") + 1
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(UserError, match=rf"metrics.jsonl, line {number}` must be a row as it was written"):
                read_rows(tmp_path)


@pytest.mark.parametrize("size", range(1, 60))
def test_a_row_torn_anywhere_is_passed_over(tmp_path, size):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"loss": 0.5})
        log.write(2, "train", {"loss": 0.5})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-size])
    assert [row["step"] for row in read_rows(tmp_path)] == [1]


@pytest.mark.parametrize("line", [b"{'step': 2}", b"[2]", b'{"loss": 2}', b"\xff", b""])
def test_refuses_any_other_bad_line_and_changes_nothing(tmp_path, line):
    content = b'{"step": 1}\n' + line + b'\n{"step": 3}\n'
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2` must be a row as it was written"):
        MetricsLog(tmp_path, 5)
    assert (tmp_path / "metrics.jsonl").read_bytes() == content


def test_refuses_the_names_of_its_own_columns(tmp_path):
    with (
        MetricsLog(tmp_path, 0) as log,
        pytest.raises(UserError, match="`values` must leave the columns 'step', 'split' and 'time'"),
    ):
        log.write(1, "train", {"step": 3})


def test_no_log_has_no_rows(tmp_path):
    assert read_rows(tmp_path) == []
