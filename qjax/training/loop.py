"""The training loop: steps, validations, checkpoints, early stopping, and an end that can be resumed.

A run is a pure function of its configuration, seed and data. A step takes one batch, so `state.step` is also the
position in the stream; checkpoint and log are cut at the same step, and a resumed run repeats nothing.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qjax.checks import UserError
from qjax.data.batches import BatchStream
from qjax.files import make_folder, new_file, write_text
from qjax.signals import StopError, StopRequest
from qjax.training.checkpoint import Checkpoints, save_tree
from qjax.training.clock import Clock
from qjax.training.display import Display
from qjax.training.metrics_log import MetricsLog
from qjax.training.state import TrainState
from qjax.training.stopping import EarlyStopping

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How long, how often: steps in all, between validations, and between rows of the log."""

    num_steps: int
    eval_every: int
    log_every: int


@dataclasses.dataclass
class Window:
    """Sums over the steps since the last row of the log; part of a checkpoint, so that a resumed row is whole."""

    loss: float = 0.0
    count: float = 0.0
    correct: float = 0.0

    def add(self, sums: list[dict[str, Any]]) -> None:
        """Adds fetched step metrics, whose 'loss' is a mean over 'count' items."""
        for step in sums:
            self.loss += float(step["loss"]) * float(step["count"])
            self.count += float(step["count"])
            self.correct += float(step["correct"])

    def row(self) -> dict[str, float]:
        """Returns means over valid items."""
        count = max(self.count, 1.0)
        return {"loss": self.loss / count, "accuracy": self.correct / count}


class Recorder:
    """Gathers what the steps report, and writes rows to the log and the display.

    Args:
      window: sums over the steps since the last row, fresh or restored.
      log: None in all but one of several processes.
      display: what a person sees.
    """

    def __init__(self, window: Window, *, log: MetricsLog | None, display: Display) -> None:
        self.window = window
        self._log = log
        self._display = display
        self._pending: list[dict[str, Any]] = []
        self._gradient_norm = math.nan
        self._num_examples = 0
        self._started = time.perf_counter()

    def add(self, batch: Mapping[str, Any], metrics: dict[str, Any]) -> None:
        """Takes in one step, without waiting for the devices to have done it."""
        self._num_examples += int((batch["ids"] >= 0).sum())
        self._pending.append(metrics)
        self._display.advance()

    def fetch(self) -> None:
        """Brings the window up to the last step, which waits for the devices."""
        if self._pending:
            steps = jax.device_get(self._pending)
            self.window.add(steps)
            self._gradient_norm = float(steps[-1]["gradient_norm"])
            self._pending.clear()

    def write_training(self, step: int) -> None:
        """Writes the row of the fetched window and begins the next; validations and checkpoints count in its time."""
        rate = self._num_examples / (time.perf_counter() - self._started)
        row = {**self.window.row(), "gradient_norm": self._gradient_norm, "examples_per_second": rate}
        if self._log is not None:
            self._log.write(step, "train", row)
        self._display.trained(row, self._num_examples)
        self.window, self._num_examples, self._started = Window(), 0, time.perf_counter()

    def write_validation(self, step: int, report: Report, stopping: EarlyStopping) -> None:
        """Writes the row of a validation."""
        names = dict.fromkeys(("loss", "accuracy", "f1", stopping.metric))
        row = {name: report[name] for name in names}
        if self._log is not None:
            self._log.write(step, "validation", row)
        self._display.validated(step, row, stopping)


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """The state at the end, and why it ended: 'steps', 'patience' or the name of a signal."""

    state: TrainState
    stopping: EarlyStopping
    reason: str


def resume_meta(
    stopping: EarlyStopping, window: Window, *, seconds: float, validation_due: bool = False
) -> dict[str, Any]:
    """Returns what a checkpoint holds beside the state.

    Args:
      stopping, window: after the checkpoint's step.
      seconds: that the run took; the clock decides nothing else in a checkpoint.
      validation_due: if a signal came before its validation.
    """
    meta: dict[str, Any] = {"early_stopping": stopping.to_dict(), "window": dataclasses.asdict(window)}
    return meta | {"seconds": seconds} | ({"validation_due": True} if validation_due else {})


