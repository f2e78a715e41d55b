"""Labelled data sets: where the examples come from, what the labels are, and who is in which split."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from qjax.checks import check, check_choice, fail
from qjax.data.readers import Examples, read_conll, read_examples, read_movie_reviews
from qjax.data.sources import SOURCES, fetch

TASKS = ("sentence", "entities")
SPLITS = ("train", "validation", "test")
_BUILT_IN = MappingProxyType(
    {"movie_reviews": ("sentence", read_movie_reviews), "twitter_ner": ("entities", read_conll)}
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples of one task with their labels as numbers, divided into splits.

    Attributes:
      name: the source, or the path of a file.
      task: 'sentence', one label a text, or 'entities', one BIO tag a word.
      items: a text each, or the words of a sentence each.
      labels: an index into `label_names` each, or one for each word.
      label_names: names of the labels; for entities BIO tags, 'O' first.
      splits: name of a split -> int64 indices into `items`, ascending. 'train', 'validation' and 'test', or 'input'
        alone for a file that was read with `read_labelled`.
      notes: sentences for a person about what was left out, converted or kept together.
    """

    name: str
    task: str
    items: tuple[str, ...] | tuple[tuple[str, ...], ...]
    labels: tuple[int, ...] | tuple[tuple[int, ...], ...]
    label_names: tuple[str, ...]
    splits: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


def load_dataset(
    *,
    task: str,
    source: str,
    path: str = "",
    validation_path: str = "",
    test_path: str = "",
    text_column: str = "text",
    label_column: str = "label",
    labels: Sequence[str] = (),
    split_seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_examples: int = 0,
) -> Dataset:
    """Returns a data set with a train, a validation and a test split.

    The split is stratified (by label; sentences of words by whether they hold an entity) and depends on nothing but
    the examples and `split_seed`: neither on their order in the file nor on a random number generator. Examples with
    the same text always share a split, so that none of the test split is seen in training.

    Args:
      task: 'sentence' or 'entities'.
      source: 'movie_reviews', 'twitter_ner', or 'file', which reads `path`.
      path: a file of TSV, CSV or JSON lines (sentence), or of CoNLL columns (entities).
      validation_path, test_path: files of their own for these splits; '' takes a share of `path`.
      text_column, label_column: columns (JSON keys) of a sentence file.
      labels: label names in order, for a file; () takes those of the training split, sorted, for entities B- and I-
        of each entity type in it. To allow a label without training examples, name it here.
      split_seed: any integer.
      validation_fraction, test_fraction: shares of the examples, to the nearest integer.
      max_examples: use at most this many examples of each file, drawn by `split_seed`; 0 uses all.

    Raises:
      UserError: a file cannot be read as it should be, a split is empty, there are fewer than two labels, or a
        label is not among those of training.
    """
    check_choice("task", task, TASKS)
    check_choice("data.source", source, [*_BUILT_IN, "file"])
    check(max_examples >= 0, "data.max_examples", "be 0 (all) or more", max_examples)
    if source == "file":
        check(path != "", "data.path", "name a file where data.source is 'file'", repr(path))
        parts = [read_examples(path, task=task, text_column=text_column, label_column=label_column)]
    else:
        check(not (path or validation_path or test_path or labels), "data.source", "be 'file' for own paths", source)
        parts = [_read_built_in(source, task)]
    parts[0] = _draw(parts[0], max_examples, split_seed)
    own_files = {"validation": validation_path, "test": test_path}
    fractions = {"validation": validation_fraction, "test": test_fraction}
    shares = {split: fractions[split] for split, own_file in own_files.items() if not own_file}
    _check_shares(shares)
    splits = _split(parts[0], seed=split_seed, shares=shares)
    num_items = len(parts[0].items)
    for split, own_file in own_files.items():
        if own_file:
            own = read_examples(own_file, task=task, text_column=text_column, label_column=label_column)
            parts.append(_draw(own, max_examples, split_seed))
            splits[split] = np.arange(num_items, num_items + len(parts[-1].items))
            num_items += len(parts[-1].items)
    for split in SPLITS:
        check(len(splits[split]) > 0, f"{split} split", "hold at least one example", f"none of {num_items}")
    paths = [path or source, *(own_file for own_file in own_files.values() if own_file)]
    dataset = _number_labels(parts, paths, task=task, label_names=tuple(labels), splits=splits)
    _check_pinned_split(dataset, source, (split_seed, validation_fraction, test_fraction, max_examples))
    return dataset


