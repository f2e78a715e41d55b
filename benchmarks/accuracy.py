"""Test scores and times of the heads, and of scikit-learn's logistic regression, on the same features and splits.

Command:  .venv/bin/python benchmarks/accuracy.py [--task=entities] [--models=linear,grover_1]
Time:     for all models about 40 minutes on one quiet CPU core for sentences, 6 hours for entities (estimated from
          single runs). A run that is in the workdir is not repeated; a command that was stopped goes on where it was.

Trains every head by the same path as `main.py`, on `--splits` stratified splits with `--seeds` seeds each, and prints
a Markdown table: mean score over all runs (accuracy of sentences, F1 of entities), the paired difference to
`--reference` over splits (seeds averaged first, since runs on one split are not independent), both with 95 %
intervals, and the time of a training step. Intervals are corrected for overlapping test sets (Nadeau & Bengio 2003).

grover_K is the Grover head with K rounds of fixed phases, grover_K_trained with trained ones; grover_0 is the
variational head with readout 'log_probabilities'.
"""

import contextlib
import functools
import io
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

from qjax.config import apply_overrides, load_config, validate_config
from qjax.evaluation.statistics import mean_interval, paired_interval
from qjax.modes import scoring, train
from qjax.modes.setup import load_data, prepare_run
from qjax.training.mesh import make_mesh, replicate, shard
from qjax.training.state import count_params, init_state
from qjax.training.step import make_train_step

ROOT = Path(__file__).resolve().parents[1]

# Name of a model -> its file in configs/, after the task's prefix, and what is changed in it. Learning rates that
# no file has are those of benchmarks/learning_rates.py.
MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "linear": ("linear", {}),
    "mlp": ("variational", {"head.name": "mlp", "optimizer.learning_rate": "3e-2"}),
    "variational": ("variational", {}),
    **{
        f"grover_{k}": (
            "grover",
            {"head.num_iterations": f"{k}", "head.phases": "fixed", "optimizer.learning_rate": "1e-2"},
        )
        for k in range(4)
    },
    **{
        f"grover_{k}_trained": ("grover", {"head.num_iterations": f"{k}", "head.phases": "trainable"})
        for k in range(1, 4)
    },
}
PREFIXES = {"sentence": "sentiment", "entities": "ner"}
SCORES = {"sentence": "accuracy", "entities": "f1"}
TEST_FRACTION = 0.1

TASK = flags.DEFINE_enum("task", "sentence", list(PREFIXES), "what is classified")
CHOSEN = flags.DEFINE_list("models", list(MODELS), "which models, in the order of the table")
REFERENCE = flags.DEFINE_string("reference", "linear", "model that the others are compared with; one of --models")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the runs; runs/accuracy or runs/accuracy_entities")
SPLITS = flags.DEFINE_integer("splits", 5, "stratified splits", lower_bound=2)
SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each split", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 15, "timed training steps of each model, after all runs; 0 times none")
LENGTH = flags.DEFINE_integer("length", 32, "words a sentence in the timed steps on entities")
OVERRIDES = flags.DEFINE_multi_string("set", [], "key=value for every run")


def workdir_of(name: str, split: int, seed: int) -> Path:
    """Returns the folder of one run."""
    default = "runs/accuracy" if TASK.value == "sentence" else "runs/accuracy_entities"
    return Path(WORKDIR.value or default) / f"{name}_split{split}_seed{seed}"


def configured(name: str, split: int, seed: int):
    """Returns the configuration of one run."""
    file, changes = MODELS[name]
    overrides = [*changes.items(), ("data.split_seed", str(split)), ("seed", str(seed))]
    overrides += [tuple(text.split("=", 1)) for text in OVERRIDES.value]
    config = load_config(ROOT / "configs" / f"{PREFIXES[TASK.value]}_{file}.py")
    return validate_config(apply_overrides(config, overrides))


def trained_score(name: str, split: int, seed: int) -> float:
    """Trains one head, or reads its finished run, and returns the test score."""
    workdir = workdir_of(name, split, seed)
    report = workdir / "report.json"
    if not report.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            train.run(configured(name, split, seed), workdir)
        jax.clear_caches()
        if not report.exists():
            raise SystemExit(f"stopped in {workdir}: saved. Run the same command to go on.")
    return json.loads(report.read_text())["reports"]["after training"][SCORES[TASK.value]]


