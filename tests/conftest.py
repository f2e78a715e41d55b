"""For every test: quick compilation, and what the coverage of a worker process needs."""

import os
import subprocess

import coverage
import jax
import pytest

# Compiling is most of what the tests do, and most programs run once. XLA runs all of its passes, LLVM leaves out most
# of its own, and the old emitters take half of the time of the new ones. With XLA_FLAGS set to anything, the empty
# string too, the tests run as a user's programs do.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # later versions have the new emitters alone
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)


def pytest_sessionfinish() -> None:
    """Saves what was measured so far: pytest-xdist kills a worker whose exit takes more than ten seconds."""
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.stop()
        measured.save()


@pytest.fixture
def small_disk(tmp_path):
    """Gives a function that mounts a disk of so many kilobytes, or changes it, and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes, mode="rw"):
        again = "remount," if folder.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}{mode},size={kilobytes}k", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a small tmpfs")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)