def read_labelled(
    path: Path | str,
    *,
    task: str,
    label_names: Sequence[str],
    text_column: str = "text",
    label_column: str = "label",
) -> Dataset:
    """Returns a labelled file as a data set with one split, 'input', for evaluating a trained model on it.

    Raises:
      UserError: the file is malformed, or a label in it is not one of `label_names`; it names file and line.
    """
    check_choice("task", task, TASKS)
    examples = read_examples(path, task=task, text_column=text_column, label_column=label_column)
    splits = {"input": np.arange(len(examples.items))}
    return _number_labels([examples], [str(path)], task=task, label_names=tuple(label_names), splits=splits)


def split_hash(dataset: Dataset) -> str:
    """Returns the sha256 over the splits: which items with which labels are in which split, in their order."""
    digest = hashlib.sha256()
    for split in sorted(dataset.splits):
        for index in dataset.splits[split]:
            label = dataset.labels[index]
            names = [dataset.label_names[i] for i in ((label,) if isinstance(label, int) else label)]
            digest.update(json.dumps([split, dataset.items[index], names]).encode())
    return digest.hexdigest()


def num_shared_items(dataset: Dataset) -> int:
    """Returns how many examples outside the training split have exactly the text of one inside it.

    It is 0 where `load_dataset` made the split; files of one's own for validation and test may share texts.
    """
    seen = {dataset.items[index] for index in dataset.splits["train"]}
    others = [indices for split, indices in dataset.splits.items() if split != "train"]
    return sum(dataset.items[index] in seen for indices in others for index in indices)


def _read_built_in(source: str, task: str) -> Examples:
    expected_task, read = _BUILT_IN[source]
    check(task == expected_task, "task", f"be '{expected_task}' with data.source '{source}'", repr(task))
    return read(fetch(source))


def _check_shares(shares: Mapping[str, float]) -> None:
    for split, share in shares.items():
        check(0 < share < 1, f"data.{split}_fraction", "lie between 0 and 1", share)
    names, total = " + ".join(f"data.{split}_fraction" for split in shares), sum(shares.values())
    check(total < 1, names, "leave examples to train on, below 1", total)


def _order_key(seed: int, purpose: str, item: str | tuple[str, ...]) -> bytes:
    """Returns a pseudo-random sort key of an item: the same on every machine and under every library version."""
    return hashlib.sha256(json.dumps([seed, purpose, item]).encode()).digest()


def _draw(examples: Examples, max_examples: int, seed: int) -> Examples:
    """Returns `max_examples` of the examples in the order of the file, or all where it is 0."""
    if max_examples == 0 or max_examples >= len(examples.items):
        return examples
    keys = [_order_key(seed, "draw", item) for item in examples.items]
    chosen = sorted(sorted(range(len(keys)), key=keys.__getitem__)[:max_examples])
    note = f"{max_examples} of {len(keys)} examples were drawn (data.max_examples)."

    def select(values: tuple[Any, ...]) -> Any:
        return tuple(values[index] for index in chosen)

    notes = (*examples.notes, note)
    return Examples(select(examples.items), select(examples.labels), select(examples.lines), notes)


