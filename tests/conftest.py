"""For every test: quick compilation, and what the coverage of a worker process needs."""

import os

import coverage

# Compiling is most of what the tests do, and most programs run once. XLA runs all of its passes, LLVM leaves out most
# of its own. With XLA_FLAGS set to anything, the empty string too, the tests run as a user's programs do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


def pytest_sessionfinish() -> None:
    """Saves what was measured so far: pytest-xdist kills a worker whose exit takes more than ten seconds."""
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.stop()
        measured.save()
