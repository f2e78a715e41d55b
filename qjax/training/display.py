"""What a person sees while a run trains: how far it is, and a line a validation."""

import sys
from typing import Any

from qjax.training.progress import Pace, Progress
from qjax.training.stopping import EarlyStopping


class Display:
    """Progress of one run; silent where `enabled` is False (every process but the first).

    Args:
      num_steps: of the whole run.
      first_step: from which it goes on.
      rows_a_validation: rows of the log from one validation to the next: time left and speed are those of twice as
        many at least, so that validations and checkpoints are in them.
      enabled: as above.
    """

    def __init__(self, *, num_steps: int, first_step: int, rows_a_validation: int = 5, enabled: bool = True) -> None:
        self.num_steps = num_steps
        self.enabled = enabled
        recent = max(10, 2 * rows_a_validation)
        self._progress = Progress(
            "train", num_steps, "step", done=first_step, recent=recent, enabled=enabled, lines=sys.stdout
        )
        self._examples, self._pace = 0, Pace(recent=recent)
        self._shown: dict[str, str] = {}

    def advance(self) -> None:
        """Counts one step."""
        self._progress.advance()

    def trained(self, row: dict[str, Any], num_examples: int) -> None:
        """Shows a row of training metrics, of so many examples."""
        self._progress.mark()
        self._examples += num_examples
        self._pace.mark(self._examples)
        self._shown["loss"] = f"loss {row['loss']:.4f}"
        rate = self._pace.per_second()
        self._shown["rate"] = "" if rate is None else f"{rate:,.0f} examples/s"
        self._note()

    def validated(self, step: int, row: dict[str, Any], stopping: EarlyStopping) -> None:
        """Prints a validation; a star marks a new best step."""
        metric = stopping.metric
        self._shown["metric"] = f"val {metric} {row[metric]:.4f}"
        self._note()
        if not self.enabled:
            return
        other = "f1" if metric in ("accuracy", "loss") else metric
        line = (
            f"step {step:>{len(str(self.num_steps))}}/{self.num_steps}  {self._shown.get('loss', 'loss -')}  "
            f"val loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  {other} {row[other]:.4f}"
        )
        if not self._progress.is_terminal:  # there the bar below shows it, and 80 columns hold the rest
            line = "  ".join(text for text in (line, self._shown.get("rate", ""), self._progress.time_left()) if text)
        self._progress.print(line + (" *" if stopping.best_step == step else ""))

    def _note(self) -> None:
        self._progress.note(*(self._shown[name] for name in ("loss", "metric", "rate") if self._shown.get(name)))

    def close(self) -> None:
        """Takes the bar off the terminal."""
        self._progress.close()
