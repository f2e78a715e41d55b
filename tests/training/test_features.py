"""The feature cache: hits, misses, damage, and files that are whole or not there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qjax.training.features import VERSION, Features, features_key, hash_texts, load_or_compute, load_or_compute_part

FEATURES = Features(
    values=np.arange(10, dtype=np.float32).reshape(5, 2) / 7, offsets=np.asarray([0, 2, 2, 5], np.int64)
)
KEY = features_key(weights="a")


class Counted:
    """A computation that counts its calls."""

    def __init__(self, features: Features = FEATURES) -> None:
        self.features = features
        self.calls = 0

    def __call__(self) -> Features:
        self.calls += 1
        return self.features


def assert_same(actual: Features, expected: Features = FEATURES) -> None:
    for name in ("values", "offsets"):
        assert getattr(actual, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))


def test_rows_of_an_example() -> None:
    np.testing.assert_array_equal(FEATURES.of(0), FEATURES.values[:2])
    assert FEATURES.of(1).shape == (0, 2)
    np.testing.assert_array_equal(FEATURES.of(2), FEATURES.values[2:])


# Hits and misses ----------------------------------------------------------------------------------------------------


def test_a_miss_is_computed_and_kept_and_then_a_hit(tmp_path: Path) -> None:
    compute, directory = Counted(), tmp_path / "made" / "when missing"
    features, cached = load_or_compute(directory, KEY, compute)
    assert (cached, compute.calls) == (False, 1)
    assert features is FEATURES
    assert [path.name for path in directory.iterdir()] == [f"{KEY}.npz"]
    features, cached = load_or_compute(directory, KEY, compute)
    assert (cached, compute.calls) == (True, 1)
    assert_same(features)


def test_parts_are_kept_until_the_whole_is_there(tmp_path: Path) -> None:
    compute = Counted()
    for _ in range(2):
        assert_same(load_or_compute_part(tmp_path, KEY, "first", compute))
    assert compute.calls == 1
    (part,) = tmp_path.rglob("first*")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert_same(load_or_compute_part(tmp_path, KEY, "first", compute))
    assert compute.calls == 2  # a damaged part is made again
    load_or_compute(tmp_path, KEY, Counted())
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.npz"]


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    other = Features(values=FEATURES.values + 1, offsets=FEATURES.offsets)
    load_or_compute(tmp_path, KEY, Counted())
    features, cached = load_or_compute(tmp_path, features_key(weights="b"), Counted(other))
    assert not cached
    assert_same(features, other)
    assert_same(load_or_compute(tmp_path, KEY, Counted(other))[0])


def test_a_process_that_does_not_write_leaves_no_file(tmp_path: Path) -> None:
    compute = Counted()
    assert load_or_compute(tmp_path, KEY, compute, write=False) == (FEATURES, False)
    assert list(tmp_path.iterdir()) == []
    load_or_compute(tmp_path, KEY, compute)
    assert load_or_compute(tmp_path, KEY, compute, write=False)[1]  # it reads all the same


# Keys ---------------------------------------------------------------------------------------------------------------


PARTS = {
    "weights": "0a",
    "encoder": {"hidden_size": 32, "layers": 2},
    "tokenizer": "0b",
    "texts": hash_texts(["a", "b"]),
    "max_length": 64,
    "pooling": "mean",
    "dtype": "float32",
}
CHANGES: dict[str, Any] = {
    "weights": "0c",
    "encoder": {"hidden_size": 32, "layers": 3},
    "tokenizer": "0d",
    "texts": hash_texts(["b", "a"]),
    "max_length": 63,
    "pooling": "cls",
    "dtype": "bfloat16",
}


def test_every_part_changes_the_key() -> None:
    keys = {features_key(**PARTS)} | {features_key(**{**PARTS, name: value}) for name, value in CHANGES.items()}
    keys |= {features_key(**{k: v for k, v in PARTS.items() if k != name}) for name in PARTS}
    assert len(keys) == 1 + 2 * len(PARTS)


def test_key_is_the_sha256_of_version_and_parts_in_any_order() -> None:
    text = json.dumps(dict(sorted({**PARTS, "version": VERSION}.items())))
    assert features_key(**PARTS) == hashlib.sha256(text.encode()).hexdigest()
    assert features_key(**dict(reversed(PARTS.items()))) == features_key(**PARTS)


def test_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = features_key(**PARTS)
    monkeypatch.setattr("qjax.training.features.VERSION", VERSION + 1)
    assert features_key(**PARTS) != before


def test_hash_of_texts_sees_their_order_and_boundaries() -> None:
    variants: list[list[Any]] = [
        ["ab", "c"],
        ["a", "bc"],
        ["c", "ab"],
        ["abc"],
        ["ab\nc"],
        ['ab"', '"c'],
        [["ab", "c"]],
        [["ab"], ["c"]],
        ["ab", "c", ""],
        ["äb", "c"],
        [],
    ]
    assert len({hash_texts(items) for items in variants}) == len(variants)
    assert hash_texts(iter(["ab", "c"])) == hash_texts(("ab", "c"))
    assert hash_texts([["ab", "c"]]) == hash_texts([("ab", "c")])
    hash_texts(["\ud800"])  # half a surrogate pair, as a reader of broken UTF-8 may give


# Damage -------------------------------------------------------------------------------------------------------------


def make_file(directory: Path, features: Features = FEATURES) -> Path:
    load_or_compute(directory, KEY, Counted(features))
    return directory / f"{KEY}.npz"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"not an archive",
        lambda data: b"\x93NUMPY" + data[6:],
        lambda data: data.replace(b"offsets.npy", b"offcuts.npy"),
    ],
    ids=["empty", "a byte less", "half", "text", "another magic", "another member"],
)
def test_a_damaged_file_is_computed_again_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    path = make_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    compute = Counted()
    features, cached = load_or_compute(tmp_path, KEY, compute)
    assert (cached, compute.calls) == (False, 1)
    assert_same(features)
    assert f"Feature cache {path} is damaged" in capsys.readouterr().err
    assert load_or_compute(tmp_path, KEY, compute)[1]


def test_no_flipped_bit_gives_other_features(tmp_path: Path) -> None:
    path = make_file(tmp_path)
    whole = path.read_bytes()
    hits = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        features, cached = load_or_compute(tmp_path, KEY, Counted(), write=False)
        hits += cached
        assert_same(features)
    # Padding, dates and the like may change without harm; most of the file may not.
    assert hits < len(whole) / 2


def test_a_damaged_shape_of_a_large_array_is_found(tmp_path: Path) -> None:
    # NumPy reads as much as the array's header says, and zipfile compares the CRC only where all was read.
    large = Features(values=np.arange(144 * 48, dtype=np.float32).reshape(144, 48), offsets=np.arange(145))
    path = make_file(tmp_path, large)
    data = bytearray(path.read_bytes())
    data[data.index(b"(144, 48)") + 3] ^= 4  # 144 rows become 140
    path.write_bytes(data)
    features, cached = load_or_compute(tmp_path, KEY, Counted(large))
    assert not cached
    assert_same(features, large)


# Writing ------------------------------------------------------------------------------------------------------------


def break_writing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def write_half(file: Any, **_: Any) -> None:
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(np, "savez", write_half)


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_writing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_or_compute(tmp_path, KEY, Counted())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_costs_only_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_writing(monkeypatch, OSError(28, "No space left on device"))
    features, cached = load_or_compute(tmp_path, KEY, Counted())
    assert (features, cached) == (FEATURES, False)
    assert list(tmp_path.iterdir()) == []
    assert "must be writable, but got the error: No space left on device." in capsys.readouterr().err


def test_an_error_in_the_computation_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Features:
        raise RuntimeError("encoder")

    with pytest.raises(RuntimeError, match="encoder"):
        load_or_compute(tmp_path, KEY, fail)
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_file(tmp_path)
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    break_writing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_or_compute(tmp_path, KEY, Counted())
    assert path.read_bytes() == damaged
