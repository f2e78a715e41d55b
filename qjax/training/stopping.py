"""When to stop: early stopping on a validation metric, and signals that ask a run to end."""

import contextlib
import dataclasses
import math
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

METRIC_MODES = {"accuracy": "max", "balanced_accuracy": "max", "f1": "max", "macro_f1": "max", "loss": "min"}


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Validations so far, as plain numbers that a checkpoint can hold.

    Attributes:
      metric: name of the validation metric.
      patience: validations without a better metric before stopping; 0 never stops.
      best: best value so far, None before the first.
      best_step: step of `best`; of equal values the one of the lowest loss, and of these the first.
      best_loss: validation loss at `best_step`.
      num_worse: validations since one was better; an equal value with a lower loss is not.
    """

    metric: str
    patience: int
    best: float | None = None
    best_step: int = 0
    best_loss: float | None = None
    num_worse: int = 0

    def update(self, step: int, value: float, loss: float) -> "EarlyStopping":
        """Returns the state after a validation at `step`; a value that is not a number is never better."""
        sign = 1.0 if METRIC_MODES[self.metric] == "max" else -1.0
        if not math.isnan(value) and (self.best is None or sign * value > sign * self.best):
            return dataclasses.replace(self, best=value, best_step=step, best_loss=loss, num_worse=0)
        worse = dataclasses.replace(self, num_worse=self.num_worse + 1)
        # None: a checkpoint of before ties were broken by the loss.
        if value == self.best and (self.best_loss is None or loss < self.best_loss):
            return dataclasses.replace(worse, best_step=step, best_loss=loss)
        return worse

    @property
    def should_stop(self) -> bool:
        return self.patience > 0 and self.num_worse >= self.patience

    def to_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint's meta holds."""
        names = ("best", "best_step", "best_loss", "num_worse")
        return {name: getattr(self, name) for name in names}

    def restored(self, saved: dict[str, Any]) -> "EarlyStopping":
        """Returns this with the counts of `to_dict`."""
        return dataclasses.replace(self, **saved)


@dataclasses.dataclass
class StopRequest:
    """Name of the signal that asked the run to end, None while none has."""

    signal: str | None = None

    def poll(self, step: int) -> str | None:
        """Returns the signal once the run is to end after `step`; call it after every step.

        Several processes must end after the same step, or one would wait for the others forever. JAX then catches
        SIGTERM on any of them and agrees with all on a step.
        """
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.signal = "SIGTERM"
        return self.signal


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turns SIGTERM and SIGINT into a request that the loop reads between two steps.

    A second signal of the same kind acts as it would have without this. Outside the main thread nothing is caught,
    nor where there are several processes: see `StopRequest.poll`.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, _: Any) -> None:
        request.signal = signal.Signals(number).name
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