def _split(examples: Examples, *, seed: int, shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Divides examples into 'train' and the splits of `shares`, stratified, equal items together.

    Over all strata together every split of `shares` gets its share to the nearest integer (more where its last item
    has duplicates), over each stratum to within one item. At least one item of each stratum is left for 'train'.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for index, item in enumerate(examples.items):
        groups[item].append(index)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups.values():
        # Equal texts may have different labels: the first in alphabetical order decides, not the file's order.
        strata[min(_stratum(examples.labels[index]) for index in group)].append(group)
    chosen: dict[str, list[int]] = {split: [] for split in ("train", *shares)}
    num_seen = 0
    for _, stratum in sorted(strata.items()):
        stratum.sort(key=lambda group: _order_key(seed, "split", examples.items[group[0]]))
        num_seen += sum(map(len, stratum))
        for split, share in shares.items():
            while len(chosen[split]) < round(share * num_seen) and len(stratum) > 1:
                chosen[split] += stratum.pop()
        chosen["train"] += [index for group in stratum for index in group]
    return {split: np.array(sorted(indices), dtype=np.int64) for split, indices in chosen.items()}


def _stratum(label: str | tuple[str, ...]) -> str:
    if isinstance(label, str):
        return label
    return "entity" if any(tag != "O" for tag in label) else "no entity"


def _number_labels(
    parts: list[Examples],
    paths: list[str],
    *,
    task: str,
    label_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
) -> Dataset:
    """Joins the parts into a data set, with labels as indices into `label_names` or into those of training."""
    labels = [label for part in parts for label in part.labels]
    expectation = "have one of the given labels"
    if not label_names:
        label_names = _discover([labels[index] for index in splits["train"]], task)
        expectation = "have a label that the training split has too, or that data.labels names"
    _check_label_names(label_names, task)
    for part, path in zip(parts, paths, strict=True):
        _check_labels(part, path, label_names, expectation)
    numbers = {name: number for number, name in enumerate(label_names)}
    items: Any = tuple(item for part in parts for item in part.items)
    if task == "sentence":
        numbered: Any = tuple(numbers[str(label)] for label in labels)
    else:
        numbered = tuple(tuple(numbers[tag] for tag in tags) for tags in labels)
    notes = [note for part in parts for note in part.notes]
    num_duplicates = sum(count - 1 for count in Counter(items).values())
    if num_duplicates:
        notes.append(f"{num_duplicates} examples repeat the text of another.")
    return Dataset(paths[0], task, items, numbered, label_names, MappingProxyType(dict(splits)), tuple(notes))


def _check_labels(examples: Examples, path: str, label_names: tuple[str, ...], expectation: str) -> None:
    for label, line in zip(examples.labels, examples.lines, strict=True):
        for offset, name in enumerate((label,) if isinstance(label, str) else label):
            if name not in label_names:
                fail(f"{path}, line {line + offset}", expectation, repr(name), label_names)


def _discover(labels: Sequence[str | tuple[str, ...]], task: str) -> tuple[str, ...]:
    """Returns the sorted names of labels; for entities 'O' and then B- and I- of each entity type."""
    if task == "sentence":
        return tuple(sorted({str(label) for label in labels}))
    types = sorted({tag[2:] for tags in labels for tag in tags if tag != "O"})
    return ("O", *(f"B-{name}" for name in types), *(f"I-{name}" for name in types))


def _check_label_names(label_names: tuple[str, ...], task: str) -> None:
    check(len(label_names) >= 2, "data.labels", "hold at least two labels to tell apart", label_names)
    check(len(set(label_names)) == len(label_names), "data.labels", "hold distinct names", label_names)
    if task == "entities":
        check(label_names[0] == "O", "data.labels", "begin with 'O' for entities", label_names)
        for name in label_names[1:]:
            check(
                name[:2] in ("B-", "I-") and len(name) > 2, "data.labels", "hold BIO tags, 'B-name' or 'I-name'", name
            )


def _check_pinned_split(dataset: Dataset, source: str, settings: tuple[int, float, float, int]) -> None:
    """Fails where a built-in source at the default settings is not split as it was when its hash was recorded."""
    if source == "file" or settings != (0, 0.1, 0.1, 0):
        return
    found = split_hash(dataset)
    expected = SOURCES[source].default_split_sha256
    check(found == expected, f"default split of {source}", f"have the sha256 {expected}", found)
