"""What others wrote is read within limits: JSON, and the sizes that a configuration or a checkpoint states.

Every JSON that this package reads comes through `parse_json`. Whatever it holds is then a value within the limits
below, or one `UserError`: never a traceback, an endless wait, or a value that breaks something later.
"""

import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from qjax.checks import fail, printable

__all__ = ["parse_json", "printable", "read_json"]

# Limits of a JSON text: far above what a file of ours, or the tokenizer of a checkpoint, holds.
MAX_BYTES = 256 * 2**20
MAX_DEPTH = 200  # brackets within brackets; one repetition of a circuit takes three
MAX_DIGITS = 100  # of an integer

# The largest numbers that a file may ask for, on any device: far above any use, and small enough to be counted,
# listed and shown at once. Whether a device has the memory is asked where it is known what is needed.
MAX_QUBITS = 64  # of what is simulated
MAX_CIRCUIT_QUBITS = 2**16
MAX_LAYERS = 1_000  # of an encoder or an ansatz
MAX_SIZE = 2**20  # features, heads, positions, examples of a batch
MAX_VOCABULARY = 2**24
MAX_COUNT = 2**31 - 1  # examples, steps


def read_json(path: str | os.PathLike[str], what: str = "a JSON object") -> dict[str, Any]:
    """Returns the JSON object that a file holds.

    Args:
      path: of the file, which is UTF-8.
      what: completes "must be ..." in errors, such as "the record of a run".

    Raises:
      UserError: the file cannot be read, or its text is refused by `parse_json`; it names the file.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        fail(str(path), f"be {what}", f"a file that cannot be read ({error.strerror or error})")
    return parse_json(content, str(path), what)


def parse_json(text: str | bytes, name: str, what: str = "a JSON object") -> dict[str, Any]:
    """Returns the object that a JSON text holds; numbers may be NaN and Infinity, as Python writes them.

    Args:
      text: the text, or its bytes in UTF-8.
      name: of the file, line or argument that errors name.
      what: completes "must be ..." in errors.

    Raises:
      UserError: the text is no JSON, or not of an object; it is larger, deeper or has longer integers than the limits
        of this module; or it holds a key twice, or half of a surrogate pair.
    """
    try:
        return _load(text)
    except _Fault as fault:
        fail(name, f"be {what}", str(fault))


class _Fault(Exception):
    """What is wrong with a JSON text, in words that complete "but got ..."."""


def _load(text: object) -> dict[str, Any]:
    if not isinstance(text, str | bytes):
        raise _Fault(f"a value of type {type(text).__name__}")
    if len(text) > MAX_BYTES:
        raise _Fault(f"more than {MAX_BYTES} bytes")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise _Fault(f"bytes that are not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _Fault(f"no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except ValueError:  # Python converts no integer of thousands of digits
        raise _Fault(f"an integer of more than {MAX_DIGITS} digits") from None
    except RecursionError:
        raise _Fault(f"brackets more than {MAX_DEPTH} deep") from None
    if not isinstance(value, dict):
        raise _Fault(f"a JSON {type(value).__name__}")
    _check_values(value)
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _Fault(f"the key {repeated[:80]!r} twice in one object")
    return value


def _check_values(value: Any) -> None:
    """Raises a `_Fault` for the first value, level by level, that is beyond the limits."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise _Fault(f"brackets more than {MAX_DEPTH} deep")


def _children(item: Any) -> Iterable[Any]:
    """Returns what is directly inside of a value, keys included, after checking the value itself."""
    if isinstance(item, dict):
        return chain(item, item.values())
    if isinstance(item, list):
        return item
    if isinstance(item, str) and not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError:
            raise _Fault(f"half of a surrogate pair in {item[:80]!r}") from None
    elif isinstance(item, int) and abs(item) >= 10**MAX_DIGITS:
        raise _Fault(f"an integer of more than {MAX_DIGITS} digits")
    return ()
