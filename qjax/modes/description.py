"""What a run is, for its files: model, data, seed, parameters, device, versions, commit, beginning and duration."""

import datetime
import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import qjax
from qjax.data import Dataset
from qjax.modes.setup import Run
from qjax.training.clock import in_words
from qjax.training.state import count_params

# Packages whose versions change a run's numbers.
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")


def describe(run: Run, dataset: Dataset, *, params: Any, frozen: Any) -> dict[str, Any]:
    """Returns what a run is, in plain values; 'seconds' is None until the run is finished.

    Args:
      run: the assembled run.
      dataset: its data.
      params, frozen: parameters before training, as `initial_params` returns them.
    """
    config = run.config
    return {
        "name": run.workdir.resolve().name,
        "model": {
            "task": config.task,
            "head": config.head.name,
            "encoder": config.encoder.checkpoint,
            "regime": config.encoder.regime,
            "head_parameters": count_params(params["head"]),
            "encoder_parameters": count_params(run.encoder.params),
            "trained_parameters": count_params(params),
        },
        "data": {
            "name": dataset.name,
            "examples": {name: len(indices) for name, indices in dataset.splits.items()},
            "num_labels": len(run.info.label_names),
            "split_seed": config.data.split_seed,
        },
        "seed": config.seed,
        "device": describe_devices(run),
        "versions": versions(),
        "commit": commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": None,
    }


def describe_devices(run: Run) -> str:
    """Returns the number and kind of the devices and hosts, such as '4 x NVIDIA H200 on 1 host'."""
    hosts = jax.process_count()
    return f"{run.mesh.size} x {run.mesh.devices.flat[0].device_kind} on {hosts} host{'s' if hosts > 1 else ''}"


def versions() -> dict[str, str]:
    """Returns the versions of Python, qjax and the packages under them."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "qjax": qjax.__version__, **packages}


@functools.cache
def commit() -> str | None:
    """Returns the git commit of qjax's checkout, '-dirty' after it where files differ; None outside a checkout."""
    root = Path(qjax.__file__).resolve().parents[1]
    if not (root / ".git").exists():  # an installed copy may lie in somebody else's repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def description_lines(description: Mapping[str, Any]) -> list[str]:
    """Returns the description for a person, in the layout of a run's header."""
    model, data = description["model"], description["data"]
    sizes = ", ".join(f"{name} {size}" for name, size in data["examples"].items())
    parts = ", ".join(f"{name} {version}" for name, version in description["versions"].items())
    seconds = "not finished" if description["seconds"] is None else in_words(description["seconds"])
    return [
        f"run       {description['name']}, seed {description['seed']}",
        f"model     {model['head']} head ({model['head_parameters']:,} parameters) on the encoder {model['encoder']} "
        f"({model['encoder_parameters']:,}, {model['regime']}); {model['trained_parameters']:,} trained",
        f"data      {data['name']}: {sizes}; {data['num_labels']} labels",
        f"device    {description['device']}",
        f"versions  {parts}",
        f"commit    {description['commit'] or 'none: not run from a git checkout'}",
        f"time      {seconds}, started {description['started']}",
    ]
