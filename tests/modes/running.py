"""Runs main.py in this process, for the tests of the modes."""

from pathlib import Path

import pytest

import main as command

ROOT = Path(__file__).resolve().parents[2]


def tiny(workdir, *arguments):
    """Runs main.py in this process on configs/tiny.py and returns the exit status."""
    config = [] if "--mode" in " ".join(arguments) else [f"--config={ROOT / 'configs' / 'tiny.py'}"]
    return command.main([*config, f"--workdir={workdir}", *arguments])


def error_line(capsys):
    """The one line that standard error holds."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


class Killed(BaseException):
    """What no code of ours catches."""


def die(*_, **__):
    raise Killed


def begin(workdir, *arguments):
    """Begins a run as far as something that was replaced by `die`."""
    with pytest.raises(Killed):
        tiny(workdir, *arguments)
