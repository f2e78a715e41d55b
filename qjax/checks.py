"""Argument checks: every mistake a person can make is reported in one form.

The form is "Argument `NAME` must EXPECTATION, but got FINDING." followed, where there is a list of valid
choices, by the nearest one and the whole list. `main.py` prints the message of a `UserError` alone; anything else
that reaches it is a bug of ours and keeps its traceback.
"""

import difflib
import re
from collections.abc import Hashable, Iterable
from typing import NoReturn

MAX_SHOWN = 1000  # characters of a finding

# Characters that a terminal obeys and does not show: control characters, ends of lines and paragraphs, changes of the
# direction of writing. And halves of surrogate pairs, which no encoding can write.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Returns the text on one line, with JSON's escape for each character that a terminal obeys and does not show.

    >>> print(printable("red \x1b[31m, half \ud800"))
    red \u001b[31m, half \ud800
    """
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class UserError(ValueError):
    """A mistake that the person who made it can mend: its message, one line that is `printable`, says how."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the entry of `names` spelt most like `name`, or None where nothing is close."""
    matches = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.6)
    return matches[0] if matches else None


def fail(argument: str, expectation: str, finding: object, choices: Iterable[object] = ()) -> NoReturn:
    """Raises a `UserError` in the house form.

    Args:
      argument: name of the argument, config key, file or line at fault.
      expectation: what it must do, completing "must ...".
      finding: what was found instead; text is shown as it is, anything else by its `repr`, on one line.
      choices: valid values; the nearest to `finding` is named first.
    """
    message = f"Argument `{argument}` must {expectation}, but got {_shown(finding)}."
    names = [str(choice) for choice in choices]
    if names:
        near = nearest(str(finding).strip("'\""), names)
        if near is not None:
            message += f" Did you mean '{near}'?"
        message += f" Choices: {', '.join(names)}."
    raise UserError(message)


def _shown(finding: object) -> str:
    try:
        text = finding if isinstance(finding, str) else repr(finding)
    except ValueError:  # Python writes out no integer of thousands of digits
        text = f"a value of type {type(finding).__name__} that is too long to show"
    text = re.sub(r"\s*\n\s*", " ", text)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def check(condition: bool, argument: str, expectation: str, finding: object, choices: Iterable[object] = ()) -> None:
    """Calls `fail` unless `condition` holds."""
    if not condition:
        fail(argument, expectation, finding, choices)


def check_choice(argument: str, value: object, choices: Iterable[object]) -> None:
    """Raises unless `value` is one of `choices`, naming the nearest."""
    options = list(choices)
    if not isinstance(value, Hashable) or value not in options:  # of an array, == is no single answer
        fail(argument, "be one of the choices", repr(value), options)
