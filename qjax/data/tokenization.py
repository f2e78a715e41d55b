"""Word pieces of BERT-family checkpoints (Wu et al., 2016; Devlin et al., NAACL 2019), without any network.

Take an attention mask from the lengths of `token_ids`, not from comparing ids with the padding id: a text may spell
"[PAD]".
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import BertWordPieceTokenizer

from qjax.checks import check, fail
from qjax.files import make_folder, write_text
from qjax.untrusted import MAX_VOCABULARY, parse_json, read_json

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MAX_RANDOM_VOCABULARY = 2000
Options = dict[str, bool | None]  # as a tokenizer_config.json states them


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts as token ids.

    Attributes:
      token_ids: int32 `[length]` each, from [CLS] to [SEP], not padded.
      cut: bool `[texts]`, whether pieces at a text's end did not fit.
    """

    token_ids: list[np.ndarray]
    cut: np.ndarray

    @property
    def num_cut(self) -> int:
        """Number of texts of which something was cut."""
        return int(self.cut.sum())


@dataclass(frozen=True, eq=False)
class EncodedWords:
    """Sentences of words as token ids.

    Attributes:
      token_ids: int32 `[length]` each, from [CLS] to [SEP], not padded.
      first_positions: int32 `[words]` each, the position in `token_ids` of a word's first piece; -1 for a word that
        did not fit.
    """

    token_ids: list[np.ndarray]
    first_positions: list[np.ndarray]

    @property
    def num_cut(self) -> int:
        """Number of words that did not fit."""
        return sum(int((positions < 0).sum()) for positions in self.first_positions)


