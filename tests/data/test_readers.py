"""Readers: each error names file and line; what the files say is checked against other readers or by hand."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.checks import UserError
from qjax.data.readers import InputLine, read_conll, read_lines, read_movie_reviews, read_table
from qjax.data.sources import fetch


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_movie_reviews_counts_and_a_known_line():
    examples = read_movie_reviews(fetch("movie_reviews"))
    assert examples.labels.count("positive") == 5242
    assert examples.labels.count("negative") == 5326
    assert examples.notes == ("37 snippets rated exactly 0 were left out.",)
    assert (examples.items[2], examples.labels[2], examples.lines[2]) == (
        "Effective but too tepid biopic",
        "negative",
        3,
    )
    assert not any("\r" in item or "\t" in item for item in examples.items)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\t1.0", r"line 2.* must have 3 columns, but got 2"),
        ("2\tgood\tfine", r"line 2.* number as its rating, but got 'good'"),
        ("2\tnan\tfine", r"line 2.* number as its rating, but got 'nan'"),
        ("2\t1.0\t ", r"line 2.* text that is not empty"),
    ],
)
def test_malformed_movie_review(tmp_path, line, message):
    path = write(tmp_path, "r.txt", f"1\t0.5\tnice\r\n{line}\r\n")
    with pytest.raises(UserError, match=message):
        read_movie_reviews(path)


def test_twitter_ner_counts_agree_with_a_plain_count_of_its_lines():
    path = fetch("twitter_ner")
    examples = read_conll(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(examples.items) == 2394
    assert sum(map(len, examples.items)) == sum(bool(line.strip()) for line in lines) == 46469
    for name in ("B-person", "I-geo-loc", "O"):
        assert sum(tags.count(name) for tags in examples.labels) == sum(line.endswith("\t" + name) for line in lines)
    assert lines[examples.lines[100] + 1] == f"{examples.items[100][2]}\t{examples.labels[100][2]}"
    assert examples.notes == ()


CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
London NNP I-NP I-LOC
Paris NNP I-NP B-LOC
-DOCSTART- -X- O O
end NN I-NP O
"""


def test_conll_2003_in_iob1_becomes_bio(tmp_path):
    examples = read_conll(write(tmp_path, "a.conll", CONLL))
    assert examples.items == (("EU", "rejects"), ("Peter", "Blackburn", "London", "Paris"), ("end",))
    assert examples.labels == (("B-ORG", "O"), ("B-PER", "I-PER", "B-LOC", "B-LOC"), ("O",))
    assert examples.lines == (3, 6, 11)
    assert examples.notes == ("3 tags I- that begin an entity were read as B-.",)


