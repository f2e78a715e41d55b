"""`--mode=explain`, run as main.py runs it: from a configuration, from a workdir, and what it refuses."""

import json
import re

import pytest
from running import ROOT

import main as command
from qjax.config import load_config, save_config
from qjax.quantum import Explanation

TINY = f"--config={ROOT / 'configs' / 'tiny.py'}"
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def explain(*arguments):
    return command.main(["--mode=explain", *arguments])


@pytest.fixture
def workdir(tmp_path):
    """A workdir that holds the configuration of a run."""
    save_config(load_config(ROOT / "configs" / "tiny.py"), tmp_path / "run")
    return tmp_path / "run"


def test_a_configuration_needs_no_workdir(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert explain(TINY, "--config.head.reps=2", "--config.train.gradient_accumulation=2") == 0
    out = capsys.readouterr().out
    assert "a count by a model, not a measurement" in out
    assert re.search(r"examples  train\.batch_size 16 / \(\d device\(s\) x 2 micro-batch\(es\)\) = \d", out)
    assert "circuit   3 qubits, 21 gates" in out
    assert "read: 3 observables" in out
    assert "\nengine    " in out
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_gives_its_configuration_and_gets_a_file(capsys, workdir):
    assert explain(f"--workdir={workdir}", "--config.train.batch_size=32") == 0
    out = capsys.readouterr().out
    found = Explanation.from_json((workdir / "explain.json").read_text())
    assert str(found) in out
    assert f"written   {workdir}/explain.json" in out
    assert (found.num_qubits, found.num_inputs, found.num_observables, found.dtype) == (3, 3, 3, "float32")
    assert json.loads((workdir / "explain.json").read_text())["note"] == "counted by a model, not measured"


def test_both_together_in_a_new_workdir(capsys, tmp_path):
    assert explain(TINY, f"--workdir={tmp_path / 'new'}", "--config.head.readout=log_probabilities") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["explain.json"]
    assert "read: the state itself" in capsys.readouterr().out


def test_words_are_counted(capsys):
    assert explain(f"--config={ROOT / 'configs' / 'ner_variational.py'}") == 0
    out = capsys.readouterr().out
    assert "sentences x 80 words, padding included, at most" in out
    assert re.search(r"^reverse +\d", out, re.M)


def test_the_grover_head_explains_its_preparation_and_counts_a_circuit_of_gates(capsys):
    assert explain(TINY, "--config.head.name=grover", "--config.head.num_iterations=2") == 0
    out = capsys.readouterr().out
    assert "circuit   3 qubits, 12 gates" in out
    assert "read: the state itself" in out
    # a run of A has 12 gates, a round two of them and two phases
    assert "rounds    2 a class" in out
    assert "no pass over the state" in out
    assert "on a device 64 gates a class" in out
    whole = ("--config.head.simulation=states",)
    assert explain(TINY, "--config.head.name=grover", "--config.head.num_iterations=2", *whole) == 0
    assert "2 to 3 passes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "`--workdir` must name the folder of the run, or be left out with --config, but got nothing"),
        (
            (f"--config={ROOT / 'configs' / 'sentiment_mlp.py'}",),
            r"`head.name` must name a head that has a circuit .* but got 'mlp'\. Choices: variational",
        ),
        ((f"--config={ROOT / 'configs' / 'sentiment_linear.py'}",), "`head.name` must name .* but got 'linear'"),
        (("--workdir=absent",), "`--workdir` must hold the config.json of a run of --mode=train"),
        ((TINY, "--input=x"), "`--input` must be left out unless --mode is evaluate or predict or export"),
        ((TINY, "--config.train.num_devices=99"), "`train.num_devices` must lie in"),
        ((TINY, "--config.head.hidden_size=4"), "`head.hidden_size` must keep its default"),
    ],
)
def test_mistakes(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert explain(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err), err


def test_a_run_binds_its_configuration(capsys, workdir):
    assert explain(TINY, f"--workdir={workdir}") == 0
    assert explain(f"--workdir={workdir}", "--config.head.reps=4") == 2
    assert "--mode=explain may change train.num_devices" in capsys.readouterr().err


def test_a_workdir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert explain(TINY, f"--workdir={tmp_path / 'file'}") == 2
    assert "`--workdir` must be a folder that can be written to" in capsys.readouterr().err
