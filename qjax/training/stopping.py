"""When to stop: early stopping on a validation metric."""

import dataclasses
import math
from typing import Any

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
