"""The modes, run as main.py runs them, on configs/tiny.py."""

import datetime
import io
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from running import begin, die, tiny

import qjax
from qjax.data import load_dataset, read_lines
from qjax.modes import description, train
from qjax.training.metrics_log import read_rows


def test_training_leaves_everything_it_names(trained):
    for name in (
        "config.json",
        "run.json",
        "metrics.jsonl",
        "report.json",
        "report.txt",
        "curves.png",
        "confusion.png",
    ):
        assert (trained / name).stat().st_size > 0, name
    assert any((trained / "tensorboard").iterdir())
    rows = read_rows(trained)
    assert [row["step"] for row in rows if row["split"] == "validation"] == [5, 10, 15, 20]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(2, 21, 2))


def test_report_holds_baseline_and_both_models(trained):
    report = json.loads((trained / "report.json").read_text())
    assert list(report["reports"]) == ["majority class", "before training", "after training"]
    after = report["reports"]["after training"]
    confusion = np.asarray(after["confusion"])
    assert after["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    assert report["reports"]["majority class"]["accuracy"] == pytest.approx(
        confusion.sum(axis=1).max() / confusion.sum()
    )


def test_a_run_says_what_it_is(trained):
    report = json.loads((trained / "report.json").read_text())["run"]
    assert report == json.loads((trained / "run.json").read_text())["description"]
    assert (report["name"], report["seed"], report["versions"]["jax"]) == (trained.name, 0, jax.__version__)
    assert report["data"]["examples"] == {"train": 160, "validation": 20, "test": 20}
    state = ocp.StandardCheckpointer().restore(trained / "checkpoints" / "20" / "state")
    assert report["model"]["trained_parameters"] == sum(leaf.size for leaf in jax.tree.leaves(state["params"]))
    text = (trained / "report.txt").read_text()
    for words in ("model     variational head", "data      movie_reviews: train 160", f"jax {jax.__version__}"):
        assert words in text
    times = [row["time"] for row in read_rows(trained)]
    assert times == sorted(times)
    assert abs(times[0] - datetime.datetime.fromisoformat(report["started"]).timestamp()) < 300


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    def git(*arguments):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit():
        description.commit.cache_clear()
        return description.commit()

    (tmp_path / "qjax").mkdir()
    file = tmp_path / "qjax" / "__init__.py"
    file.write_text("")
    monkeypatch.setattr(qjax, "__file__", str(file))
    assert commit() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v1")
    assert commit() == git("rev-parse", "HEAD")
    file.write_text("changed")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert commit() is None
    description.commit.cache_clear()


