"""When a workdir comes to belong to a run, what is refused before and after, and what tells that it was changed."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
from interrupted import assert_same_run
from running import begin, die, error_line, tiny

from qjax.checks import UserError
from qjax.modes import train
from qjax.modes.setup import read_info, write_info
from qjax.training import checksum


def encoder_sha256(workdir):
    return hashlib.sha256((workdir / "encoder" / "model.safetensors").read_bytes()).hexdigest()


# ---- before the first checkpoint ---------------------------------------------------------------------------------

REFUSED = {
    "too many qubits": (("head.num_qubits=40",), "num_qubits"),
    # Native code takes up to 30 qubits, however many examples there are: one after the other.
    "too many for the gradient of a batch": (("head.num_qubits=31", "train.batch_size=1024"), "num_qubits"),
    "too few label states": (
        ("head.name=grover", "head.num_qubits=1", "head.num_iterations=0", "data.labels=('a','b','c')"),
        "head.num_qubits",
    ),
    "a batch of padding": (("train.batch_size=10000000",), "train.batch_size"),
    "a batch that cannot be dealt out": (("train.batch_size=9", "train.gradient_accumulation=2"), "train.batch_size"),
    "too many steps": (("train.num_epochs=2147483647",), "train.num_epochs"),
    "too many devices": (("train.num_devices=777",), "num_devices"),
    "texts longer than the encoder": (
        ("data.max_length=9999", "data.bucket_lengths=(9999,)", "encoder.checkpoint=minilm"),
        "data.max_length",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_command_leaves_no_trace(case, tmp_path, capsys):
    changes, named = REFUSED[case]
    data = []
    if "data.labels" in " ".join(changes):
        texts = tmp_path / "texts.tsv"
        texts.write_text("text\tlabel\n" + "".join(f"text {i}\t{'abc'[i % 3]}\n" for i in range(30)))
        data = ["--config.data.source=file", f"--config.data.path={texts}", "--config.data.max_examples=0"]
    before = sorted(tmp_path.iterdir())
    assert tiny(tmp_path / "new" / "run", *data, *(f"--config.{change}" for change in changes)) == 2
    assert named in error_line(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_a_diverged_run_may_be_begun_again_with_a_smaller_rate(trained, tmp_path, capsys):
    assert tiny(tmp_path, "--config.optimizer.learning_rate=1e30", "--config.seed=3") == 2
    assert "in this workdir while it holds no checkpoint" in error_line(capsys)
    assert not list(tmp_path.glob("checkpoints/[0-9]*"))
    assert tiny(tmp_path) == 0
    assert_same_run(tmp_path, trained)


@pytest.mark.parametrize("stop", ["save_config", "write_info", "_train"])
def test_a_run_killed_while_it_begins_leaves_nothing_to_the_next(stop, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(train, stop, die)
    begin(tmp_path, "--config.seed=1")
    monkeypatch.undo()
    monkeypatch.setattr(train, "_train", die)
    begin(tmp_path)
    assert encoder_sha256(tmp_path) == read_info(tmp_path).encoder_sha256 == encoder_sha256(trained)
    assert replace(read_info(tmp_path), description=None) == replace(read_info(trained), description=None)
    assert (tmp_path / "config.json").read_text() == (trained / "config.json").read_text()
    assert not list(tmp_path.glob(".*"))


def test_what_an_earlier_version_left_when_killed_between_its_files(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "encoder", tmp_path / "encoder")
    shutil.copy(trained / "run.json", tmp_path)
    monkeypatch.setattr(train, "_train", die)
    begin(tmp_path, "--config.seed=1")
    assert encoder_sha256(tmp_path) == read_info(tmp_path).encoder_sha256 != encoder_sha256(trained)


# ---- after it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_checkpoints_without_what_they_go_with_are_refused(name, unreported, capsys):
    (unreported / name).unlink()
    assert tiny(unreported) == 2
    assert f"hold the {name} that its checkpoints go with" in error_line(capsys)


@pytest.mark.parametrize("mode", ["train", "evaluate", "predict", "export"])
def test_a_configuration_changed_by_hand_is_refused(mode, unreported, tmp_path, capsys):
    path, texts = unreported / "config.json", tmp_path / "texts.txt"
    texts.write_text("A film.\n")
    assert path.read_text().count('"seed": 0') == 1
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    options = ["--config.seed=1"] if mode == "train" else [f"--mode={mode}"]
    options += [f"--input={texts}"] if mode == "predict" else []
    assert tiny(unreported, *options) == 2
    assert f"The config is not the one that {unreported} was trained with: expected sha256" in error_line(capsys)


def test_hashes_are_shown_whole_with_the_digit_where_they_differ(unreported, capsys):
    info = read_info(unreported)
    found = info.tokenizer_sha256
    other = found[:20] + ("0" if found[20] != "0" else "1") + found[21:]
    write_info(unreported, replace(info, tokenizer_sha256=other))
    assert tiny(unreported, "--mode=evaluate") == 2
    line = error_line(capsys)
    assert f"expected sha256 {other}, found {found}, another from digit 21 on" in line


def test_no_flipped_bit_of_the_record_gives_another_one(trained, tmp_path):
    info, whole = read_info(trained), (trained / "run.json").read_bytes()
    damaged = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        (tmp_path / "run.json").write_bytes(data)
        try:
            found = read_info(tmp_path)
        except UserError:
            damaged += 1
        else:
            assert found == info  # the bit was in white space
    assert damaged > 0.8 * len(whole)


def test_a_workdir_of_an_earlier_version_goes_on(trained, unreported):
    path = unreported / "run.json"
    body = json.loads(path.read_text())
    del body["config_sha256"], body[checksum.KEY]
    path.write_text(json.dumps(body, indent=1))
    log = unreported / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "crc32"}) + "\n" for row in rows))
    assert tiny(unreported, "--mode=evaluate") == 0
    assert tiny(unreported) == 0
    assert_same_run(unreported, trained)


# ---- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "config.json", "report.txt", "tensorboard", "encoder/vocab.txt", "export"])
@pytest.mark.parametrize("mode", ["train", "evaluate", "explain", "algorithm"])
def test_links_in_a_copied_workdir_are_refused(name, mode, unreported, tmp_path, capsys):
    target, link = tmp_path / "target", unreported / name
    if link.exists():
        shutil.move(link, target)
    else:
        target.write_text("mine")
    link.symlink_to(target)
    before = target.read_bytes() if target.is_file() else sorted(target.iterdir())
    assert tiny(unreported, f"--mode={mode}") == 2
    assert f"must hold no links, save for its folder checkpoints, but got {link}, a link to" in error_line(capsys)
    assert before == (target.read_bytes() if target.is_file() else sorted(target.iterdir()))


def test_checkpoints_may_lie_on_another_disk(trained, unreported, tmp_path):
    shutil.move(unreported / "checkpoints", tmp_path / "disk")
    (unreported / "checkpoints").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(unreported)
    assert tiny(tmp_path / "link") == 0
    assert (unreported / "checkpoints").is_symlink()
    assert_same_run(unreported, trained)
