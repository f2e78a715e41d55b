import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qjax.checks import UserError
from qjax.training.lock import workdir_lock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from qjax.training.lock import workdir_lock
with workdir_lock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def start_holder(workdir):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, workdir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert child.stdout.readline() == "locked\n"
    return child


def test_refuses_a_live_workdir_and_takes_a_killed_ones(tmp_path):
    workdir = tmp_path / "run"
    child = start_holder(workdir)
    try:
        with (
            pytest.raises(UserError, match=r"`workdir` must not be in use by another run") as caught,
            workdir_lock(workdir),
        ):
            pass
        assert f"process {child.pid} on {socket.gethostname()}, started 20" in str(caught.value)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert (workdir / ".lock").read_text()  # the killed run's text is still there
    with workdir_lock(workdir):
        assert f"process {os.getpid()} " in (workdir / ".lock").read_text()


def test_is_free_after_a_clean_end(tmp_path):
    child = start_holder(tmp_path)
    child.communicate("")
    assert child.returncode == 0
    with workdir_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_leaves_no_folder_that_it_made_unless_something_is_in_it(tmp_path):
    with pytest.raises(KeyError), workdir_lock(tmp_path / "a" / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with workdir_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]


def test_a_refused_run_leaves_the_lock_to_its_holder(tmp_path):
    with workdir_lock(tmp_path):
        with pytest.raises(UserError), workdir_lock(tmp_path):
            pass
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_a_lock_is_held_by_one_at_a_time_though_its_file_is_removed(tmp_path):
    inside, together, taken = [], [], []

    def work():
        while len(taken) < 200:
            with contextlib.suppress(UserError), workdir_lock(tmp_path):
                inside.append(1)
                together.append(len(inside))
                taken.append(1)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(together) == {1}
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match=r"\.lock` must be writable, but got a link"), workdir_lock(tmp_path / "run"):
        pass
    assert (tmp_path / "target").read_text() == "mine"


def test_refuses_twice_in_one_process(tmp_path):
    with (
        workdir_lock(tmp_path),
        pytest.raises(UserError, match=f"process {os.getpid()} "),
        workdir_lock(tmp_path),
    ):
        pass


def test_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), workdir_lock(tmp_path):
        raise KeyError
    with workdir_lock(tmp_path):
        pass


def test_locks_of_two_workdirs_are_separate(tmp_path):
    with workdir_lock(tmp_path / "a"), workdir_lock(tmp_path / "b"):
        assert (tmp_path / "a" / ".lock").read_text() == (tmp_path / "b" / ".lock").read_text()


def test_tells_of_a_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with (
        pytest.raises(UserError, match=r"be on a file system that can lock files.*No locks available"),
        workdir_lock(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