def logistic_regression_accuracy(split: int) -> float:
    """Returns scikit-learn's test accuracy (default C = 1) on the split's training examples alone."""
    config = configured("linear", split, 0)
    dataset = load_data(config)
    assembled = prepare_run(config, workdir_of("linear", split, 0), dataset)
    features = scoring.make_inputs(assembled, dataset.items, announce=False).features.values
    labels = np.asarray(dataset.labels)
    model = LogisticRegression(max_iter=5000)
    model.fit(features[dataset.splits["train"]], labels[dataset.splits["train"]])
    return float(model.score(features[dataset.splits["test"]], labels[dataset.splits["test"]]))


def training_step(name: str) -> tuple[Callable[[], None], int]:
    """Returns a call that runs one training step to its end on one batch of features, and the head's size."""
    config, workdir = configured(name, 0, 0), workdir_of(name, 0, 0)
    assembled = prepare_run(config, workdir, load_data(config))
    optimizer, mesh = train.make_run_optimizer(config, 100), make_mesh(1)
    params, frozen = scoring.initial_params(assembled)
    rng, size = np.random.default_rng(0), config.train.batch_size
    items = (size,) if TASK.value == "sentence" else (size, LENGTH.value)
    batch = {
        "features": rng.normal(scale=0.3, size=(*items, assembled.encoder.config.hidden_size)).astype(np.float32),
        "labels": rng.integers(0, len(assembled.info.label_names), items).astype(np.int32),
        "ids": np.arange(size, dtype=np.int32),
    }
    state = replicate(init_state(jax.tree.map(jnp.copy, params), optimizer, jax.random.key(1)), mesh)
    step, placed = make_train_step(assembled.model.apply, optimizer, mesh=mesh), shard(batch, mesh)
    return functools.partial(_step_to_the_end, step, [state], frozen, placed), count_params(params["head"])


def _step_to_the_end(step: Callable, state: list, frozen: dict, batch: dict) -> None:
    state[0], _ = step(state[0], frozen, batch)
    jax.block_until_ready(state[0].params)


def step_times(names: list[str]) -> dict[str, tuple[int, float]]:
    """Returns each model's head parameters and median seconds a step; the models take turns."""
    calls, sizes = {}, {}
    for name in names:
        calls[name], sizes[name] = training_step(name)
        calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(REPEATS.value):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: (sizes[name], float(np.median(seconds[name] or [np.nan]))) for name in names}


def print_table(by_model: dict[str, np.ndarray], times: dict[str, tuple[int, float]]) -> None:
    """Prints the table of scores `[splits, seeds]` and times."""
    metric = "test accuracy" if TASK.value == "sentence" else "test entity F1"
    print(
        f"\n{SPLITS.value} splits x {SEEDS.value} seeds, jax {jax.__version__}, {jax.devices()[0].device_kind}, "
        f"{platform.machine()}\n"
    )
    print(
        f"| model | head parameters | {metric}, mean | 95 % interval | minus {REFERENCE.value} | 95 % interval "
        "| ms a step |"
    )
    print("|---|---|---|---|---|---|---|")
    reference = by_model[REFERENCE.value].mean(axis=1)
    for name, values in by_model.items():
        own = values.mean(axis=1)
        mean = mean_interval(own, test_fraction=TEST_FRACTION)
        size, seconds = times.get(name, (0, np.nan))
        cells = [name, f"{size:,}" if size else "", f"{mean.mean:.4f}", f"{mean.low:.4f} to {mean.high:.4f}", "", ""]
        if name != REFERENCE.value:
            difference = paired_interval(own, reference, test_fraction=TEST_FRACTION)
            cells[4:] = [f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"]
        print(f"| {' | '.join(cells)} | {'' if np.isnan(seconds) else f'{1e3 * seconds:.2f}'} |")


def main(_: list[str]) -> None:
    names = CHOSEN.value
    unknown = [name for name in (*names, REFERENCE.value) if name not in MODELS]
    if unknown or REFERENCE.value not in names:
        raise SystemExit(f"--models must hold --reference and be among {', '.join(MODELS)}, but are {names}")
    by_model: dict[str, np.ndarray] = {}
    for name in names:
        rows = []
        for split in range(SPLITS.value):
            start = time.perf_counter()
            rows.append([trained_score(name, split, seed) for seed in range(SEEDS.value)])
            took = time.perf_counter() - start
            print(f"{name} split {split}: {rows[-1]}, {took:.0f} s", file=sys.stderr, flush=True)
        by_model[name] = np.asarray(rows)
    if TASK.value == "sentence" and "linear" in names:
        scores = [[logistic_regression_accuracy(split)] for split in range(SPLITS.value)]
        by_model["logistic regression"] = np.asarray(scores)
    print_table(by_model, step_times(names))


if __name__ == "__main__":
    app.run(main)
