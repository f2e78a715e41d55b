import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

import main
from qjax.config import MODES, save_config
from qjax.configs import default

ROOT = pathlib.Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def calls(monkeypatch):
    """Replaces every mode by one that notes its arguments and returns 7."""
    noted = []

    def make_run(mode):
        def run(**options):
            noted.append((mode, options))
            return 7

        return run

    for mode in MODES:
        monkeypatch.setitem(sys.modules, f"qjax.modes.{mode}", types.SimpleNamespace(run=make_run(mode)))
    return noted


@pytest.fixture
def workdir(tmp_path):
    save_config(default.get_config(), tmp_path / "run")
    return str(tmp_path / "run")


def test_train_gets_config_and_workdir(calls, tmp_path):
    arguments = [f"--workdir={tmp_path}/new", "--config", str(ROOT / "configs" / "tiny.py"), "--config.seed", "4"]
    assert main.main(arguments) == 7
    ((mode, options),) = calls
    assert (mode, set(options), options["workdir"]) == ("train", {"config", "workdir"}, f"{tmp_path}/new")
    assert (options["config"].seed, options["config"].head.num_qubits) == (4, 3)


def test_evaluate_gets_split_or_input(calls, workdir, tmp_path):
    file = tmp_path / "new.tsv"
    file.write_text("text\tlabel\n")
    assert main.main(["--mode=evaluate", f"--workdir={workdir}"]) == 7
    assert main.main(["--mode=evaluate", f"--workdir={workdir}", "--split=validation"]) == 7
    assert main.main(["--mode=evaluate", f"--workdir={workdir}", f"--input={file}"]) == 7
    found = [(options["split"], options["input_path"]) for _, options in calls]
    assert found == [("test", ""), ("validation", ""), ("test", str(file))]


@pytest.mark.parametrize("mode", ["predict", "export"])
def test_predict_and_export_get_their_input(calls, workdir, tmp_path, mode):
    file = tmp_path / "lines.txt"
    file.write_text("a text\n")
    assert main.main([f"--mode={mode}", f"--workdir={workdir}"]) == 7
    assert main.main([f"--mode={mode}", f"--workdir={workdir}", f"--input={file}"]) == 7
    assert [set(options) for _, options in calls] == [{"config", "workdir", "input_path"}] * 2
    assert [options["input_path"] for _, options in calls] == ["", str(file)]


def test_explain_takes_a_configuration_or_a_workdir(calls, workdir):
    config = f"--config={ROOT / 'configs' / 'tiny.py'}"
    assert main.main(["--mode=explain", config]) == 7
    assert main.main(["--mode=explain", config, "--workdir="]) == 7
    assert main.main(["--mode=explain", f"--workdir={workdir}"]) == 7
    assert [set(options) for _, options in calls] == [{"config", "workdir"}] * 3
    assert [options["workdir"] for _, options in calls] == [None, None, workdir]
    assert [options["config"].head.num_qubits for _, options in calls] == [3, 3, 8]


def test_predict_reads_standard_input_by_name(calls, workdir):
    assert main.main(["--mode=predict", f"--workdir={workdir}", "--input=-"]) == 7
    assert calls[0][1]["input_path"] == "-"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"`--workdir` must name the folder of the run, but got nothing"),
        (["--workdir="], r"`--workdir` must name the folder of the run"),
        (["--mode=explain"], r"`--workdir` must name the folder of the run, or be left out with --config, but got n"),
        (["--mode=export", "--config=c.py"], r"`--workdir` must name the folder of the run, but got nothing"),
        (["--workdir=w", "--mod=train"], r"but got --mod\. Did you mean '--mode'\? Choices: --config, --workdir,"),
        (["--workdir=w", "--mode=trian"], r"`--mode` must be .*'trian'\. Did you mean 'train'\? Choices: train, eva"),
        (["--workdir=w", "evaluate"], r"must hold flags only, --name=value, but got 'evaluate'"),
        (["--workdir"], r"must give every flag its value, but got Missing value for flag --workdir"),
        (["--workdir=w", "--split=test"], r"`--split` must be left out unless --mode is evaluate, but got train"),
        (["--workdir=w", "--input=x"], r"`--input` must be left out unless --mode is evaluate or predict or export"),
        (["--workdir=w", "--mode=predict", "--split=test"], r"`--split` must be left out unless --mode is evaluate"),
        (["--workdir=w", "--mode=evaluate", "--split=tset"], r"`--split` must be .*Did you mean 'test'\?"),
        (["--workdir=w", "--mode=evaluate", "--split="], r"`--split` must be one of the choices, but got ''"),
        (["--workdir=w", "--mode=evaluate", "--input="], r"`--input` must name a file, but got ''"),
        (["--workdir=w", "--mode=evaluate", "--input=-"], r"`--input` must name a file, but got '-'"),
        (["--workdir=w", "--mode=export", "--input=/"], r"`--input` must name a file, but got '/'"),
        (
            ["--workdir=w", "--mode=evaluate", "--input=x", "--split=test"],
            r"`--split` must be left out with --input, but got test",
        ),
        (["--workdir=w", "--mode=evaluate"], r"`--workdir` must hold the config.json of a run of --mode=train"),
        (
            ["--workdir=w", "--config=absent.py"],
            r"`--config` must name .*absent.py, which is not a file",
        ),
        (["--workdir=w", "--config.head.reps=x"], r"`--config.head.reps` must be an integer, but got 'x'"),
        (["--workdir=w", "--config.heads.reps=2"], r"Did you mean 'head.reps'\?"),
    ],
)
def test_mistakes_are_one_clear_line(calls, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), calls) == ("", 1, [])
    assert re.match(r"error: Argument .* must .*, but got ", err)
    assert re.search(message, err), err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_flag_and_mode(capsys, flag):
    assert main.main([flag, "--mode=whatever"]) == 0
    out = capsys.readouterr().out
    for word in ("--config", "--workdir", "--mode=train", "--split", "--input", *MODES):
        assert word in out
    assert len(out.splitlines()) < 20


def test_our_own_bugs_keep_their_traceback(monkeypatch, tmp_path):
    def run(**options):
        raise ValueError("a bug")

    monkeypatch.setitem(sys.modules, "qjax.modes.train", types.SimpleNamespace(run=run))
    with pytest.raises(ValueError, match="a bug"):
        main.main([f"--workdir={tmp_path}"])


def test_main_runs_from_any_folder_and_exits_2(tmp_path):
    command = [sys.executable, str(ROOT / "main.py"), "--workdir=w", "--config.head.num_qubit=3"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: Argument `--config.head.num_qubit` must name a key")
    assert not os.listdir(tmp_path)


def test_main_is_thin():
    assert len((ROOT / "main.py").read_text(encoding="utf-8").splitlines()) < 100
