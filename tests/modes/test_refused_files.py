"""Workdirs, checkpoints and configurations of others that cannot be used: one line, status 2, nothing bound."""

import inspect
import json
import os
import re
import shutil
import types

import pytest
from running import error_line, tiny

import main
from qjax.modes import header
from qjax.modes.header import print_cut


def refused(capsys, status):
    """Returns the one line of a refused command."""
    assert status == 2
    return error_line(capsys)


def test_a_vocabulary_larger_than_the_embedding_is_refused(trained, tmp_path, capsys):
    encoder, workdir = tmp_path / "encoder", tmp_path / "run"
    shutil.copytree(trained / "encoder", encoder)
    rows = json.loads((encoder / "config.json").read_text())["vocab_size"]
    with (encoder / "vocab.txt").open("a") as file:
        file.write("onemore\n")
    sizes = [f"--config.encoder.random_{key}={value}" for key, value in (("hidden_size", 32), ("num_heads", 2))]
    line = refused(capsys, tiny(workdir, f"--config.encoder.checkpoint={encoder}", *sizes))
    expected = f"`tokenizer in {encoder}` must have ids below {rows}, the vocab_size of {encoder / 'config.json'}, "
    assert f"{expected}but got ids up to {rows}." in line
    assert not (workdir / "run.json").exists() | (workdir / "config.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder.random_hidden_size": 2**18},
            r"`encoder.random_hidden_size` must leave the parameters within .*iB",
        ),
        ({"encoder.random_num_layers": 10**9}, r"`encoder.random_num_layers` must lie in 1\.\.1000"),
        ({"head.num_qubits": 1000}, r"`head.num_qubits` must lie in 1\.\.64, but got 1000\.$"),
        (
            {"head.num_qubits": 64},
            r"`num_qubits` must leave a run within this device.s memory .*, but got 64 qubits .* over 2\^\d+ bytes",
        ),
    ],
)
def test_sizes_beyond_any_memory_are_refused_at_once(tmp_path, capsys, changes, message):
    line = refused(capsys, tiny(tmp_path / "run", *(f"--config.{key}={value}" for key, value in changes.items())))
    assert re.search(message, line)
    assert len(line) < 300


@pytest.mark.parametrize("mode", ["train", "evaluate", "predict", "export", "explain", "algorithm"])
def test_a_workdir_name_that_is_too_long_is_one_line(tmp_path, capsys, mode):
    name = tmp_path / ("x" * 300)
    config = ["--config=configs/algorithms/grover.py"] if mode == "algorithm" else []
    assert "too long" in refused(capsys, main.main([f"--workdir={name}", f"--mode={mode}", *config]))


@pytest.mark.parametrize("label", ["\x1b[31mred", "two\nlines", "\u202eback"])
def test_a_label_in_run_json_that_a_terminal_obeys_is_refused(trained, tmp_path, capsys, label):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns(".lock"))
    saved = json.loads((workdir / "run.json").read_text())
    saved["label_names"][0] = label
    (workdir / "run.json").write_text(json.dumps(saved))
    line = refused(capsys, main.main([f"--workdir={workdir}", "--mode=evaluate"]))
    assert str(workdir / "run.json") in line
    assert line.isprintable()


def test_a_finished_report_is_printed_without_what_a_terminal_obeys(trained, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns(".lock"))
    with (workdir / "report.txt").open("a") as file:
        file.write("\x1b[2Jgone\n")
    assert main.main([f"--workdir={workdir}"]) == 0
    assert capsys.readouterr().out.endswith("\\u001b[2Jgone\n")


def test_a_workdir_alone_goes_on_with_its_run(trained, capsys):
    assert main.main([f"--workdir={trained}"]) == 0
    assert "This run is finished" in capsys.readouterr().out


def test_a_workdir_whose_name_no_encoding_has(tmp_path, capsys):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    assert "\\udcff" in refused(capsys, main.main([f"--workdir={name}", "--mode=evaluate"]))


@pytest.mark.parametrize(
    ("task", "items", "num_cut", "advised"),
    [
        ("sentence", ["a"] * 10, 0, None),
        ("sentence", ["a"] * 10, 5, False),
        ("sentence", ["a"] * 10, 6, True),
        ("entities", [("a", "b")] * 5, 5, False),
        ("entities", [("a", "b")] * 5, 6, True),
    ],
)
def test_much_that_is_cut_comes_with_advice(monkeypatch, capsys, task, items, num_cut, advised):
    monkeypatch.setattr(header, "is_main_process", lambda: True)
    config = types.SimpleNamespace(task=task, data=types.SimpleNamespace(max_length=24))
    encoder = types.SimpleNamespace(config=types.SimpleNamespace(max_position_embeddings=512))
    inspect.unwrap(print_cut)(types.SimpleNamespace(config=config, encoder=encoder), num_cut, items)
    out = capsys.readouterr().out
    assert (advised is None) == (out == "")
    assert ("a larger data.max_length (at most 512)" in out) == bool(advised)
    if out:
        assert f"{num_cut} of 10 {'words' if task == 'entities' else 'texts'}" in out
