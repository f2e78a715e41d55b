"""Progress on a terminal of some width and in a file; time left from recent work."""

import io
import re
import sys

import jax
import pytest

from qjax.training import progress
from qjax.training.progress import Pace, Progress


class Clock:
    """In the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(progress, "time", stopped)
    return stopped


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self, columns: int) -> list[str]:
        """Returns the rows as a terminal shows them; a row that is too long would have wrapped."""
        rows = [""]
        for text in re.split("([\r\n])", self.getvalue()):
            if text == "\n":
                rows.append("")
            elif text == "\r":
                rows[-1] = "\r" + rows[-1].lstrip("\r")
            else:
                over = rows[-1].startswith("\r")
                before = rows[-1].lstrip("\r")
                rows[-1] = text + before[len(text) :] if over else before + text
            assert len(rows[-1].lstrip("\r")) < columns
        return [row.strip("\r").rstrip() for row in rows]


NOTES = ("loss 0.4123", "val accuracy 0.8123", "65,966 examples/s")


def work(clock: Clock) -> Progress:
    """1,612 of 5,320 steps in, at 50 a second."""
    bar = Progress("train", 5320, "step", done=1512)
    clock.now += 2
    bar.advance(100)
    bar.mark()
    bar.note(*NOTES)
    return bar


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (10, "train      30%"),
        (30, "train      30%"),
        (50, "train      30%  1,612/5,320 steps"),
        (79, "train      30%  1,612/5,320 steps  1 min 14 s left  loss 0.4123"),
        (
            119,
            "train      30%  1,612/5,320 steps  1 min 14 s left  loss 0.4123  val accuracy 0.8123  65,966 examples/s",
        ),
    ],
)
def test_what_fits_is_shown_in_whole_words(width: int, expected: str, clock: Clock) -> None:
    line = work(clock).line(width)
    assert re.sub(r" \[.*?\]", "", line) == expected
    assert len(line) <= max(width, len("train      30%"))
    bar = re.search(r"\[(#*)(-*)\]", line)
    assert (bar is not None) == (width >= 30)
    if bar is not None:
        assert 10 <= len(bar[1] + bar[2]) <= 30
        assert len(bar[1]) == len(bar[1] + bar[2]) * 1612 // 5320


@pytest.mark.parametrize("width", range(1, 200))
def test_no_width_cuts_a_word(width: int, clock: Clock) -> None:
    bar = work(clock)
    shown = re.sub(r" \[.*?\]", "", bar.line(width)).split("  ")
    assert shown == bar.line().split("  ")[: len(shown)]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_one_line_below_what_is_printed(
    columns: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress, "_terminal_width", lambda: columns)
    with Progress("features", 40, "text") as bar:
        for done in range(1, 41):
            clock.now += 0.1
            bar.update(1)
            if done == 20:
                bar.print("half of it")
                first, second = terminal.screen(columns)
                assert first == "half of it"
                assert re.fullmatch(r"features   50% \[#{15}-{15}\]  20/40 texts  2 s left", second)
    assert terminal.screen(columns) == ["half of it", ""]  # the line is gone at the end


def test_a_file_gets_a_line_now_and_then_without_carriage_returns(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("features", 100, "text") as bar:
        for _ in range(100):
            clock.now += 1.0
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "features   30%  30/100 texts  1 min 10 s left",
        "features   60%  60/100 texts  40 s left",
        "features   90%  90/100 texts  10 s left",
    ]


def test_silent_where_it_is_not_enabled_or_over_before_the_delay(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for options in ({"enabled": False}, {"delay": 50.0}):
        with Progress("run", 3, "search", **options) as bar:
            for _ in range(3):
                clock.now += 10
                bar.update(1)
    assert terminal.getvalue() == ""


def test_time_left_forgets_old_work(clock: Clock) -> None:
    bar = Progress("run", 100, "step", recent=3)
    assert bar.time_left() == ""
    for seconds in (50, 50, 1, 1, 1):
        clock.now += seconds
        bar.update(10)
    assert bar.time_left() == "5 s left"


def test_time_that_went_into_compiling_is_left_out(clock: Clock) -> None:
    pace = Pace()
    clock.now += 50
    jax.jit(lambda x: x * 3 + 1)(2.0)
    pace.mark(10)
    assert pace.per_second() is None
    clock.now += 2
    pace.mark(20)
    assert pace.per_second() == 5.0