def train_loop(
    state: TrainState,
    *,
    frozen: Any,
    train_step: Callable[..., tuple[TrainState, dict[str, Any]]],
    place_batch: Callable[[Any], Any],
    stream: BatchStream,
    validate: Callable[[Any], Report],
    checkpoints: Checkpoints,
    log: MetricsLog | None,
    display: Display,
    options: LoopOptions,
    stopping: EarlyStopping,
    window: Window,
    validation_due: bool,
    clock: Clock,
    request: StopRequest,
    failure_directory: Path,
) -> LoopResult:
    """Trains from `state.step` to the end, to early stopping or to a stop signal.

    Args:
      state: fresh or restored.
      frozen: parameters that stay fixed, passed to every step.
      train_step: from `make_train_step`.
      place_batch: puts a batch of NumPy arrays on the devices.
      stream: batches by position.
      validate: `params -> report` on the validation split, with the named metric in it; may raise a `StopError`.
      checkpoints, log, display: where results go; `log` is None in all but one of several processes.
      options: see `LoopOptions`.
      stopping, window, validation_due: fresh or restored with the state.
      clock: of the run.
      request: set by a signal.
      failure_directory: where a state whose loss was not finite is left.

    Raises:
      UserError: a loss or a gradient was not finite.
    """
    step, signal, finite, due = int(state.step), None, True, validation_due
    recorder = Recorder(window, log=log, display=display)
    with contextlib.closing(stream.iterate(step)) as batches:
        while signal is None and (due or (step < options.num_steps and not stopping.should_stop)):
            if not due:
                _, batch = next(batches)
                state, metrics = train_step(state, frozen, place_batch(batch))
                if not finite:  # of the step before: this one is under way, so that looking keeps no device waiting
                    check_finite(state, stream, failure_directory)
                finite = metrics["finite"]
                recorder.add(batch, metrics)
                step += 1
                signal = request.poll()  # read once: it may come at any moment, also between the lines below
                due = step % options.eval_every == 0 or step == options.num_steps
                log_now = step % options.log_every == 0 or step == options.num_steps
                if not (log_now or due or signal):
                    continue
                recorder.fetch()
                check_finite(state, stream, failure_directory)
                if log_now:
                    recorder.write_training(step)
                if not (due or signal):
                    continue
            value = loss = None
            if signal is None:
                try:
                    report = validate(state.params)
                    due, value, loss = False, float(report[stopping.metric]), float(report["loss"])
                    stopping = stopping.update(step, value, loss)
                    recorder.write_validation(step, report, stopping)
                except StopError:
                    signal = request.signal
            meta = resume_meta(stopping, recorder.window, seconds=clock.seconds(), validation_due=due)
            checkpoints.save(step, state, meta, value, loss=loss)
    checkpoints.wait()
    return LoopResult(state, stopping, reason=signal or ("patience" if stopping.should_stop else "steps"))


def check_finite(state: TrainState, stream: BatchStream, directory: Path) -> None:
    """Raises where a loss or gradient was not finite, after leaving the state before it and the batch to look at."""
    if bool(state.finite):
        return
    position = int(state.step)  # frozen by the step at fault, which would have been number position + 1
    batch = stream[position]
    ids = [int(i) for i in batch["ids"] if i >= 0]
    target = directory / f"not_finite_step_{position + 1}"
    try:
        _leave(target, state, batch, {"step": position + 1, "ids": ids})
        left = f"The state before that step, the batch and the ids are in {target}."
    except UserError as error:
        left = f"The state and the batch could not be left to look at: {error}"
    raise UserError(
        f"The loss or its gradient was not finite at step {position + 1}, on the examples with ids {ids}. {left} "
        "A smaller learning rate or gradient clipping (optimizer.clip_norm) is the usual cure: in this workdir while "
        "it holds no checkpoint, then in another one."
    )


def _leave(target: Path, state: TrainState, batch: Mapping[str, Any], info: dict[str, Any]) -> None:
    make_folder(target)
    save_tree(target / "state", state)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in batch.items()}
    with new_file(target / "batch.npz") as file:
        np.savez(file, **arrays)
    write_text(target / "info.json", json.dumps(info, indent=1) + "\n")
