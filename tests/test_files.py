"""Writing files: whole or not at all, with the umask's mode, through no link, leaving nothing behind."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qjax import files
from qjax.checks import UserError

ROOT = Path(__file__).parents[1]
DAY = 24 * 3600

# Makes a file and a folder, says so, and stays.
MAKER = """
import sys, time
from qjax import files
with files.new_file(sys.argv[1] + "/big") as file, files.scratch_folder(sys.argv[1]) as folder:
    file.write(b"half")
    (folder / "member").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def maker(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", MAKER, tmp_path], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.communicate()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_content_and_mode(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "text", "ä\r\n")
        files.write_bytes(tmp_path / "bytes", b"\x00")
        files.open_append(tmp_path / "log").close()
        with files.scratch_folder(tmp_path) as scratch:
            (scratch / "folder").mkdir()
            (scratch / "folder").rename(tmp_path / "folder")
    finally:
        os.umask(before)
    assert (tmp_path / "text").read_bytes() == "ä\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00"
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {name: (0o777 if name == "folder" else 0o666) & ~umask for name in modes}
    assert len(modes) == 4


def test_appending_keeps_what_is_there(tmp_path):
    for line in ("a\n", "b\n"):
        with files.open_append(tmp_path / "log") as log:
            log.write(line)
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, error):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def write_half():
        with files.new_file(path) as file:
            file.write(b"ne")
            file.flush()
            assert path.read_text() == "old"
            raise error

    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_text(path, "text"),
        lambda path: files.open_append(path),
        lambda path: files.make_folder(path / "folder"),
        lambda path: files.scratch_folder(path).__enter__(),
    ],
)
def test_an_error_of_the_system_names_the_path(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"`{tmp_path}/file/new.*` must be .*, but got the error: Not a directory"):
        write(tmp_path / "file" / "new")
    assert names(tmp_path) == ["file"]


def test_a_full_disk_and_a_missing_permission_are_said(tmp_path, monkeypatch):
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):

        def refuse(*_, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(UserError, match=rf"file` must be writable, but got the error: {os.strerror(number)}\.$"):
            files.write_text(tmp_path / "file", "text")
        assert names(tmp_path) == []


# ---- links -------------------------------------------------------------------------------------------------------


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to("target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("target", ["target", "missing"])
def test_no_link_is_opened(tmp_path, target):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(UserError, match=r"link` must be writable, but got a link"):
        files.open_append(tmp_path / "link")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "place",
    [".lock", "config.json", "encoder", "encoder/vocab.txt", "tensorboard", "checkpoints/300", "checkpoints/3/a/b"],
)
@pytest.mark.parametrize("target", ["file", "folder", "missing"])
def test_links_in_a_workdir_are_refused_by_name(tmp_path, place, target):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    link = tmp_path / "work" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=rf"must hold no links.*, but got {link}, a link to {tmp_path / target}\.$"):
        files.check_no_links(tmp_path / "work")


def test_links_that_may_be(tmp_path):
    (tmp_path / "disk" / "3").mkdir(parents=True)
    (tmp_path / "work" / ".venv").mkdir(parents=True)
    (tmp_path / "work" / ".venv" / "python").symlink_to(sys.executable)  # no folder of a run's
    (tmp_path / "work" / "checkpoints").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to("work")
    for workdir in (tmp_path / "work", tmp_path / "link", tmp_path / "missing", Path("x" * 300)):
        files.check_no_links(workdir)
    (tmp_path / "disk" / "4").symlink_to("3")
    with pytest.raises(UserError, match="checkpoints/4, a link to 3"):
        files.check_no_links(tmp_path / "link")


# ---- what killed processes leave ----------------------------------------------------------------------------------


def test_what_a_killed_process_left_goes_and_what_a_live_one_makes_stays(tmp_path, maker):
    (tmp_path / "thesis.partial").touch()
    partial = names(tmp_path)
    assert len(partial) == 3
    files.write_text(tmp_path / "file", "text")
    assert names(tmp_path) == sorted([*partial, "file"])
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    files.write_text(tmp_path / "file", "text")
    assert names(tmp_path) == ["file", "thesis.partial"]


def test_a_stopped_process_is_a_live_one(tmp_path, maker):
    maker.send_signal(signal.SIGSTOP)
    before = names(tmp_path)
    for name in before:
        os.utime(tmp_path / name, (0, 0))
    files.remove_stale(tmp_path)
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["tmpx_6ab1cd.partial", ".config.json.4711"])
def test_what_earlier_versions_left_goes_after_a_day(tmp_path, name):
    (tmp_path / name).touch()
    files.remove_stale(tmp_path)
    assert names(tmp_path) == [name]
    os.utime(tmp_path / name, (0, time.time() - DAY - 1))
    files.remove_stale(tmp_path)
    assert names(tmp_path) == []


def test_without_locks_age_decides(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.write_text(tmp_path / "file", "text")
    left = tmp_path / ".0123456789abcdef.partial"
    left.touch()
    files.remove_stale(tmp_path)
    assert left.exists()
    os.utime(left, (0, time.time() - DAY - 1))
    files.remove_stale(tmp_path)
    assert names(tmp_path) == ["file"]


def test_many_writers_and_cleaners_at_once(tmp_path):
    failures = []

    def work(number):
        try:
            for i in range(60):
                files.write_text(tmp_path / f"file {number}", f"{number} {i}")
                with files.scratch_folder(tmp_path) as scratch:
                    (scratch / "member").touch()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == [f"{number} 59" for number in range(6)]
