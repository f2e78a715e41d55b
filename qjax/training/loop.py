"""The training loop: steps, validations, checkpoints, early stopping, and an end that can be resumed.

A run is a pure function of its configuration, seed and data. A step takes one batch, so `state.step` is also the
position in the stream; checkpoint and log are cut at the same step, and a resumed run repeats nothing.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qjax.checks import UserError
from qjax.data.batches import BatchStream
from qjax.training.checkpoint import Checkpoints, save_tree
from qjax.training.display import Display
from qjax.training.metrics_log import MetricsLog
from qjax.training.state import TrainState
from qjax.training.stopping import EarlyStopping, StopRequest

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


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """The state at the end, and why it ended: 'steps', 'patience' or the name of a signal."""

    state: TrainState
    stopping: EarlyStopping
    reason: str


def resume_meta(stopping: EarlyStopping, window: Window) -> dict[str, Any]:
    """Returns what a checkpoint holds beside the state."""
    return {"early_stopping": stopping.to_dict(), "window": dataclasses.asdict(window)}


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
      validate: `params -> report` on the validation split, with the named metric in it.
      checkpoints, log, display: where results go; `log` is None in all but one of several processes.
      options: see `LoopOptions`.
      stopping, window: fresh or restored with the state.
      request: set by a signal.
      failure_directory: where a state whose loss was not finite is left.

    Raises:
      UserError: a loss or a gradient was not finite.
    """
    step = int(state.step)
    pending: list[Any] = []
    reason = "patience" if stopping.should_stop else "steps"
    batches = stream.iterate(step)
    started, examples = time.perf_counter(), 0
    try:
        while step < options.num_steps and not stopping.should_stop:
            _, batch = next(batches)
            examples += int((batch["ids"] >= 0).sum())
            state, metrics = train_step(state, frozen, place_batch(batch))
            pending.append(metrics)
            step += 1
            display.advance()
            evaluate_now = step % options.eval_every == 0 or step == options.num_steps
            log_now = step % options.log_every == 0 or step == options.num_steps
            if log_now or evaluate_now or request.signal:
                window.add(jax.device_get(pending))
                pending.clear()
                check_finite(state, stream, failure_directory)
            if log_now:
                rate = examples / (time.perf_counter() - started)
                row = {**window.row(), "gradient_norm": float(metrics["gradient_norm"]), "examples_per_second": rate}
                if log is not None:
                    log.write(step, "train", row)
                display.trained(row)
                window, started, examples = Window(), time.perf_counter(), 0
            if evaluate_now:
                paused = time.perf_counter()
                report = validate(state.params)
                row = {name: report[name] for name in ("loss", "accuracy", "f1")}
                stopping = stopping.update(step, float(report[stopping.metric]))
                if log is not None:
                    log.write(step, "validation", row)
                display.validated(step, row, stopping)
                meta = resume_meta(stopping, window)
                checkpoints.save(step, state, meta, float(report[stopping.metric]))
                started += time.perf_counter() - paused
                reason = "patience" if stopping.should_stop else "steps"
            if request.signal:
                if not evaluate_now:
                    checkpoints.save(step, state, resume_meta(stopping, window), None)
                reason = request.signal
                break
    finally:
        batches.close()
    checkpoints.wait()
    return LoopResult(state=state, stopping=stopping, reason=reason)


def check_finite(state: TrainState, stream: BatchStream, directory: Path) -> None:
    """Raises where a loss or gradient was not finite, after leaving the state before it and the batch to look at."""
    if bool(state.finite):
        return
    position = int(state.step)  # frozen by the step at fault, which would have been number position + 1
    batch = stream[position]
    ids = [int(i) for i in batch["ids"] if i >= 0]
    target = directory / f"not_finite_step_{position + 1}"
    target.mkdir(parents=True, exist_ok=True)
    save_tree(target / "state", state)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in batch.items()}
    np.savez(target / "batch.npz", **arrays)
    info = {"step": position + 1, "ids": ids}
    (target / "info.json").write_text(json.dumps(info, indent=1) + "\n")
    raise UserError(
        f"The loss or its gradient was not finite at step {position + 1}, on the examples with ids {ids}. The state "
        f"before that step, the batch and the ids are in {target}. A smaller learning rate or gradient clipping "
        "(optimizer.clip_norm) is the usual cure."
    )
