"""Test accuracy of the heads and of scikit-learn's logistic regression on the same frozen features and splits.

Command:  .venv/bin/python benchmarks/accuracy.py --workdir=runs/accuracy
Time:     about 20 minutes on 2 CPU cores; a run that is in the workdir already is not repeated.

Trains every head by the same path as `main.py`, on `--splits` stratified splits with `--seeds` seeds each, and prints
a Markdown table: mean accuracy over all runs, and the paired difference to the linear head over splits (seeds
averaged first, since runs on one split are not independent) with its 95 % interval. Intervals are corrected for
overlapping test sets (Nadeau & Bengio 2003).
"""

import contextlib
import io
import json
import platform
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qjax.config import apply_overrides, load_config, validate_config  # noqa: E402  (after the path is set)
from qjax.evaluation.statistics import mean_interval, paired_interval  # noqa: E402
from qjax.modes import scoring, train  # noqa: E402
from qjax.modes.setup import load_data, prepare_run  # noqa: E402

CONFIGS = {"linear": "sentiment_linear", "mlp": "sentiment_mlp", "variational": "sentiment_variational"}
WORKDIR = flags.DEFINE_string("workdir", "runs/accuracy", "folder of the runs")
SPLITS = flags.DEFINE_integer("splits", 5, "stratified splits")
SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each split")
OVERRIDES = flags.DEFINE_multi_string("set", [], "key=value for every run")


def configured(name: str, split: int, seed: int):
    """Returns the configuration of one run."""
    overrides = [("data.split_seed", str(split)), ("seed", str(seed))]
    overrides += [tuple(text.split("=", 1)) for text in OVERRIDES.value]
    config = load_config(ROOT / "configs" / f"{CONFIGS[name]}.py")
    return validate_config(apply_overrides(config, overrides))


def trained_accuracy(name: str, split: int, seed: int) -> float:
    """Trains one head, or reads its finished run, and returns the test accuracy."""
    workdir = Path(WORKDIR.value) / f"{name}_split{split}_seed{seed}"
    report = workdir / "report.json"
    if not report.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            train.run(configured(name, split, seed), workdir)
        jax.clear_caches()
    return json.loads(report.read_text())["reports"]["after training"]["accuracy"]


def logistic_regression_accuracy(split: int) -> float:
    """Returns scikit-learn's test accuracy (default C = 1) on the split's training examples alone."""
    config = configured("linear", split, 0)
    dataset = load_data(config)
    workdir = Path(WORKDIR.value) / f"linear_split{split}_seed0"
    assembled = prepare_run(config, workdir, dataset)
    features = scoring.make_inputs(assembled, dataset.items, announce=False).features.values
    labels = np.asarray(dataset.labels)
    model = LogisticRegression(max_iter=5000)
    model.fit(features[dataset.splits["train"]], labels[dataset.splits["train"]])
    return float(model.score(features[dataset.splits["test"]], labels[dataset.splits["test"]]))


def main(_: list[str]) -> None:
    splits, seeds = range(SPLITS.value), range(SEEDS.value)
    by_model: dict[str, np.ndarray] = {}
    for name in CONFIGS:
        rows = []
        for split in splits:
            rows.append([trained_accuracy(name, split, seed) for seed in seeds])
            print(f"{name} split {split}: {rows[-1]}", file=sys.stderr, flush=True)
        by_model[name] = np.asarray(rows)
    by_model["logistic regression"] = np.asarray([[logistic_regression_accuracy(split)] for split in splits])
    print(
        f"\n{SPLITS.value} splits x {SEEDS.value} seeds, jax {jax.__version__}, {jax.devices()[0].device_kind}, "
        f"{platform.machine()}\n"
    )
    print("| model | test accuracy, mean | 95 % interval | minus linear | 95 % interval |")
    print("|---|---|---|---|---|")
    reference = by_model["linear"].mean(axis=1)
    for name, values in by_model.items():
        own = values.mean(axis=1)
        mean = mean_interval(own, test_fraction=0.1)
        row = f"| {name} | {mean.mean:.4f} | {mean.low:.4f} to {mean.high:.4f} |"
        if name == "linear":
            print(f"{row} | |")
            continue
        difference = paired_interval(own, reference, test_fraction=0.1)
        print(f"{row} {difference.mean:+.4f} | {difference.low:+.4f} to {difference.high:+.4f} |")


if __name__ == "__main__":
    main(flags.FLAGS(sys.argv))
