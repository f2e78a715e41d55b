"""What the modes want to know of an algorithm: its needs, its outcome, its circuits; and its progress."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from qjax.quantum import Circuit
from qjax.training.progress import Progress

# A bar appears only where a run takes longer than this.
SECONDS_WITHOUT_BAR = 2.0


@dataclass(frozen=True)
class Needs:
    """What a run takes.

    Attributes:
      num_qubits: of the algorithm's circuit, whichever way it is simulated.
      memory_bytes: of the simulation at its peak, at most.
      key: of the configuration that a person changes where this is too much.
      note: what else to say of it.
    """

    num_qubits: int
    memory_bytes: int
    key: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      what: the quantity.
      found: its value in this run.
      theory: what theory says of it, '' where it says nothing.
      classical: what a classical computer takes, '' where that is no question.
      source: where theory and the classical value come from.
    """

    what: str
    found: str
    theory: str
    classical: str
    source: str


_NUMBERS = ("found", "theory", "classical")


@dataclass(frozen=True)
class Curve:
    """Success probability against the number of steps, as `plot_success` takes it."""

    steps: np.ndarray
    found: np.ndarray
    theory: np.ndarray
    xlabel: str
    found_label: str
    theory_label: str


@dataclass(frozen=True)
class Outcome:
    """What a run gives.

    Attributes:
      headline: the answer in one line.
      rows: of the table.
      result: for result.json.
      curve: for success.png; None where the algorithm has no iterations.
      notes: further lines for a person.
      status: the exit status.
    """

    headline: str
    rows: tuple[Row, ...]
    result: dict[str, Any]
    curve: Curve | None = None
    notes: tuple[str, ...] = ()
    status: int = 0


@dataclass(frozen=True)
class Exported:
    """Circuits to export, all of one width.

    Attributes:
      circuits: bound, by name.
      states: `[circuits, 2**n]`, as another form of the algorithm than these gates computed them; None where there is
        none.
    """

    circuits: dict[str, Circuit]
    states: np.ndarray | None = None


def progress(total: int, unit: str) -> Progress:
    """Returns the progress of `total` units of work, shown on one process."""
    return Progress("run", total, unit, delay=SECONDS_WITHOUT_BAR, enabled=jax.process_index() == 0)


def table(rows: tuple[Row, ...]) -> str:
    """Returns the rows as aligned columns with a heading."""
    lines = [Row("", "found", "theory", "classical", ""), *rows]
    what, *numbers = (max(len(getattr(row, name)) for row in lines) for name in ("what", *_NUMBERS))
    shown = []
    for row in lines:
        values = [f"{getattr(row, name):>{width}}" for name, width in zip(_NUMBERS, numbers, strict=True)]
        shown.append("  ".join([f"{row.what:<{what}}", *values, row.source]).rstrip())
    return "\n".join(shown)


def number(value: float | int | None) -> str:
    """Returns a count as a person reads it."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
