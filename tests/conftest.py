"""For every test: what the coverage of a worker process needs."""

import coverage


def pytest_sessionfinish() -> None:
    """Saves what was measured so far: pytest-xdist kills a worker whose exit takes more than ten seconds."""
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.stop()
        measured.save()
