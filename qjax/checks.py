"""Argument checks: every mistake a person can make is reported in one form.

The form is "Argument `NAME` must EXPECTATION, but got FINDING." followed, where there is a list of valid
choices, by the nearest one and the whole list. `main.py` prints the message of a `UserError` alone; anything else
that reaches it is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable
from typing import NoReturn


class UserError(ValueError):
    """A mistake that the person who made it can mend: its message says how."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the entry of `names` spelt most like `name`, or None where nothing is close."""
    matches = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.6)
    return matches[0] if matches else None


def fail(argument: str, expectation: str, finding: object, choices: Iterable[object] = ()) -> NoReturn:
    """Raises a `UserError` in the house form.

    Args:
      argument: name of the argument, config key, file or line at fault.
      expectation: what it must do, completing "must ...".
      finding: what was found instead; shown by `str` where it is text, else by `repr`.
      choices: valid values; the nearest to `finding` is named first.
    """
    shown = finding if isinstance(finding, str) else repr(finding)
    message = f"Argument `{argument}` must {expectation}, but got {shown}."
    names = [str(choice) for choice in choices]
    if names:
        near = nearest(str(finding).strip("'\""), names)
        if near is not None:
            message += f" Did you mean '{near}'?"
        message += f" Choices: {', '.join(names)}."
    raise UserError(message)


def check(condition: bool, argument: str, expectation: str, finding: object, choices: Iterable[object] = ()) -> None:
    """Calls `fail` unless `condition` holds."""
    if not condition:
        fail(argument, expectation, finding, choices)


def check_choice(argument: str, value: object, choices: Iterable[object]) -> None:
    """Raises unless `value` is one of `choices`, naming the nearest."""
    options = list(choices)
    if value not in options:
        fail(argument, "be one of the choices", repr(value), options)
