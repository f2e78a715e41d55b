"""The training loop on a softmax regression: NumPy repeats the whole run, and every end can be resumed."""

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from qjax.checks import UserError
from qjax.data.batches import BatchStream
from qjax.signals import StopRequest
from qjax.training.checkpoint import Checkpoints
from qjax.training.clock import Clock, in_words
from qjax.training.display import Display
from qjax.training.features import Features
from qjax.training.inputs import FeatureInputs, make_batch
from qjax.training.loop import LoopOptions, LoopResult, Window, check_finite, resume_meta, train_loop
from qjax.training.mesh import make_mesh, replicate, shard
from qjax.training.metrics_log import MetricsLog, read_rows
from qjax.training.state import init_state
from qjax.training.step import make_train_step
from qjax.training.stopping import EarlyStopping

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(10, 3)).astype(np.float32), RNG.integers(0, 3, 10)
PARAMS = {"kernel": RNG.normal(size=(3, 3)).astype(np.float32)}
LEARNING_RATE, NUM_STEPS = 0.3, 12
OPTIMIZER = optax.sgd(LEARNING_RATE)
OPTIONS = LoopOptions(num_steps=NUM_STEPS, eval_every=4, log_every=5)


@cache
def real_step() -> Callable[..., Any]:
    """Compiled once for all tests."""

    def apply(variables: Any, batch: Any, dropout_keys: Any) -> Any:
        return batch["features"] @ variables["params"]["kernel"]

    return make_train_step(apply, OPTIMIZER, mesh=make_mesh(1))


