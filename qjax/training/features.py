"""Features of a frozen encoder: computed once for a data set, kept on disk, shared by every run and mode.

The cache's key is a hash of everything that the features depend on, so that a hit is always right; a file is
renamed into place when it is whole, and a damaged one is computed again.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from qjax.checks import UserError
from qjax.files import make_folder, new_file, remove_stale
from qjax.training.mesh import everywhere

# Part of every key: raise it when the meaning of a cached feature changes.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Features:
    """Feature rows of a data set.

    Attributes:
      values: float32 `[rows, features]`.
      offsets: int64 `[examples + 1]`; example i has the rows `offsets[i]:offsets[i + 1]`, one for a sentence, one a
        word for entities.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_rows(cls, rows: Sequence[np.ndarray]) -> "Features":
        """Returns the features of examples that have the rows `[..., features]` each."""
        rows = [np.atleast_2d(own) for own in rows]
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.int64)
        return cls(values=np.concatenate(rows).astype(np.float32), offsets=offsets)

    def of(self, example: int) -> np.ndarray:
        """Returns the `[rows, features]` of one example."""
        return self.values[self.offsets[example] : self.offsets[example + 1]]


def hash_texts(items: Iterable[str | Sequence[str]]) -> str:
    """Returns the sha256 of a sequence of texts, or of sequences of words; their boundaries count."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def features_key(**parts: Any) -> str:
    """Returns the cache key of named, JSON-able parts (weights, tokenizer, texts, length, pooling, dtype)."""
    return hashlib.sha256(json.dumps({"version": VERSION, **parts}, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Features | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            # All of each member against its CRC: reading an array alone stops where its own header says, so that a
            # damaged shape gives fewer rows and no error.
            damaged = archive.zip.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong CRC of {damaged}")
            return Features(values=archive["values"], offsets=archive["offsets"])
    except Exception as error:  # a flipped bit in an archive comes as one of a dozen types
        print(f"Feature cache {path} is damaged ({error}); computing it again.", file=sys.stderr)
        return None


def _write(path: Path, features: Features) -> None:
    make_folder(path.parent)
    with new_file(path) as file:
        np.savez(file, values=features.values, offsets=features.offsets)


def load_or_compute(
    directory: Path, key: str, compute: Callable[[], Features], *, write: bool = True
) -> tuple[Features, bool]:
    """Returns the features under `key` and whether they came from the cache `directory`.

    Several processes call this together; where one of them misses, all of them compute.

    Args:
      directory: of the cache; made when missing.
      key: from `features_key`.
      compute: called on a miss.
      write: whether a miss is filled; False in all but one of several processes.
    """
    path = Path(directory) / f"{key}.npz"
    if write:
        remove_stale(directory)
    cached = _read(path)
    if everywhere(cached is not None):
        return cast(Features, cached), True
    features = compute()
    if not write:
        return features, False
    try:
        _write(path, features)
        shutil.rmtree(_parts_directory(directory, key), ignore_errors=True)
    except UserError as error:
        print(f"Features are not cached: {error}", file=sys.stderr)
    return features, False


def load_or_compute_part(
    directory: Path, key: str, name: str, compute: Callable[[], Features], *, write: bool = True
) -> Features:
    """Returns part `name` of the features under `key`, which is kept until `load_or_compute` has the whole.

    A run that was stopped while it computed goes on where it was. A part that cannot be written is only not kept.

    Args:
      directory, key, write: as in `load_or_compute`.
      name: says which examples, in which batches, the part holds.
      compute: called where the part was not kept.
    """
    path = _parts_directory(directory, key) / f"{name}.npz"
    kept = _read(path)
    if everywhere(kept is not None):
        return cast(Features, kept)
    features = compute()
    if write:
        with contextlib.suppress(UserError):  # the whole says it
            _write(path, features)
    return features


def _parts_directory(directory: Path, key: str) -> Path:
    return Path(directory) / f"{key}.parts"
