"""The search that chose `optimizer.learning_rate` of each head: validation scores alone, the same budget for each.

Command:  .venv/bin/python benchmarks/learning_rates.py [--output=runs/learning_rates.jsonl]
Time:     about half an hour of one CPU core with cached features. Trainings in the output file are not repeated; a
          command that was stopped goes on where it was.

Every head is trained with every rate of `RATES` on the same splits of four data sets, split k with seed k, by the
batches, step, optimizer and early stopping of `main.py`. Its score is the best validation of the run: accuracy, or F1
of entities. The test splits are not read. `circuit_learning_rate` stays 1e-2, all else is as in `configs/`.

A rate's share on a data set is its mean validation score, over that of the head's best rate there. The rate with the
largest mean share over the data sets is the head's.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import optax
from absl import app, flags
from seqeval.metrics.sequence_labeling import get_entities

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

from qjax.config import apply_overrides, load_config, validate_config
from qjax.modes import scoring, train
from qjax.modes.setup import load_data, prepare_run
from qjax.training.mesh import replicate, shard
from qjax.training.optimizer import make_optimizer
from qjax.training.state import init_state
from qjax.training.step import make_train_step
from qjax.training.stopping import EarlyStopping

ROOT = Path(__file__).resolve().parents[1]
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
HEADS = {
    "linear": {"head.name": "linear"},
    "mlp": {"head.name": "mlp"},
    "variational": {"head.name": "variational"},
    "grover, trained phases": {"head.name": "grover", "head.phases": "trainable"},
    "grover, fixed phases": {"head.name": "grover", "head.phases": "fixed"},
}
# Name of a data set -> its configuration, what is changed in it, and splits: more of them where a split is small.
DATA = {
    "reviews": ("sentiment_variational", {}, 5),
    "400 reviews": ("sentiment_variational", {"data.max_examples": "400"}, 10),
    "tweets": ("ner_variational", {}, 5),
    "entity types": ("sentiment_variational", {"data.source": "file", "data.label_column": "type"}, 5),
}
OUTPUT = flags.DEFINE_string("output", "runs/learning_rates.jsonl", "one line a training")
CHOSEN = flags.DEFINE_list("data", list(DATA), "which data sets")


def write_entity_types(path: Path) -> None:
    """Writes the entities of the tweets as a sentence task of 10 classes: an entity's words, and its type."""
    tweets = load_data(load_config(ROOT / "configs" / "ner_variational.py"))
    rows = [
        {"text": " ".join(words[first : last + 1]), "type": kind}
        for words, tags in zip(tweets.items, tweets.labels, strict=True)
        for kind, first, last in get_entities([tweets.label_names[tag] for tag in tags])
    ]
    print("entity types:", dict(Counter(row["type"] for row in rows).most_common()))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def configured(data: str, head: str, split: int, types: Path):
    """Returns the configuration of one training, but for its learning rate."""
    file, changes, _ = DATA[data]
    overrides = {**changes, **HEADS[head], "data.split_seed": str(split), "seed": str(split)}
    if data == "entity types":
        overrides["data.path"] = str(types)
    return validate_config(apply_overrides(load_config(ROOT / "configs" / f"{file}.py"), list(overrides.items())))