def make_stream(features: np.ndarray = X) -> BatchStream:
    """4 epochs of 3 batches; the last of each epoch's plan holds two examples and two filling rows."""
    inputs = FeatureInputs(Features(features, np.arange(11)))
    return BatchStream(
        lambda spec: make_batch(inputs, list(Y), np.arange(10), spec, words=False),
        lengths=inputs.lengths,
        seed=0,
        batch_size=4,
        bucket_lengths=(1,),
        num_epochs=4,
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def validate(params: Any) -> dict[str, Any]:
    """A report on all examples, with an entry that no row of the log holds."""
    p = softmax(X @ np.asarray(params["kernel"], np.float64))
    accuracy = float((p.argmax(axis=1) == Y).mean())
    return {"loss": -float(np.log(p[np.arange(10), Y]).mean()), "accuracy": accuracy, "f1": 0.5, "text": "unused"}


def scripted(values: list[float]) -> Callable[[Any], dict[str, Any]]:
    """Validations with these accuracies, one after another."""
    remaining = iter(values)
    return lambda params: {"loss": 1.0, "accuracy": next(remaining), "f1": 0.0}


class LateRequest(StopRequest):
    """A SIGTERM that comes after so many polls."""

    def __init__(self, num_polls: int) -> None:
        self.num_polls = num_polls

    def poll(self) -> str | None:
        self.num_polls -= 1
        if self.num_polls < 0:
            self.signal = "SIGTERM"
        return super().poll()


def train(
    workdir: Path,
    *,
    options: LoopOptions = OPTIONS,
    patience: int = 0,
    metric: str = "loss",
    validate: Callable[[Any], dict[str, Any]] = validate,
    request: StopRequest | None = None,
    stream: BatchStream | None = None,
    log: bool = True,
    clock: Clock | None = None,
    train_step: Callable[..., Any] | None = None,  # the real one by default
) -> LoopResult:
    """Runs or resumes the training of `workdir`, joined as `--mode=train` does it."""
    mesh = make_mesh(1)
    mode = "min" if metric == "loss" else "max"
    with Checkpoints(workdir / "checkpoints", metric=metric, mode=mode, keep_best=1) as checkpoints:
        state, window = replicate(init_state(PARAMS, OPTIMIZER, jax.random.key(0)), mesh), Window()
        validation_due = False
        stopping = EarlyStopping(metric=metric, patience=patience)
        restored = checkpoints.restore_latest(state)
        if restored is not None:
            state, window = restored.state, Window(**restored.meta["window"])
            stopping = stopping.restored(restored.meta["early_stopping"])
            validation_due = "validation_due" in restored.meta
        first_step = int(state.step)
        metrics_log = MetricsLog(workdir, step=first_step) if log else None
        try:
            return train_loop(
                state,
                frozen={},
                train_step=train_step or real_step(),
                place_batch=lambda batch: shard(batch, mesh),
                stream=stream or make_stream(),
                validate=validate,
                checkpoints=checkpoints,
                log=metrics_log,
                display=Display(num_steps=options.num_steps, first_step=first_step, enabled=False),
                options=options,
                stopping=stopping,
                window=window,
                validation_due=validation_due,
                clock=clock or Clock(),
                request=request or StopRequest(),
                failure_directory=workdir,
            )
        finally:
            if metrics_log is not None:
                metrics_log.close()


def no_more_steps(*_: Any) -> Any:
    raise AssertionError("a run that is over took another step")


def steps_by_hand() -> tuple[list[dict[str, float]], list[np.ndarray]]:
    """Sums of each of the 12 steps, and the kernels before the first, after the first, ..., in float64."""
    stream, kernels, sums = make_stream(), [PARAMS["kernel"].astype(float)], []
    for position in range(NUM_STEPS):
        indices = [i for i in stream.batch_indices(position).indices if i >= 0]
        x, y = X[indices].astype(float), Y[indices]
        p = softmax(x @ kernels[-1])
        gradient = x.T @ (p - np.eye(3)[y]) / len(y)
        loss = -np.log(p[np.arange(len(y)), y]).sum()
        correct = (p.argmax(axis=1) == y).sum()
        sums.append({"loss": loss, "count": len(y), "correct": correct, "norm": np.linalg.norm(gradient)})
        kernels.append(kernels[-1] - LEARNING_RATE * gradient)
    return sums, kernels


def without_rate(workdir: Path) -> list[dict[str, Any]]:
    """Rows of the log without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("time", "examples_per_second")} for row in read_rows(workdir)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoopResult]:
    """The workdir and result of a whole run."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, train(workdir)


# A whole run --------------------------------------------------------------------------------------------------------


def test_whole_run_against_numpy(undisturbed: tuple[Path, LoopResult]) -> None:
    workdir, result = undisturbed
    sums, kernels = steps_by_hand()
    assert {s["count"] for s in sums} == {2, 4}  # uneven batches: a mean of means would differ
    np.testing.assert_allclose(result.state.params["kernel"], kernels[-1], atol=1e-5)
    assert (int(result.state.step), bool(result.state.finite), result.reason) == (12, True, "steps")
    rows = read_rows(workdir)
    expected_places = [(4, "validation"), (5, "train"), (8, "validation"), (10, "train"), (12, "train")]
    assert [(row["step"], row["split"]) for row in rows] == [*expected_places, (12, "validation")]
    for row, (first, last) in zip(
        (r for r in rows if r["split"] == "train"), [(0, 5), (5, 10), (10, 12)], strict=True
    ):
        total = {name: sum(s[name] for s in sums[first:last]) for name in ("loss", "count", "correct")}
        assert row["loss"] == pytest.approx(total["loss"] / total["count"], abs=1e-5)
        assert row["accuracy"] == pytest.approx(total["correct"] / total["count"], abs=1e-6)
        assert row["gradient_norm"] == pytest.approx(sums[last - 1]["norm"], abs=1e-5)
        assert row["examples_per_second"] > 0
    for row in (r for r in rows if r["split"] == "validation"):
        report = validate({"kernel": kernels[row["step"]]})
        assert set(row) == {"step", "split", "time", "loss", "accuracy", "f1"}
        assert row["loss"] == pytest.approx(report["loss"], abs=1e-5)
        assert row["accuracy"] == report["accuracy"]


def test_every_validation_is_a_checkpoint(undisturbed: tuple[Path, LoopResult]) -> None:
    workdir, result = undisturbed
    with Checkpoints(workdir / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
        steps, best = checkpoints.steps(), checkpoints.best_step()
        meta = checkpoints.read_meta(12)
    assert steps[-2:] == [8, 12]
    losses = {row["step"]: row["loss"] for row in read_rows(workdir) if row["split"] == "validation"}
    assert best == min(losses, key=losses.__getitem__) == result.stopping.best_step
    assert meta == resume_meta(result.stopping, Window(), seconds=meta["seconds"])


def test_a_finished_run_does_nothing_more(undisturbed: tuple[Path, LoopResult]) -> None:
    workdir, result = undisturbed
    before = read_rows(workdir)
    again = train(workdir, train_step=no_more_steps, validate=scripted([]))
    assert (again.reason, int(again.state.step), again.stopping) == ("steps", 12, result.stopping)
    assert read_rows(workdir) == before


def test_a_process_without_a_log_trains_the_same(tmp_path: Path, undisturbed: tuple[Path, LoopResult]) -> None:
    result = train(tmp_path, log=False)
    np.testing.assert_array_equal(result.state.params["kernel"], undisturbed[1].state.params["kernel"])
    assert read_rows(tmp_path) == []


# Early stopping -----------------------------------------------------------------------------------------------------


def test_early_stopping_and_what_it_leaves(tmp_path: Path) -> None:
    options = LoopOptions(num_steps=NUM_STEPS, eval_every=2, log_every=100)
    accuracies = [0.5, 0.6, 0.4, 0.6]  # of equal values the first counts
    result = train(tmp_path, options=options, patience=2, metric="accuracy", validate=scripted(accuracies))
    assert (result.reason, int(result.state.step)) == ("patience", 8)
    assert (result.stopping.best, result.stopping.best_step) == (0.6, 4)
    assert [row["accuracy"] for row in read_rows(tmp_path) if row["split"] == "validation"] == accuracies
    with Checkpoints(tmp_path / "checkpoints", metric="accuracy", mode="max", keep_best=1) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([4, 6, 8], 4)
        assert checkpoints.read_meta(8)["window"]["count"] > 0  # no row was written: all of it is still to come
    again = train(tmp_path, options=options, patience=2, metric="accuracy", train_step=no_more_steps)
    assert (again.reason, int(again.state.step)) == ("patience", 8)


def test_a_tie_with_a_lower_loss_moves_the_best_step_of_stopping_and_of_checkpoints_alike(tmp_path: Path) -> None:
    options = LoopOptions(num_steps=NUM_STEPS, eval_every=1, log_every=100)
    losses = iter([0.4, 0.3, 0.35, 0.1])
    report = {"accuracy": 0.96, "f1": 0.5, "balanced_accuracy": 0.5}
    result = train(
        tmp_path,
        options=options,
        patience=3,
        metric="balanced_accuracy",
        validate=lambda _: {**report, "loss": next(losses)},
    )
    assert (result.reason, int(result.state.step), result.stopping.best_step) == ("patience", 4, 4)
    with Checkpoints(tmp_path / "checkpoints", metric="balanced_accuracy", mode="max", keep_best=1) as checkpoints:
        assert checkpoints.best_step() == 4
    assert [row["balanced_accuracy"] for row in read_rows(tmp_path) if row["split"] == "validation"] == [0.5] * 4


def test_a_validation_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    options = LoopOptions(num_steps=3, eval_every=1, log_every=100)
    accuracies = [float("nan"), 0.2, float("nan")]
    result = train(tmp_path, options=options, patience=5, metric="accuracy", validate=scripted(accuracies))
    assert (result.reason, result.stopping.best, result.stopping.best_step) == ("steps", 0.2, 2)
    with Checkpoints(tmp_path / "checkpoints", metric="accuracy", mode="max", keep_best=1) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([2, 3], 2)


# Stopped and resumed ------------------------------------------------------------------------------------------------


def assert_ends_alike(workdir: Path, undisturbed: tuple[Path, LoopResult]) -> None:
    """Resumes the run of `workdir`, which then is the undisturbed one."""
    result = train(workdir)
    assert result.reason == "steps"
    assert without_rate(workdir) == without_rate(undisturbed[0])
    np.testing.assert_array_equal(result.state.params["kernel"], undisturbed[1].state.params["kernel"])
    assert result.stopping == undisturbed[1].stopping
    ends = []
    for directory in (workdir, undisturbed[0]):
        with Checkpoints(directory / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
            meta = checkpoints.read_meta(NUM_STEPS)
            assert meta.pop("seconds") > 0
            ends.append((checkpoints.best_step(), checkpoints.latest_step(), meta))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("num_polls", [0, 3, 4, 10, 11])  # steps 4 and 12 are to be validated
def test_stop_signal_saves_and_the_resumed_run_ends_like_an_undisturbed_one(
    tmp_path: Path, undisturbed: tuple[Path, LoopResult], num_polls: int
) -> None:
    stopped = train(tmp_path, request=LateRequest(num_polls))
    step = int(stopped.state.step)
    assert (stopped.reason, step) == ("SIGTERM", num_polls + 1)
    with Checkpoints(tmp_path / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
        assert checkpoints.latest_step() == step
        window = Window(**checkpoints.read_meta(step)["window"])
    sums = steps_by_hand()[0][step - step % 5 : step if step < NUM_STEPS else 0]  # the last step writes its row
    assert window.count == sum(s["count"] for s in sums)
    assert window.loss == pytest.approx(sum(s["loss"] for s in sums), abs=1e-4)
    assert_ends_alike(tmp_path, undisturbed)


@pytest.mark.parametrize("step", [4, 12])
def test_a_validation_that_a_signal_stopped_is_made_up_for(
    tmp_path: Path, undisturbed: tuple[Path, LoopResult], step: int
) -> None:
    request = StopRequest()

    def stopped_validate(params: Any) -> dict[str, Any]:
        if step == 12 and len(read_rows(tmp_path)) < 5:
            return validate(params)
        request.ask("SIGTERM")
        request.check()
        raise AssertionError

    for _ in range(2):  # the second run is stopped in the validation that it makes up for
        request.signal = None
        stopped = train(tmp_path, request=request, validate=stopped_validate)
        assert (stopped.reason, int(stopped.state.step)) == ("SIGTERM", step)
    assert_ends_alike(tmp_path, undisturbed)


# A loss that is not finite ------------------------------------------------------------------------------------------

POISONED_ID = 7


def poisoned_stream() -> tuple[BatchStream, int]:
    """The stream with an example whose features are not numbers, and the first step (from 1) that meets it."""
    features = X.copy()
    features[POISONED_ID, 1] = np.nan
    stream = make_stream(features)
    met = [position for position in range(len(stream)) if POISONED_ID in stream.batch_indices(position).indices]
    return stream, met[0] + 1


def test_non_finite_loss_stops_the_run_and_leaves_what_to_look_at(tmp_path: Path) -> None:
    stream, step = poisoned_stream()
    ids = [int(i) for i in stream[step - 1]["ids"] if i >= 0]
    target = tmp_path / f"not_finite_step_{step}"
    with pytest.raises(UserError) as caught:
        train(tmp_path, stream=stream)
    for part in (f"at step {step}, on the examples with ids {ids}", str(target), "optimizer.clip_norm"):
        assert part in str(caught.value)
    assert json.loads((target / "info.json").read_text()) == {"step": step, "ids": ids}
    batch = np.load(target / "batch.npz")
    assert set(batch) == {"features", "ids", "labels"}
    for name, value in stream[step - 1].items():
        np.testing.assert_array_equal(batch[name], value)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(target / "state")
    np.testing.assert_allclose(state["params"]["kernel"], steps_by_hand()[1][step - 1], atol=1e-5)
    assert int(state["step"]) == step - 1
    # Nothing of the poisoned state was validated, logged or saved: the run can go on from before it.
    assert all(row["step"] < step for row in read_rows(tmp_path))
    with Checkpoints(tmp_path / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
        assert all(saved < step for saved in checkpoints.steps())


def test_non_finite_loss_stops_the_run_within_one_step(tmp_path: Path) -> None:
    stream, step = poisoned_stream()
    taken: list[int] = []

    def counted(*arguments: Any) -> Any:
        taken.append(1)
        return real_step()(*arguments)

    options = LoopOptions(num_steps=NUM_STEPS, eval_every=100, log_every=100)
    with pytest.raises(UserError, match=f"not finite at step {step},"):
        train(tmp_path, stream=stream, options=options, train_step=counted)
    assert len(taken) <= step + 1


def test_non_finite_loss_is_noticed_at_a_stop_signal_too(tmp_path: Path) -> None:
    stream, step = poisoned_stream()
    options = LoopOptions(num_steps=NUM_STEPS, eval_every=100, log_every=100)
    with pytest.raises(UserError, match=f"not finite at step {step},"):
        train(tmp_path, stream=stream, options=options, request=LateRequest(step))
    with Checkpoints(tmp_path / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
        assert checkpoints.steps() == []


def test_non_finite_loss_is_told_on_a_full_disk_too(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64)
    (disk / "filling").write_bytes(bytes(60 * 1024))
    state = init_state(PARAMS, OPTIMIZER, jax.random.key(0))
    state = dataclasses.replace(state, finite=jnp.zeros((), bool))
    with pytest.raises(UserError, match=r"not finite at step 1, .* could not be left to look at: .*No space left"):
        check_finite(state, make_stream(), disk)


def test_a_finite_state_passes(tmp_path: Path) -> None:
    check_finite(init_state({"w": jnp.ones(2)}, OPTIMIZER, jax.random.key(0)), make_stream(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_holds_the_seconds_of_all_parts(tmp_path: Path) -> None:
    clock = Clock()
    clock.resume(1000.0)
    train(tmp_path, clock=clock)
    with Checkpoints(tmp_path / "checkpoints", metric="loss", mode="min", keep_best=1) as checkpoints:
        seconds = checkpoints.read_meta(12)["seconds"]
    assert 1000 < seconds < clock.seconds() < 1100


# Parts --------------------------------------------------------------------------------------------------------------


def test_window_is_a_mean_over_items_not_over_steps() -> None:
    window = Window(loss=1.0, count=2.0, correct=1.0)
    window.add([{"loss": np.float32(0.5), "count": 4, "correct": 3}, {"loss": 2.0, "count": 1, "correct": 0}])
    assert window == Window(loss=1.0 + 0.5 * 4 + 2.0, count=7.0, correct=4.0)
    assert window.row() == {"loss": pytest.approx(5 / 7), "accuracy": pytest.approx(4 / 7)}
    assert Window().row() == {"loss": 0.0, "accuracy": 0.0}
    meta = json.loads(json.dumps(resume_meta(EarlyStopping(metric="f1", patience=1), window, seconds=1.0)))
    assert Window(**meta["window"]) == window


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200.0, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
        (90000.0, "1 d 1 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_display_prints_a_line_a_validation_and_marks_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    stopping = EarlyStopping(metric="accuracy", patience=3)
    display = Display(num_steps=40, first_step=8)
    for _ in range(2):
        display.advance()
        display.trained({"loss": 0.25}, 5)
    for step, value in ((10, 0.75), (11, 0.5)):
        stopping = stopping.update(step, value, 0.5)
        display.validated(step, {"loss": 0.5, "accuracy": value, "f1": 0.625}, stopping)
        display.advance()
    display.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("step 10/40  loss 0.2500  val loss 0.5000  accuracy 0.7500  f1 0.6250")
    assert re.search(r"  [\d,]+ examples/s  \d+ s left \*$", first)
    assert second.startswith("step 11/40")
    assert second.endswith("left")


def test_display_of_another_process_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(num_steps=4, first_step=0, enabled=False)
    display.advance()
    display.trained({"loss": 0.25}, 5)
    stopping = EarlyStopping(metric="loss", patience=3).update(1, 0.5, 0.5)
    display.validated(1, {"loss": 0.5, "accuracy": 0.5, "f1": 0.5}, stopping)
    display.close()
    assert capsys.readouterr() == ("", "")