class Tokenizer:
    """A word-piece tokenizer: `load_tokenizer` reads one, `random_tokenizer` makes one from texts.

    Attributes:
      vocab_size: number of token ids; all ids are below it.
      pad_id, unk_id, cls_id, sep_id: ids of the special tokens.
    """

    def __init__(self, backend: tokenizers.Tokenizer, definition: str):
        """Wraps `backend`; `definition` is the text that determines what it does."""
        self._backend = backend
        self._definition = definition
        backend.no_truncation()  # files carry settings for both, e.g. MiniLM's cuts at 128 pieces
        backend.no_padding()
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [token for token in SPECIAL_TOKENS[:4] if token not in vocabulary]
        check(not missing, "vocabulary", f"hold {', '.join(SPECIAL_TOKENS[:4])}", f"one without {', '.join(missing)}")
        self.vocab_size = max(vocabulary.values()) + 1
        check(
            self.vocab_size <= MAX_VOCABULARY, "vocabulary", f"have ids below {MAX_VOCABULARY}", self.vocab_size - 1
        )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (vocabulary[token] for token in SPECIAL_TOKENS[:4])

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that determines the token ids of a text."""
        return hashlib.sha256(self._definition.encode()).hexdigest()

    def encode_texts(self, texts: Sequence[str], max_length: int) -> Encoded:
        """Encodes texts as [CLS] pieces [SEP], cut at the end to at most `max_length` ids."""
        _check_max_length(max_length)
        token_ids, cut = [], np.zeros(len(texts), dtype=bool)
        for row, encoding in enumerate(self._backend.encode_batch_fast(list(texts), add_special_tokens=False)):
            token_ids.append(self._enclose(encoding.ids, max_length))
            cut[row] = len(encoding.ids) > max_length - 2
        return Encoded(token_ids, cut)

    def encode_words(self, sentences: Sequence[Sequence[str]], max_length: int) -> EncodedWords:
        """Encodes sentences of words as [CLS] pieces [SEP], cut at the end to at most `max_length` ids.

        Each word is encoded by itself, so that it has at least one piece of its own: a word of which nothing is left
        after cleaning (control characters) becomes [UNK]. A word counts as fitting if its first piece does.
        """
        _check_max_length(max_length)
        words = sorted({word for sentence in sentences for word in sentence})
        encodings = self._backend.encode_batch_fast(words, add_special_tokens=False)
        pieces = {word: encoding.ids or [self.unk_id] for word, encoding in zip(words, encodings, strict=True)}
        token_ids, first_positions = [], []
        for sentence in sentences:
            ids = [index for word in sentence for index in pieces[word]]
            sizes = [len(pieces[word]) for word in sentence]
            positions = 1 + np.cumsum([0, *sizes])[:-1]
            positions[positions > max_length - 2] = -1
            token_ids.append(self._enclose(ids, max_length))
            first_positions.append(positions.astype(np.int32))
        return EncodedWords(token_ids, first_positions)

    def save(self, directory: Path | str) -> None:
        """Writes vocab.txt and tokenizer_config.json, from which `load_tokenizer` makes the same tokenizer.

        For tokenizers that are determined by these two alone: those of `random_tokenizer` and those read from them.
        """
        definition = parse_json(self._definition, "tokenizer")
        if "vocabulary" not in definition:
            fail("tokenizer", "come from a vocab.txt to be saved", "one from a tokenizer.json")
        folder = Path(directory)
        make_folder(folder)
        lines = "".join(token + "\n" for token in definition["vocabulary"])
        write_text(folder / "vocab.txt", lines)
        config = {"tokenizer_class": "BertTokenizer", **definition["options"]}
        write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")

    def _enclose(self, ids: list[int], max_length: int) -> np.ndarray:
        return np.array([self.cls_id, *ids[: max_length - 2], self.sep_id], dtype=np.int32)


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """Returns the tokenizer of a BERT-family directory in Hugging Face layout.

    It is read from tokenizer.json where there is one, or else made from vocab.txt and the lower-casing that
    tokenizer_config.json states. Where nothing states it, a vocabulary without a single upper-case letter (special
    tokens aside) means lower-casing.

    Raises:
      UserError: there is neither file, or it is not a word-piece tokenizer with BERT's special tokens.
    """
    folder = Path(directory)
    if (folder / "tokenizer.json").is_file():
        return _from_definition(folder / "tokenizer.json")
    if not (folder / "vocab.txt").is_file():
        fail(str(folder), "hold tokenizer.json or vocab.txt", "neither")
    vocabulary = [line.removesuffix("\r") for line in _read(folder / "vocab.txt").split("\n")]
    vocabulary = vocabulary[:-1] if not vocabulary[-1] else vocabulary
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    cased = any(token != token.lower() for token in vocabulary if token not in SPECIAL_TOKENS and token[:1] != "[")
    options: Options = {"do_lower_case": not cased, "strip_accents": None, "tokenize_chinese_chars": True}
    for name in options:
        value = config.get(name)
        check(value is None or isinstance(value, bool), f"{name} in {config_path}", "be true or false", repr(value))
        options[name] = options[name] if value is None else value
    return _from_vocabulary(vocabulary, options)


def _from_definition(path: Path) -> Tokenizer:
    """Makes a tokenizer of a tokenizer.json."""
    definition = _read(path)
    model = parse_json(definition, str(path)).get("model")
    model = model if isinstance(model, dict) else {}
    check(model.get("type") == "WordPiece", str(path), "hold a WordPiece tokenizer", repr(model.get("type")))
    unknown = model.get("unk_token")
    check(unknown == "[UNK]", str(path), "hold a tokenizer with the unk_token '[UNK]'", repr(unknown))
    try:
        backend = tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # what the Rust side raises has no type of its own
        fail(str(path), "be a tokenizer that can be read", str(error))
    return Tokenizer(backend, definition)


def random_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Makes the tokenizer of the 'random' encoder: BERT's special tokens and the most common words of the texts.

    At most 2,000 tokens, lower-cased, words of one frequency in alphabetical order; all other words are [UNK].
    """
    options: Options = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    splitter = _from_vocabulary(list(SPECIAL_TOKENS), options)._backend
    counts: Counter[str] = Counter()
    for text in texts:
        normal = splitter.normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(normal))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = [*SPECIAL_TOKENS, *words][:_MAX_RANDOM_VOCABULARY]
    return _from_vocabulary(vocabulary, options)


def _from_vocabulary(vocabulary: list[str], options: Options) -> Tokenizer:
    """Makes a tokenizer of BERT's cleaning, splitting and longest-match word pieces; ids are positions.

    Args:
      vocabulary: the tokens.
      options: do_lower_case, strip_accents and tokenize_chinese_chars, as in a tokenizer_config.json.
    """
    missing = [token for token in SPECIAL_TOKENS[:4] if token not in vocabulary]
    check(not missing, "vocab.txt", f"hold {', '.join(SPECIAL_TOKENS[:4])}", f"one without {', '.join(missing)}")
    ids = {token: index for index, token in enumerate(vocabulary)}
    wrapped = BertWordPieceTokenizer(
        ids,
        lowercase=options["do_lower_case"],
        strip_accents=options["strip_accents"],
        handle_chinese_chars=options["tokenize_chinese_chars"],
    )
    return Tokenizer(wrapped._tokenizer, json.dumps({"vocabulary": vocabulary, "options": options}))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(str(path), "be a UTF-8 file that can be read", str(error))


def _check_max_length(max_length: int) -> None:
    check(max_length >= 3, "data.max_length", "leave room for [CLS], a piece and [SEP], 3", max_length)
