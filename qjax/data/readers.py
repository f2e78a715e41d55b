"""Readers of labelled files, and of plain lines of text.

A labelled file is read whole or not at all: every malformed line is an error that names file and line, nothing is
guessed and nothing left out in silence. What a reader leaves out or converts by rule stands in `Examples.notes`.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from qjax.checks import check, fail, printable
from qjax.untrusted import parse_json

_RATING = re.compile(r"-?\d+(\.\d+)?")
_TAG = re.compile(r"O|[BI]-\S+")


@dataclass(frozen=True)
class Examples:
    """What a labelled file holds.

    Attributes:
      items: a text each, or the words of a sentence each.
      labels: a label name each, or a BIO tag for each word.
      lines: number of the line on which each item starts, from 1; word k of a sentence is k lines further down.
      notes: sentences for a person about what was left out or converted.
    """

    items: tuple[str, ...] | tuple[tuple[str, ...], ...]
    labels: tuple[str, ...] | tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputLine:
    """One line to predict: `text` is None where there is nothing to predict, and `note` says what is odd, or ''."""

    number: int
    text: str | None
    note: str


def read_examples(path: Path | str, *, task: str, text_column: str, label_column: str) -> Examples:
    """Reads a labelled file of either task: a table ('sentence') or CoNLL columns ('entities')."""
    if task == "entities":
        return read_conll(path)
    return read_table(path, text_column=text_column, label_column=label_column)


def read_movie_reviews(path: Path | str) -> Examples:
    """Reads the rated movie-review snippets that come with VADER (Hutto and Gilbert, ICWSM 2014).

    Each line is an id, a mean rating in [-4, 4] and a snippet, separated by tabs. A rating above 0 becomes
    'positive', one below 0 'negative'; snippets rated exactly 0 are left out.
    """
    items, labels, lines, num_neutral = [], [], [], 0
    for number, line in _numbered_lines(Path(path)):
        fields = line.split("\t")
        _check_num_fields(path, number, fields, 3)
        if not _RATING.fullmatch(fields[1]):
            _fail_line(path, number, "have a number as its rating", repr(fields[1]))
        rating = float(fields[1])
        if rating == 0:
            num_neutral += 1
            continue
        items.append(_checked_text(path, number, fields[2]))
        labels.append("positive" if rating > 0 else "negative")
        lines.append(number)
    notes = (f"{num_neutral} snippets rated exactly 0 were left out.",) if num_neutral else ()
    return _checked_examples(path, items, labels, lines, notes)


def read_table(path: Path | str, *, text_column: str = "text", label_column: str = "label") -> Examples:
    """Reads a table of text and label.

    The file is TSV (a header, then fields separated by tabs; quotes mean nothing), CSV (a header, then RFC 4180
    quoting) or JSONL (an object a line). Its ending says which: .tsv, .csv or .jsonl. With any other ending its first
    line does: JSONL begins with a brace, TSV has a tab. It is UTF-8, with or without a byte order mark. Empty lines
    are skipped; labels are stripped of surrounding spaces, texts stay as they are. A JSON label may be a string, an
    integer or a boolean.
    """
    rows = _table_rows(Path(path), (text_column, label_column))
    check(text_column != label_column, "data.label_column", "differ from data.text_column", repr(label_column))
    items, labels, lines = [], [], []
    for number, row in rows:
        for argument, column in (("data.text_column", text_column), ("data.label_column", label_column)):
            if column not in row:
                fail(argument, f"name a column of {path}, line {number}", repr(column), row)
        items.append(_checked_text(path, number, row[text_column]))
        labels.append(_checked_label(path, number, row[label_column]))
        lines.append(number)
    return _checked_examples(path, items, labels, lines, ())


def read_conll(path: Path | str) -> Examples:
    """Reads words and entity tags in the column format of CoNLL-2003 (Tjong Kim Sang and De Meulder, 2003).

    A word a line, its tag in the last of the columns, which are separated by tabs or spaces; a line without anything
    ends a sentence, as does a `-DOCSTART-` line. Tags are BIO; the older IOB1 (where B- marks only an entity that
    touches the one before it) is converted: an I- that does not go on with the entity before it becomes B-.
    """
    sentences: list[list[tuple[int, str, str]]] = [[]]
    num_columns, num_converted = 0, 0
    for number, line in _numbered_lines(Path(path), keep_empty=True):
        content = line.strip(" \t")
        if not content or content.startswith("-DOCSTART-"):
            sentences.append([])
            continue
        # Where there are tabs, only they separate: a column may then hold a space.
        fields = content.split("\t") if "\t" in content else re.split(" +", content)
        num_columns = num_columns or max(len(fields), 2)
        _check_num_fields(path, number, fields, num_columns)
        word, tag = _checked_text(path, number, fields[0]), fields[-1].strip()
        if not _TAG.fullmatch(_checked_name(path, number, tag)):
            _fail_line(path, number, "end in a BIO tag ('O', 'B-name' or 'I-name')", repr(tag))
        previous = sentences[-1][-1][2] if sentences[-1] else "O"
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            tag = "B-" + tag[2:]
            num_converted += 1
        sentences[-1].append((number, word, tag))
    sentences = [sentence for sentence in sentences if sentence]
    items = [tuple(word for _, word, _ in sentence) for sentence in sentences]
    labels = [tuple(tag for _, _, tag in sentence) for sentence in sentences]
    notes = (f"{num_converted} tags I- that begin an entity were read as B-.",) if num_converted else ()
    return _checked_examples(path, items, labels, [sentence[0][0] for sentence in sentences], notes)


def read_lines(stream: Iterable[bytes]) -> Iterator[InputLine]:
    """Reads text to predict, a sentence a line, from a binary stream: one `InputLine` for every line, none lost.

    Lines end in LF or CRLF. A line with nothing but white space has no text. Bytes that are not UTF-8 are replaced by
    U+FFFD, and the note says how many characters that made.
    """
    for number, raw in enumerate(stream, start=1):
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        text = raw.decode("utf-8", errors="replace")
        num_replaced = text.count("\ufffd") - raw.count("\ufffd".encode())
        note = f"{num_replaced} characters that are not UTF-8 were replaced" if num_replaced else ""
        if text.strip():
            yield InputLine(number, text, note)
        else:
            yield InputLine(number, None, "empty line")


def _fail_line(path: Path | str, number: int, expectation: str, finding: object) -> NoReturn:
    fail(f"{path}, line {number}", expectation, finding)


def _check_num_fields(path: Path | str, number: int, fields: list[str], expected: int) -> None:
    if len(fields) != expected:
        _fail_line(path, number, f"have {expected} columns", f"{len(fields)}: {fields!r:.200}")


def _checked_text(path: Path | str, number: int, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        _fail_line(path, number, "hold a text that is not empty", repr(text))
    return str(text)


def _checked_label(path: Path | str, number: int, label: object) -> str:
    shown = label.strip() if isinstance(label, str) else json.dumps(label) if isinstance(label, int) else ""
    if not shown:
        _fail_line(path, number, "hold a label (text, an integer or a boolean)", repr(label))
    return _checked_name(path, number, shown)


def _checked_name(path: Path | str, number: int, name: str) -> str:
    if printable(name) != name:  # it is printed, in tables and plots
        _fail_line(path, number, "hold a label without control characters", repr(name))
    return name


def _checked_examples(
    path: Path | str, items: list[Any], labels: list[Any], lines: list[int], notes: tuple[str, ...]
) -> Examples:
    check(bool(items), str(path), "hold at least one labelled example", "none")
    return Examples(tuple(items), tuple(labels), tuple(lines), notes)


def _read_text(path: Path) -> str:
    """Returns the content of a UTF-8 file without its byte order mark; line ends stay as they are."""
    try:
        content = path.read_bytes()
    except OSError as error:
        fail(str(path), "be a file that can be read", error.strerror or str(error))
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        fail(f"{path}, line {number}", "be UTF-8", f"the byte 0x{content[error.start]:02x}")


def _numbered_lines(path: Path, *, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Yields line numbers from 1 and lines without their ends (LF or CRLF; a text may hold other line separators)."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        line = line.removesuffix("\r")
        if keep_empty or line.strip():
            yield number, line


def _table_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Returns the rows of a table, each with the number of its first line and its fields by column name.

    Args:
      path: of the table.
      columns: names of which a header must have one at least, lest a table without a header be taken for one.
    """
    ending = _ending(path)
    if ending == ".jsonl":
        return _jsonl_rows(path)
    return _rows_under_header(path, _tsv_fields(path) if ending == ".tsv" else _csv_fields(path), columns)


