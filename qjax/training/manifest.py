"""The manifest of a checkpoint: size and sha256 of each of its files, so that damage is found before it is used.

Orbax notices a shortened array file but restores nearly every flipped bit without a word; it has no record of what
a folder should hold. The manifest is that record. It lies in the checkpoint's own folder, carries a sha256 of
itself, and is written last, so a folder with a manifest that agrees with it is whole.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qjax.checks import check, fail
from qjax.files import flush_to_disk, write_text
from qjax.training import checksum
from qjax.untrusted import parse_json

MANIFEST_NAME = "manifest.json"


class DamageError(Exception):
    """A checkpoint folder is not what was written; the message says which file and how."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint folder holds.

    Attributes:
      step: training step of the state.
      metric: name of the validation metric that ranks checkpoints.
      value: its value at this step, or None where it was not measured.
      leaves: path of each leaf of the state -> its type, such as `float32[8,3]`.
      files: path of each file, relative to the folder -> its size in bytes and its sha256 in hexadecimal.
      loss: validation loss, which ranks steps of equal `value`; None where it was not measured.
    """

    step: int
    metric: str
    value: float | None
    leaves: Mapping[str, str]
    files: Mapping[str, Any]
    loss: float | None = None


def write_manifest(
    folder: Path, *, step: int, metric: str, value: float | None, loss: float | None, leaves: Mapping[str, str]
) -> None:
    """Writes the manifest of a finished `folder` into it; all of the folder is on the disk when this returns."""
    files = {path.relative_to(folder).as_posix(): _measure(path) for path in sorted(_files(folder))}
    body = dataclasses.asdict(Manifest(step=step, metric=metric, value=value, loss=loss, leaves=leaves, files=files))
    write_text(folder / MANIFEST_NAME, json.dumps(checksum.seal(body), indent=1))
    for written in folder.rglob("*"):  # folders too: a file is only found again through its folder's entry
        flush_to_disk(written)
    flush_to_disk(folder)


def read_manifest(folder: Path) -> Manifest:
    """Returns the manifest of `folder`, its own sha256 checked.

    Raises:
      DamageError: the manifest is missing, not readable, changed, or belongs to another step.
    """
    try:
        sealed = parse_json((folder / MANIFEST_NAME).read_bytes(), MANIFEST_NAME)
        manifest = Manifest(**{name: value for name, value in sealed.items() if name != checksum.KEY})
    except FileNotFoundError:
        raise DamageError(f"no {MANIFEST_NAME}") from None
    except (ValueError, TypeError, AttributeError):
        raise DamageError(f"a {MANIFEST_NAME} that is not readable") from None
    if not checksum.is_intact(sealed):
        raise DamageError(f"a {MANIFEST_NAME} whose sha256 differs")
    if str(manifest.step) != folder.name:
        raise DamageError(f"a {MANIFEST_NAME} of step {manifest.step}")
    return manifest


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raises a `DamageError` where a file is missing or has another size: quick, reads no file."""
    for name, recorded in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamageError(f"no file {name}")
        size = path.stat().st_size
        if size != recorded["bytes"]:
            raise DamageError(f"{size} bytes in {name} instead of {recorded['bytes']}")


def check_file(folder: Path, manifest: Manifest, name: str) -> None:
    """Raises a `DamageError` unless file `name` is there and has the recorded sha256."""
    if name not in manifest.files:
        raise DamageError(f"no {name} in the {MANIFEST_NAME}")
    if not (folder / name).is_file():
        raise DamageError(f"no file {name}")
    if _measure(folder / name) != manifest.files[name]:
        raise DamageError(f"a file {name} whose sha256 differs")


def find_damage(folder: Path) -> str | None:
    """Reads every file of `folder` and returns what is wrong with the first damaged one, or None."""
    try:
        manifest = read_manifest(folder)
        check_sizes(folder, manifest)
        for name in manifest.files:
            check_file(folder, manifest, name)
    except DamageError as damage:
        return str(damage)
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def number_or_none(value: float | None) -> float | None:
    """Returns the value as JSON can hold it: None for NaN."""
    return None if value is None or math.isnan(value) else float(value)


def checked_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of `meta` as JSON gives it back, which must equal it."""
    expectation = "be what JSON gives back unchanged (text keys; no tuples, arrays or NaN)"
    try:
        copied = parse_json(json.dumps(dict(meta)), "meta")
    except (TypeError, ValueError) as error:
        fail("meta", expectation, str(error))
    check(copied == dict(meta), "meta", expectation, meta)
    return copied
