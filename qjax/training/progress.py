"""How far a piece of work is: one line, drawn again at the foot of a terminal, printed now and then into a file."""

import collections
import math
import os
import sys
import time
from types import TracebackType
from typing import Any

import jax

from qjax.training.clock import in_words

SECONDS_BETWEEN_DRAWINGS = 0.2  # on a terminal
SECONDS_BETWEEN_LINES = 30.0  # in a file
SECONDS_LOOKED_BACK = 20.0  # for the time left
_WIDTH_OF_LABEL = 9
_SMALLEST_BAR, _LARGEST_BAR = 10, 30

_num_compilations = 0


def _count_compilation(event: str, duration_secs: float, **kwargs: str | int) -> None:
    global _num_compilations
    _num_compilations += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


class Pace:
    """Units of work a second in recent time; what passed between two marks is left out where JAX compiled.

    Args:
      done: units before the first mark.
      recent: number of marks to look back, or more of them up to `SECONDS_LOOKED_BACK`.
    """

    def __init__(self, done: int = 0, *, recent: int = 10) -> None:
        self._kept: collections.deque[tuple[int, float]] = collections.deque()
        self._recent = recent
        self._last = (done, time.perf_counter(), _num_compilations)

    def mark(self, done: int) -> None:
        """Says that `done` units are done: not under way on a device, but done."""
        units, since, compilations = self._last
        self._last = (done, time.perf_counter(), _num_compilations)
        if compilations == _num_compilations and done > units:
            self._kept.append((done - units, self._last[1] - since))
        while len(self._kept) > self._recent and self._seconds() > SECONDS_LOOKED_BACK:
            self._kept.popleft()

    def per_second(self) -> float | None:
        """Returns the units a second; None before anything was measured."""
        seconds = self._seconds()
        return sum(units for units, _ in self._kept) / seconds if seconds > 0 else None

    def _seconds(self) -> float:
        return math.fsum(seconds for _, seconds in self._kept)


class Progress:
    """Progress of one piece of work, a context manager.

    A terminal shows what fits into its width, in whole words: the bar and what is said of the work give way first. In
    a file a line is written every `SECONDS_BETWEEN_LINES`, without carriage returns.

    Args:
      what: the work, in a word.
      total: units of work, some of which are done before this one begins.
      unit: name of one, of which the plural ends in s.
      done: units that are done already.
      recent: number of marks that the time left is reckoned from, at least.
      delay: seconds without a word, where the work may be over by then.
      enabled: False is silent.
      lines: text file for the lines where there is no terminal; None takes standard error.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        recent: int = 10,
        delay: float = 0.0,
        enabled: bool = True,
        lines: Any = None,
    ) -> None:
        self.done = done
        self.is_terminal = enabled and sys.stderr.isatty()
        self._what, self._total, self._unit, self._enabled = what, total, unit, enabled
        self._pace = Pace(done, recent=recent)
        self._interval = SECONDS_BETWEEN_DRAWINGS if self.is_terminal else SECONDS_BETWEEN_LINES
        self._due = time.perf_counter() + max(delay, 0.0 if self.is_terminal else self._interval)
        self._lines = lines
        self._notes: tuple[str, ...] = ()
        self._drawn = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def update(self, count: int) -> None:
        """Counts units that are done."""
        self.done += count
        self.mark()
        self.draw()

    def advance(self, count: int = 1) -> None:
        """Counts units that are under way; `mark` says when they are done."""
        self.done += count
        self.draw()

    def mark(self) -> None:
        """Says that all that was counted is done."""
        self._pace.mark(self.done)

    def note(self, *notes: str) -> None:
        """Says more of the work, the most important first."""
        self._notes = notes

    def draw(self) -> None:
        """Shows the line where it is due."""
        if not self._enabled or time.perf_counter() < self._due:
            return
        self._due = time.perf_counter() + self._interval
        if not self.is_terminal:
            print(self.line(), file=self._lines or sys.stderr, flush=True)
            return
        line = self.line(_terminal_width() - 1)
        print("\r" + line.ljust(self._drawn), end="", file=sys.stderr, flush=True)
        self._drawn = len(line)

    def print(self, line: str) -> None:
        """Prints a line of its own to standard output."""
        self.close()
        print(line, flush=True)
        self._due = min(self._due, time.perf_counter()) if self.is_terminal else time.perf_counter() + self._interval
        self.draw()

    def close(self) -> None:
        """Takes the line off the terminal."""
        if self._drawn:
            print("\r" + " " * self._drawn + "\r", end="", file=sys.stderr, flush=True)
            self._drawn = 0

    def time_left(self) -> str:
        """Returns what the rest takes at the recent pace, in words; '' before that is known."""
        pace = self._pace.per_second()
        return "" if pace is None else f"{in_words((self._total - self.done) / pace)} left"

    def line(self, width: int | None = None) -> str:
        """Returns the line: of at most `width` columns and with a bar; for None whole, and without one."""
        texts = [f"{self._what:<{_WIDTH_OF_LABEL}} {100 * self.done // max(1, self._total):3d}%"]
        texts.append(f"{self.done:,}/{self._total:,} {self._unit}s")
        texts += [text for text in (self.time_left(), *self._notes) if text]
        if width is None:
            return "  ".join(texts)
        while len(texts) > 1 and len("  ".join(texts)) + len(" []") + _SMALLEST_BAR > width:
            texts.pop()
        bar = min(_LARGEST_BAR, width - len("  ".join(texts)) - len(" []"))
        if bar >= _SMALLEST_BAR:
            texts[0] += f" [{'#' * (bar * self.done // max(1, self._total)):-<{bar}}]"
        return "  ".join(texts)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