def test_a_run_without_a_description_is_still_read(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    saved = json.loads((copy / "run.json").read_text())
    for name in ("description", "config_sha256", "sha256"):  # of later versions
        del saved[name]
    (copy / "run.json").write_text(json.dumps(saved))
    assert tiny(copy, "--mode=evaluate") == 0
    assert json.loads((copy / "evaluation_test.json").read_text())["run"] is None


@pytest.mark.parametrize("fixture", ["trained", "trained_entities"])
def test_evaluate_equals_the_training_report_to_the_last_digit(fixture, request, capsys):
    workdir = request.getfixturevalue(fixture)
    assert tiny(workdir, "--mode=evaluate") == 0
    evaluated = json.loads((workdir / "evaluation_test.json").read_text())
    assert evaluated == json.loads((workdir / "report.json").read_text())
    assert (workdir / "report.txt").read_text() in capsys.readouterr().out


def test_evaluate_another_split(trained):
    assert tiny(trained, "--mode=evaluate", "--split=validation") == 0
    report = json.loads((trained / "evaluation_validation.json").read_text())["reports"]["after training"]
    best = max(row["accuracy"] for row in read_rows(trained) if row["split"] == "validation")
    assert report["accuracy"] == best


def test_evaluate_a_file_equals_the_split_it_holds(trained, tmp_path):
    dataset = load_dataset(task="sentence", source="movie_reviews", max_examples=200)
    path = tmp_path / "held_out.tsv"
    rows = [f"{dataset.items[i]}\t{dataset.label_names[dataset.labels[i]]}" for i in dataset.splits["test"]]
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert tiny(trained, "--mode=evaluate", f"--input={path}") == 0
    of_file = json.loads((trained / "evaluation_held_out.json").read_text())["reports"]["after training"]
    of_split = json.loads((trained / "report.json").read_text())["reports"]["after training"]
    assert of_file["confusion"] == of_split["confusion"]
    assert of_file["loss"] == pytest.approx(of_split["loss"], abs=1e-6)


def test_run_again_says_it_is_finished(trained, capsys):
    before = (trained / "report.json").stat().st_mtime_ns
    assert tiny(trained) == 0
    assert "finished" in capsys.readouterr().out
    assert (trained / "report.json").stat().st_mtime_ns == before


def test_predict_gives_a_line_for_every_line(trained, tmp_path, capsys, monkeypatch):
    content = "A fine film.\n\n" + "very " * 5000 + "long\nbad \xff\n\r\nlast line without an end"
    raw = content.encode("latin-1")
    path = tmp_path / "input.txt"
    path.write_bytes(raw)
    assert tiny(trained, "--mode=predict", f"--input={path}") == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert "label" not in records[1]
    assert "empty" in records[1]["note"]
    assert "24 word pieces" in records[2]["cut"]
    assert "UTF-8" in records[3]["note"]
    for number in (0, 2, 3, 5):
        probabilities = records[number]["probabilities"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert records[number]["label"] == max(probabilities, key=probabilities.get)
    assert "line 2: " in captured.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert tiny(trained, "--mode=predict") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == records


def test_predict_nothing(trained, tmp_path, capsys):
    path = tmp_path / "empty.txt"
    path.write_bytes(b"")
    assert tiny(trained, "--mode=predict", f"--input={path}") == 0
    assert capsys.readouterr().out == ""


def test_predict_agrees_with_evaluate(trained, tmp_path, capsys):
    dataset = load_dataset(task="sentence", source="movie_reviews", max_examples=200)
    test = dataset.splits["test"]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(dataset.items[i] for i in test) + "\n", encoding="utf-8")
    assert len(list(read_lines(path.open("rb")))) == len(test)
    assert tiny(trained, "--mode=predict", f"--input={path}") == 0
    predicted = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    right = np.mean([name == dataset.label_names[dataset.labels[i]] for name, i in zip(predicted, test, strict=True)])
    report = json.loads((trained / "report.json").read_text())["reports"]["after training"]
    assert right == pytest.approx(report["accuracy"])


def test_predict_tags(trained_entities, tmp_path, capsys):
    path = tmp_path / "sentences.txt"
    path.write_text("Ada Lovelace lives in London .\n" + "word " * 60 + "\n", encoding="utf-8")
    assert tiny(trained_entities, "--mode=predict", f"--input={path}") == 0
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["tokens"] == ["Ada", "Lovelace", "lives", "in", "London", "."]
    assert len(first["tags"]) == len(first["probabilities"]) == 6
    assert len(second["tags"]) == 60
    assert second["tags"][-1] == "O"
    assert second["probabilities"][-1] is None
    assert "cut" in second


def test_entities_are_learnt(trained_entities):
    reports = json.loads((trained_entities / "report.json").read_text())["reports"]
    assert reports["after training"]["f1"] > reports["before training"]["f1"]
    assert reports["majority class"]["f1"] == 0.0


@pytest.mark.parametrize("fixture", ["trained", "trained_entities"])
def test_export_is_validated(fixture, request, capsys):
    workdir = request.getfixturevalue(fixture)
    assert tiny(workdir, "--mode=export") == 0
    result = json.loads((workdir / "export" / "validation.json").read_text())
    assert result["passed"] is True
    assert result["num_circuits"] == 16
    assert result["largest_amplitude_difference"] < 1e-5
    inputs = json.loads((workdir / "export" / "inputs.json").read_text())
    assert len(inputs) == 16
    assert "passed" in capsys.readouterr().out


def test_export_of_the_grover_head_has_a_circuit_for_each_class(trained_grover, tmp_path, capsys):
    path = tmp_path / "input.txt"
    path.write_text("A fine film.\nA bad one.\n", encoding="utf-8")
    assert tiny(trained_grover, "--mode=export", f"--input={path}") == 0
    assert "exported   4 circuits" in capsys.readouterr().out
    export = trained_grover / "export"
    names = [f"example_{i}_class_{c}" for i in (0, 1) for c in (0, 1)]
    assert sorted(file.stem for file in export.glob("*.qasm")) == names
    result = json.loads((export / "validation.json").read_text())
    assert result["passed"] is True
    assert result["largest_amplitude_difference"] < 1e-5
    assert [row["name"] for row in result["per_circuit"]] == names
    # The head's scores are what the exported circuits' label qubit shows: P(1) = (1 - <Z>) / 2 in the run of class 1.
    inputs = json.loads((export / "inputs.json").read_text())
    assert inputs == {"example_0": "A fine film.", "example_1": "A bad one."}
    assert tiny(trained_grover, "--mode=predict", f"--input={path}") == 0
    for i, line in enumerate(capsys.readouterr().out.splitlines()[-2:]):
        z = [result["per_circuit"][2 * i + c]["expectations"][0] for c in (0, 1)]
        scores = np.asarray([(1 + z[0]) / 2, (1 - z[1]) / 2])
        found = list(json.loads(line)["probabilities"].values())
        np.testing.assert_allclose(found, scores / scores.sum(), atol=1e-5)


def test_training_says_what_the_rounds_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "_train", die)
    begin(tmp_path, "--config.head.name=grover", "--config.data.max_examples=40")
    out = capsys.readouterr().out
    assert "1 round(s) a class, phases fixed; fixed phases take a probability of 0.250 to 1" in out
    assert "gives each label 0.500" in out
    assert "; 2 of them" in out


def test_export_of_own_sentences(trained, tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("A fine film.\n\nA bad one.\n", encoding="utf-8")
    assert tiny(trained, "--mode=export", f"--input={path}") == 0
    inputs = json.loads((trained / "export" / "inputs.json").read_text())
    assert list(inputs.values()) == ["A fine film.", "A bad one."]


def test_export_that_disagrees_exits_non_zero(trained, monkeypatch):
    from qjax.modes import export

    real = export.validate
    monkeypatch.setattr(export, "validate", lambda *a, **k: {**real(*a, **k), "passed": False})
    assert tiny(trained, "--mode=export") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=evaluate", "--split=tset"], "Did you mean 'test'"),
        (["--mode=predict", "--input=missing.txt"], "must name a file"),
        (["--config.head.reps=2"], "head.reps"),
        (["--mode=evaluate", "--config.head.reps=2"], "head.reps"),
    ],
)
def test_mistakes_are_one_line(trained, arguments, message, capsys):
    assert tiny(trained, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_modes_need_a_trained_workdir(tmp_path, capsys):
    assert tiny(tmp_path, "--mode=evaluate") == 2
    assert "config.json" in capsys.readouterr().err


def test_changed_encoder_is_refused(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    weights = copy / "encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert tiny(copy, "--mode=evaluate") == 2
    assert "encoder is not the one" in capsys.readouterr().err
