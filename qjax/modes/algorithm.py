"""`--mode=algorithm`: runs one quantum algorithm by hand, and holds it against theory and the classical way."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from qjax.checks import check
from qjax.config import save_config
from qjax.files import check_writable, write_text
from qjax.modes.algorithms import ALGORITHMS
from qjax.modes.algorithms.outcome import Needs, Outcome, table
from qjax.quantum.engines.memory import device_bytes, show_bytes
from qjax.untrusted import read_json
from qjax.visualization.success import plot_success

RESULT_FILE = "result.json"
PLOT_FILE = "success.png"


def run(config: ConfigDict, workdir: str | Path | None) -> int:
    """Runs the algorithm, prints its table, and writes config.json, result.json and, with iterations, success.png.

    Args:
      config: of an algorithm.
      workdir: new, or of a run of this configuration, which gives the same files again; None saves nothing.

    Returns:
      The exit status: 0, or 1 where Shor's algorithm used up its attempts.
    """
    algorithm, is_main = ALGORITHMS[config.algorithm], jax.process_index() == 0
    needs: Needs = algorithm.needs(config)
    if is_main:
        print(_announcement(config.algorithm, needs), flush=True)
    check_fits(config, needs)
    if is_main:
        if workdir is None:
            print("workdir   none: nothing is saved", flush=True)
        else:
            check_writable(workdir, "--workdir")  # lest a long run end with nowhere to go
    outcome: Outcome = algorithm.run(config)
    if is_main:
        print("\n".join(["", outcome.headline, *([table(outcome.rows)] if outcome.rows else []), *outcome.notes]))
        if workdir is not None:
            _save(config, Path(workdir), outcome)
    return outcome.status


def _announcement(name: str, needs: Needs) -> str:
    needed, available = show_bytes(needs.memory_bytes), show_bytes(device_bytes())
    memory = f"{needed} at most for the simulation; this device has {available}"
    note = f" ({needs.note})" if needs.note else ""
    return f"algorithm {name}\nqubits    {needs.num_qubits}{note}\nmemory    {memory}"


def check_fits(config: ConfigDict, needs: Needs) -> None:
    """Raises where the device has less memory than a run takes."""
    available, value = device_bytes(), config[needs.key]
    finding = f"{value}, for which {needs.num_qubits} qubits need {show_bytes(needs.memory_bytes)}"
    expectation = f"fit into this device, which has {show_bytes(available)} of memory"
    check(needs.memory_bytes <= available, needs.key, expectation, finding)


def _save(config: ConfigDict, workdir: Path, outcome: Outcome) -> None:
    save_config(config, workdir)
    written = [RESULT_FILE]
    write_result(workdir, {"algorithm": config.algorithm, "seed": config.seed, **outcome.result})
    if outcome.curve is not None:
        curve = outcome.curve
        plot_success(
            curve.steps,
            curve.found,
            curve.theory,
            workdir / PLOT_FILE,
            title=f"{config.algorithm}: {outcome.headline}",
            xlabel=curve.xlabel,
            found_label=curve.found_label,
            theory_label=curve.theory_label,
        )
        written.append(PLOT_FILE)
    print(f"written   config.json, {', '.join(written)} in {workdir}")


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Writes result.json; a reader sees the old file or the new one, whole."""
    write_text(workdir / RESULT_FILE, json.dumps(result, indent=1, allow_nan=False) + "\n")


def read_result(workdir: Path) -> dict[str, Any]:
    """Returns what `write_result` wrote."""
    path, what = workdir / RESULT_FILE, "of a run of --mode=algorithm"
    check(path.is_file(), "--workdir", f"hold the {RESULT_FILE} {what}", f"{workdir}, without one")
    return read_json(path, f"the result {what}")