def _ending(path: Path) -> str:
    """Returns which kind of table a file is: by its ending, or by its first line where the ending says nothing."""
    if path.suffix.lower() in (".tsv", ".csv", ".jsonl"):
        return path.suffix.lower()
    _, line = next(_numbered_lines(path), (1, ""))
    if line.lstrip().startswith("{"):
        return ".jsonl"
    return ".tsv" if "\t" in line else ".csv"


def _tsv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.split("\t")) for number, line in _numbered_lines(path))


def _csv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    while True:
        number = reader.line_num + 1  # before reading: a quoted field may span lines
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _fail_line(path, number, "be CSV as in RFC 4180", str(error))
        if any(field.strip() for field in row):
            yield number, row


def _rows_under_header(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    number, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    wanted = " and ".join(map(repr, columns))
    expectation = f"be a header that names the columns {wanted} (data.text_column and data.label_column)"
    check(not header or bool(set(columns) & set(header)), f"{path}, line {number}", expectation, repr(header))
    check(len(set(header)) == len(header), f"{path}, line {number}", "name each column once", repr(header))
    for number, fields in rows:
        _check_num_fields(path, number, fields, len(header))
        yield number, dict(zip(header, fields, strict=True))


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _numbered_lines(path):
        yield number, parse_json(line, f"{path}, line {number}")
