"""What a person sees while a run trains: a progress bar on a terminal, a line a validation elsewhere."""

import sys
import time
from typing import Any

from tqdm import tqdm

from qjax.training.stopping import EarlyStopping


class Display:
    """Progress of one run; silent where `enabled` is False (every process but the first)."""

    def __init__(self, *, num_steps: int, first_step: int, enabled: bool = True) -> None:
        self.num_steps = num_steps
        self.enabled = enabled
        self.step = first_step
        # Where time began for the estimate of what is left: at the second row of the log, once all is compiled.
        self._since: tuple[int, float] = (first_step, time.perf_counter())
        self._num_rows = 0
        self._shown: dict[str, str] = {}
        # Written to a file, a bar is a mess of carriage returns: there each validation is a line of its own.
        interactive = enabled and sys.stderr.isatty()
        self._bar = tqdm(
            total=num_steps,
            initial=first_step,
            disable=not interactive,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2,
            desc="train",
        )

    def advance(self) -> None:
        """Counts one step."""
        self.step += 1
        self._bar.update(1)

    def trained(self, row: dict[str, Any]) -> None:
        """Shows a row of training metrics."""
        self._num_rows += 1
        if self._num_rows == 2:
            self._since = (self.step, time.perf_counter())
        self._shown["loss"] = f"{row['loss']:.4f}"
        self._shown["ex/s"] = f"{row['examples_per_second']:.0f}"
        self._bar.set_postfix(self._shown, refresh=False)

    def validated(self, step: int, row: dict[str, Any], stopping: EarlyStopping) -> None:
        """Shows a validation; a star marks a new best."""
        value, best = row[stopping.metric], stopping.best_step == step
        self._shown[f"val {stopping.metric}"] = f"{value:.4f}"
        self._bar.set_postfix(self._shown, refresh=False)
        if not self.enabled:
            return
        mark = " *" if best else ""
        rate, loss = self._shown.get("ex/s", "-"), self._shown.get("loss", "-")
        line = (
            f"step {step:>{len(str(self.num_steps))}}/{self.num_steps}  loss {loss}  "
            f"val loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  f1 {row['f1']:.4f}"
        )
        if self._bar.disable:
            print(f"{line}  {rate} examples/s  {self._left()} left{mark}", flush=True)
        else:
            self._bar.write(line + mark)  # the bar below it shows speed and time left; 80 columns hold the rest

    def _left(self) -> str:
        first_step, started = self._since
        seconds = (time.perf_counter() - started) / max(1, self.step - first_step) * (self.num_steps - self.step)
        return tqdm.format_interval(seconds)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
