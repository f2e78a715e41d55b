"""One reader of JSON that others wrote: a value within limits, or one line."""

import json
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qjax import untrusted
from qjax.checks import UserError
from qjax.untrusted import parse_json, printable, read_json

ROOT = pathlib.Path(__file__).resolve().parents[1]

HOSTILE = {
    "empty": (b"", "no JSON: Expecting value"),
    "torn": (b'{"a": [1, 2', "no JSON"),
    "python": (b"raise SystemExit('executed')", "no JSON"),
    "list": (b"[1, 2]", "a JSON list"),
    "no UTF-8": (b'{"a": "\xff"}', "bytes that are not UTF-8 (byte 7)"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "bytes that are not UTF-8 (byte 0)"),
    "100,000 brackets": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "brackets more than 200 deep"),
    "201 brackets": (b'{"a": ' + b"[" * 200 + b"1" + b"]" * 200 + b"}", "brackets more than 200 deep"),
    "100,000 objects": (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "brackets more than 200 deep"),
    "5,000 digits": (b'{"a": ' + b"7" * 5_000 + b"}", "an integer of more than 100 digits"),
    "101 digits": (b'{"a": [-' + b"7" * 101 + b"]}", "an integer of more than 100 digits"),
    "repeated key": (b'{"a": {"b\\u001b": 1, "b\\u001b": 2}}', r"the key 'b\x1b' twice in one object"),
    "lone surrogate": (rb'{"a": "good \ud800"}', r"half of a surrogate pair in 'good \ud800'"),
    "lone surrogate in a key": (rb'{"\udfff": 1}', r"half of a surrogate pair in '\udfff'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_one_line_that_names_the_file(tmp_path, name):
    content, finding = HOSTILE[name]
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(path, "the record of a run")
    message = str(caught.value)
    assert message.startswith(f"Argument `{path}` must be the record of a run, but got {finding}")
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300 + len(str(path))


def test_values_at_the_limits_are_read(tmp_path):
    deep = '{"a": ' + "[" * 199 + "1" + "]" * 199 + "}"
    assert str(parse_json(deep, "text")["a"]) == "[" * 199 + "1" + "]" * 199
    assert parse_json('{"a": -' + "9" * 100 + "}", "text") == {"a": -(10**100 - 1)}
    assert parse_json(rb'{"a": "\ud83d\ude00"}', "text") == {"a": "\U0001f600"}
    assert parse_json('{"a": 1.25e-300}', "text") == {"a": 1.25e-300}


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_BYTES", 20)
    path = tmp_path / "large.json"
    path.write_text('{"a": "' + "x" * 100 + '"}')
    with pytest.raises(UserError, match=r"large.json` must be a JSON object, but got more than 20 bytes"):
        read_json(path)


@pytest.mark.parametrize(("name", "reason"), [("absent.json", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, reason):
    with pytest.raises(UserError, match=rf"must be a JSON object, but got a file that cannot be read \({reason}"):
        read_json(tmp_path / name)
    with pytest.raises(UserError, match="File name too long"):
        read_json(tmp_path / ("x" * 300))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**99), 10**99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_whatever_json_holds_is_read_as_it_is(value):
    assert parse_json(json.dumps(value), "text") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), "text") == value


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_shown_on_any_terminal_and_is_the_same_json(text):
    shown = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
    shown.encode()
    assert printable(shown) == shown
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("text", ["", "négatif", "不好", "👨‍👩‍👧", "a b", "ש", "\\"])
def test_what_a_terminal_shows_stays(text):
    assert printable(text) == text


def test_no_other_file_parses_json():
    trusted = ("untrusted.py", "cluster.py")  # the latter reads what the run's own processes tell each other
    files = [path for path in (ROOT / "qjax").rglob("*.py") if path.name not in trusted]
    assert [path for path in files if re.search(r"\bjson\.loads?\(", path.read_text(encoding="utf-8"))] == []