class Trainer:
    """Trains one head on one split with any learning rate, compiled once."""

    def __init__(self, config, dataset, workdir: Path) -> None:
        self.config, self.dataset = config, dataset
        self.run = prepare_run(config, workdir, dataset, is_new=True)
        self.inputs = scoring.make_inputs(self.run, dataset.items, announce=False)
        self.stream = train.make_stream(self.run, dataset, self.inputs)
        self.params, frozen = scoring.initial_params(self.run)
        self.frozen = replicate(frozen, self.run.mesh)
        self.score = scoring.make_scorer(self.run, frozen, self.inputs)
        self.step = make_train_step(self.run.model.apply, self.optimizer(RATES[0]), mesh=self.run.mesh)

    def optimizer(self, rate: float) -> optax.GradientTransformation:
        """Returns the configured optimizer; the rate is a number in its state, so that one step serves all rates."""
        options = dict(self.config.optimizer)
        fixed = [name for name in (*options, "num_steps") if name != "learning_rate"]
        make = optax.inject_hyperparams(make_optimizer, static_args=fixed)
        return make(**{**options, "learning_rate": rate}, num_steps=len(self.stream))

    def best_validation(self, rate: float) -> tuple[float, int]:
        """Returns the best validation score of a run with this rate, and its step."""
        settings = self.config.train
        key = jax.random.fold_in(jax.random.key(self.config.seed), 2)
        state = replicate(init_state(self.params, self.optimizer(rate), key), self.run.mesh)
        stopping = EarlyStopping(metric=settings.metric, patience=settings.patience)
        validation = self.dataset.splits["validation"]
        labels = [self.dataset.labels[i] for i in validation]
        for position, batch in self.stream.iterate():
            state, _ = self.step(state, self.frozen, shard(batch, self.run.mesh))
            number = position + 1
            if number % settings.eval_every == 0 or number == len(self.stream):
                report = scoring.model_report(self.run, self.score(state.params, validation), labels)
                stopping = stopping.update(number, report[settings.metric], report["loss"])
            if stopping.should_stop:
                break
        return stopping.best, stopping.best_step


def read_rows(path: Path) -> list[dict]:
    """Returns the lines of the output file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def search(path: Path, types: Path) -> None:
    """Trains what the output file does not hold yet; the heads take turns on each split."""
    done = {(row["data"], row["split"], row["head"], row["rate"]) for row in read_rows(path)}
    write_entity_types(types)
    for data in CHOSEN.value:
        for split in range(DATA[data][2]):
            for head in HEADS:
                rates = [rate for rate in RATES if (data, split, head, rate) not in done]
                if not rates:
                    continue
                config = configured(data, head, split, types)
                with tempfile.TemporaryDirectory() as workdir:
                    trainer = Trainer(config, load_data(config), Path(workdir))
                for rate in rates:
                    start = time.process_time()
                    best, step = trainer.best_validation(rate)
                    row = {"data": data, "split": split, "head": head, "rate": rate, "best": best, "step": step}
                    row["cpu_seconds"] = round(time.process_time() - start, 1)
                    with path.open("a") as stream:
                        stream.write(json.dumps(row) + "\n")
                jax.clear_caches()


def print_tables(rows: list[dict]) -> None:
    """Prints a table of mean validation scores for each data set, and one of mean shares."""
    shares = {(head, rate): [] for head in HEADS for rate in RATES}
    for data in CHOSEN.value:
        means = {
            (head, rate): statistics.mean(
                row["best"] for row in rows if (row["data"], row["head"], row["rate"]) == (data, head, rate)
            )
            for head, rate in shares
        }
        print_table(f"{data}, {DATA[data][2]} splits", means)
        for head in HEADS:
            top = max(means[head, rate] for rate in RATES)
            for rate in RATES:
                shares[head, rate].append(means[head, rate] / top)
    print_table("mean share of the best", {key: statistics.mean(values) for key, values in shares.items()})


def print_table(title: str, values: dict[tuple[str, float], float]) -> None:
    """Prints one value for each head and rate, the largest of a head in bold."""
    print(f"\n| {title} | {' | '.join(f'{rate:g}' for rate in RATES)} |\n|---|{'---|' * len(RATES)}")
    for head in HEADS:
        row = [values[head, rate] for rate in RATES]
        print(f"| {head} | {' | '.join(f'**{x:.4f}**' if x == max(row) else f'{x:.4f}' for x in row)} |")


def main(_: list[str]) -> None:
    path = Path(OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        search(path, Path(folder) / "types.jsonl")
    rows = read_rows(path)
    print(f"\n{len(rows)} trainings, {sum(row['cpu_seconds'] for row in rows) / 60:.0f} minutes of CPU")
    print_tables(rows)


if __name__ == "__main__":
    app.run(main)