def test_conll_with_crlf_bom_and_odd_separators(tmp_path):
    content = "\ufeffNew York\tB-LOC\r\ncity\tI-LOC\r\n \t\r\n\r\nx\u2028y\tO".encode()
    examples = read_conll(write(tmp_path, "a.txt", content))
    assert examples.items == (("New York", "city"), ("x\u2028y",))
    assert examples.lines == (1, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\nb\n", r"line 2.* must have 2 columns, but got 1"),
        ("a\n", r"line 1.* must have 2 columns, but got 1"),
        ("a x O\n\nb O\n", r"line 3.* must have 3 columns, but got 2"),
        ("a O\nb E-PER\n", r"line 2.* BIO tag .*but got 'E-PER'"),
        ("a O\nb I-\n", r"line 2.* BIO tag"),
        ("\n\n", r"a\.conll` must hold at least one labelled example"),
        (b"a O\n\nb\xff O\n", r"line 3` must be UTF-8, but got the byte 0xff"),
    ],
)
def test_malformed_conll(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_conll(write(tmp_path, "a.conll", content))


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.conll` must be a file that can be read, but got No such file"):
        read_conll(tmp_path / "nowhere.conll")
    with pytest.raises(UserError, match="be a file that can be read"):
        read_conll(tmp_path)


def test_tsv_takes_quotes_as_they_are(tmp_path):
    path = write(tmp_path, "a.tsv", '\ufefflabel\tid\ttext\r\n pos \t7\t "so good\r\n\r\nneg\t8\tbad\u2028very\n')
    examples = read_table(path)
    assert examples.items == (' "so good', "bad\u2028very")
    assert examples.labels == ("pos", "neg")
    assert examples.lines == (2, 4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from("ab"))))
def test_csv_round_trip_through_the_standard_writer(tmp_path_factory, rows):
    rows = [(text, label) for text, label in rows if text.strip()] or [("x\n\"y\",'z'\n\n", "a")]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.getbasetemp(), "a.csv", buffer.getvalue())
    examples = read_table(path)
    assert list(zip(examples.items, examples.labels, strict=True)) == rows


def test_csv_line_number_is_that_of_the_first_line_of_a_row(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"two\nlines",a\nnext,b\nlast,\n')
    with pytest.raises(UserError, match=r"line 5.* hold a label"):
        read_table(path)
    path.write_text('text,label\n"two\nlines",a\nnext,b\n')
    assert read_table(path).lines == (2, 4)


def test_jsonl_labels_may_be_integers_or_booleans(tmp_path):
    rows = [{"t": "a", "l": 1}, {"t": "b\n", "l": "x"}, {"t": "c", "l": True, "more": None}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    examples = read_table(path, text_column="t", label_column="l")
    assert examples.items == ("a", "b\n", "c")
    assert examples.labels == ("1", "x", "true")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "text\tlabel\ngood\tp\nbad\n", r"a\.tsv, line 3` must have 2 columns, but got 1"),
        ("a.tsv", "text\tlabel\ngood\tp\tq\n", r"a\.tsv, line 2` must have 2 columns, but got 3"),
        ("a.tsv", "txt\tlabel\ngood\tp\n", r"data\.text_column` must name a column of .*a\.tsv.*mean 'txt'"),
        ("a.csv", "text,lable\ngood,p\n", r"data\.label_column` must name a column.*mean 'lable'"),
        ("a.csv", "text,text,label\na,b,c\n", r"line 1` must name each column once"),
        ("a.csv", 'text,label\n"good,p\n', r"line 2` must be CSV"),
        ("a.csv", "text,label\n,p\n", r"line 2` must hold a text that is not empty"),
        ("a.tsv", "text\tlabel\n", "hold at least one labelled example"),
        ("a.tsv", "", "hold at least one labelled example"),
        ("a.jsonl", '{"text": "a", "label": "p"}\n{"text"\n', r"line 2` must be a JSON object, but got no JSON"),
        ("a.jsonl", "[1]\n", r"line 1` must be a JSON object, but got a JSON list"),
        ("a.jsonl", '{"text": "a", "label": null}\n', r"line 1` must hold a label"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', r"line 1` must hold a label"),
        ("a.jsonl", '{"text": 3, "label": "p"}\n', r"line 1` must hold a text"),
        ("a.jsonl", '{"text": "\\ud800", "label": "p"}\n', r"line 1` must be .*half of a surrogate pair"),
        ("a.jsonl", '{"text": "a", "label": "\\ud800"}\n', r"line 1` must be .*half of a surrogate pair"),
        (
            "a.jsonl",
            '{"text": "a", "label": "p\\u001b[31m"}\n',
            r"line 1` must hold a label without control .*'p\\x1b",
        ),
        ("a.csv", 'text,label\na,"p\nq"\n', r"line 2` must hold a label without control characters, but got 'p\\nq'"),
        (
            "a.csv",
            "a fine film,p\na poor film,n\n",
            r"line 1` must be a header .*'text' and 'label'.*got \['a fine film'",
        ),
        ("a.tsv", "good\tp\ngood\tp\n", r"a\.tsv, line 1` must be a header that names the columns"),
        ("a.jsonl", '{"text": "a", "label": "p"}\n{"label": "p"}\n', r"a\.jsonl, line 2, but got 'text'"),
        ("a.tsv", b"text\tlabel\nx\xe9\tp\n", r"line 2` must be UTF-8, but got the byte 0xe9"),
        ("a.xlsx", b"PK\x03\x04\xff\xff", r"a\.xlsx, line 1` must be UTF-8"),
        ("a.xlsx", "", "hold at least one labelled example"),
    ],
)
def test_malformed_tables(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        read_table(write(tmp_path, name, content))


@pytest.mark.parametrize("name", ["reviews", "reviews.train", "reviews.txt"])
@pytest.mark.parametrize(
    "content",
    ['text,label\n"good, fine",p\n', "text\tlabel\ngood, fine\tp\n", '{"text": "good, fine", "label": "p"}\n'],
)
def test_another_ending_leaves_the_kind_of_table_to_its_first_line(tmp_path, name, content):
    examples = read_table(write(tmp_path, name, content))
    assert (examples.items, examples.labels) == (("good, fine",), ("p",))


def test_text_and_label_columns_must_differ(tmp_path):
    with pytest.raises(UserError, match=r"data\.label_column` must differ"):
        read_table(write(tmp_path, "a.tsv", "text\tlabel\na\tb\n"), label_column="text")


def test_lines_to_predict():
    stream = io.BytesIO(b"\xef\xbb\xbffirst\r\n\n \t\nna\xefve \xff\nreal \xef\xbf\xbd here\nlast")
    assert list(read_lines(stream)) == [
        InputLine(1, "first", ""),
        InputLine(2, None, "empty line"),
        InputLine(3, None, "empty line"),
        InputLine(4, "na\ufffdve \ufffd", "2 characters that are not UTF-8 were replaced"),
        InputLine(5, "real \ufffd here", ""),
        InputLine(6, "last", ""),
    ]


@settings(deadline=None)
@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)))
def test_no_line_to_predict_is_lost(lines):
    records = list(read_lines(io.BytesIO(b"".join(line + b"\n" for line in lines))))
    assert [record.number for record in records] == list(range(1, len(lines) + 1))
    for line, record in zip(lines[1:], records[1:], strict=True):
        expected = line.removesuffix(b"\r").decode(errors="replace")
        assert record.text == (expected if expected.strip() else None)
