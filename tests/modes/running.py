"""Runs main.py in this process, for the tests of the modes."""

from pathlib import Path

import main as command

ROOT = Path(__file__).resolve().parents[2]


def tiny(workdir, *arguments):
    """Runs main.py in this process on configs/tiny.py and returns the exit status."""
    config = [] if "--mode" in " ".join(arguments) else [f"--config={ROOT / 'configs' / 'tiny.py'}"]
    return command.main([*config, f"--workdir={workdir}", *arguments])
