"""Data sets: the splits' properties, the recorded hashes, and refusal of what cannot be trained on."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from qjax.checks import UserError
from qjax.data import dataset as dataset_module
from qjax.data.dataset import Dataset, load_dataset, num_shared_items, read_labelled, split_hash
from qjax.data.readers import Examples
from qjax.data.sources import SOURCES

BUILT_IN = [("movie_reviews", "sentence"), ("twitter_ner", "entities")]


def write_tsv(path, rows):
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return str(path)


def write_conll(path, sentences):
    path.write_text("\n\n".join("\n".join(f"{word} {tag}" for word, tag in s) for s in sentences) + "\n")
    return str(path)


@pytest.fixture
def reviews(tmp_path):
    return write_tsv(tmp_path / "all.tsv", [(f"text {i}", "pos" if i % 3 else "neg") for i in range(60)])


def items_of(dataset: Dataset, split: str):
    return [dataset.items[i] for i in dataset.splits[split]]


@pytest.mark.parametrize(("source", "task"), BUILT_IN)
def test_built_in_splits(source, task):
    dataset = load_dataset(task=task, source=source)
    total = len(dataset.items)
    assert split_hash(dataset) == SOURCES[source].default_split_sha256
    indices = np.concatenate([dataset.splits[split] for split in ("train", "validation", "test")])
    assert sorted(indices) == list(range(total))
    assert all(np.all(np.diff(dataset.splits[split]) > 0) for split in dataset.splits)
    for split in ("validation", "test"):
        assert abs(len(dataset.splits[split]) - 0.1 * total) <= 1
        assert not set(items_of(dataset, split)) & set(items_of(dataset, "train"))
    assert num_shared_items(dataset) == 0


def test_movie_reviews_labels_and_strata():
    dataset = load_dataset(task="sentence", source="movie_reviews")
    assert dataset.label_names == ("negative", "positive")
    assert Counter(dataset.labels) == {0: 5326, 1: 5242}
    for indices in dataset.splits.values():
        positives = np.mean([dataset.labels[i] for i in indices])
        assert abs(positives - 5242 / 10568) < 0.002
    assert any("37 snippets" in note for note in dataset.notes)


def test_twitter_ner_labels_and_strata():
    dataset = load_dataset(task="entities", source="twitter_ner")
    assert dataset.label_names[0] == "O"
    assert list(dataset.label_names[1:]) == sorted(dataset.label_names[1:])
    assert len(dataset.label_names) == 21
    assert all(len(item) == len(label) for item, label in zip(dataset.items, dataset.labels, strict=True))
    for indices in dataset.splits.values():
        assert abs(np.mean([any(dataset.labels[i]) for i in indices]) - 918 / 2394) < 0.01
    assert "99 examples repeat the text of another." in dataset.notes


def test_a_changed_built_in_source_is_noticed(monkeypatch):
    read = dataset_module._BUILT_IN["twitter_ner"][1]

    def read_less(path):
        examples = read(path)
        return Examples(examples.items[1:], examples.labels[1:], examples.lines[1:])

    monkeypatch.setattr(dataset_module, "_BUILT_IN", {"twitter_ner": ("entities", read_less)})
    with pytest.raises(UserError, match="default split of twitter_ner` must have the sha256 c718951c"):
        load_dataset(task="entities", source="twitter_ner")


def test_split_does_not_depend_on_the_process_or_the_order_of_the_file(tmp_path, reviews):
    dataset = load_dataset(task="sentence", source="file", path=reviews)
    lines = (tmp_path / "all.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "reversed.tsv").write_text("".join([lines[0], *reversed(lines[1:])]))
    other = load_dataset(task="sentence", source="file", path=str(tmp_path / "reversed.tsv"))
    for split in dataset.splits:
        assert set(items_of(dataset, split)) == set(items_of(other, split))
    code = (
        "import sys; from qjax.data import load_dataset, split_hash\n"
        "print(split_hash(load_dataset(task='sentence', source='file', path=sys.argv[1])))"
    )
    result = subprocess.run([sys.executable, "-c", code, reviews], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == split_hash(dataset)


def test_split_seed_matters(reviews):
    hashes = {split_hash(load_dataset(task="sentence", source="file", path=reviews, split_seed=s)) for s in range(5)}
    assert len(hashes) == 5


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=80),
    shares=st.tuples(st.sampled_from([0.1, 0.25, 0.5]), st.sampled_from([0.1, 0.3])),
    seed=st.integers(0, 3),
)
def test_split_is_a_partition_that_keeps_equal_texts_together(rows, shares, seed):
    examples = Examples(
        tuple(f"text {number}" for number, _ in rows), tuple(label for _, label in rows), tuple(range(len(rows)))
    )
    splits = dataset_module._split(examples, seed=seed, shares=dict(zip(("validation", "test"), shares, strict=True)))
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(rows)))
    texts = [{examples.items[i] for i in indices} for indices in splits.values()]
    assert sum(map(len, texts)) == len(set(examples.items))
    # Without duplicates the sizes are the shares, but for what each of three strata must leave for training.
    if len(set(examples.items)) == len(rows) and len(rows) > 20:
        for split, share in zip(("validation", "test"), shares, strict=True):
            assert abs(len(splits[split]) - share * len(rows)) <= 3


def test_duplicates_stay_in_one_split_and_are_reported(tmp_path):
    rows = [(f"text {i % 20}", "a" if i % 2 else "b") for i in range(60)]
    dataset = load_dataset(task="sentence", source="file", path=write_tsv(tmp_path / "d.tsv", rows))
    assert num_shared_items(dataset) == 0
    assert "40 examples repeat the text of another." in dataset.notes


def test_files_of_ones_own_for_validation_and_test(tmp_path, reviews):
    validation = write_tsv(tmp_path / "v.tsv", [("text 0", "neg"), ("new", "pos")])
    test = write_tsv(tmp_path / "t.tsv", [("newer", "pos")])
    dataset = load_dataset(
        task="sentence", source="file", path=reviews, validation_path=validation, test_path=test, max_examples=60
    )
    assert len(dataset.splits["train"]) == 60
    assert items_of(dataset, "validation") == ["text 0", "new"]
    assert items_of(dataset, "test") == ["newer"]
    assert [dataset.label_names[dataset.labels[i]] for i in dataset.splits["validation"]] == ["neg", "pos"]
    assert num_shared_items(dataset) == 1


def test_only_a_test_file(tmp_path, reviews):
    test = write_tsv(tmp_path / "t.tsv", [("newer", "pos")])
    dataset = load_dataset(task="sentence", source="file", path=reviews, test_path=test)
    assert {split: len(indices) for split, indices in dataset.splits.items()} == {
        "train": 54,
        "validation": 6,
        "test": 1,
    }


def test_given_labels_keep_their_order_and_may_lack_training_examples(reviews):
    dataset = load_dataset(task="sentence", source="file", path=reviews, labels=("pos", "mixed", "neg"))
    assert dataset.label_names == ("pos", "mixed", "neg")
    assert dataset.labels[:4] == (2, 0, 0, 2)


def test_max_examples_draws_by_seed(reviews):
    drawn = [
        load_dataset(task="sentence", source="file", path=reviews, max_examples=30, split_seed=seed).items
        for seed in (0, 0, 1)
    ]
    assert len(drawn[0]) == 30
    assert drawn[0] == drawn[1] != drawn[2]


def test_max_examples_holds_for_files_of_ones_own(tmp_path, reviews):
    own = write_tsv(tmp_path / "own.tsv", [(f"own {i}", "pos" if i % 2 else "neg") for i in range(40)])
    dataset = load_dataset(
        task="sentence", source="file", path=reviews, validation_path=own, test_path=own, max_examples=20
    )
    assert {split: len(indices) for split, indices in dataset.splits.items()} == dict.fromkeys(dataset.splits, 20)


@pytest.mark.parametrize("name", ["eng.train", "eng.testa", "train", "ner.data"])
def test_a_file_of_entities_may_have_any_name(tmp_path, name):
    path = write_conll(tmp_path / name, [[(f"w{i}", "B-PER" if i % 2 else "O")] for i in range(40)])
    assert load_dataset(task="entities", source="file", path=path).label_names == ("O", "B-PER", "I-PER")


def test_entity_types_are_discovered_with_both_tags(tmp_path):
    path = write_conll(
        tmp_path / "a.conll", [[("w" + str(i), "B-PER" if i % 2 else "O"), ("x", "O")] for i in range(40)]
    )
    dataset = load_dataset(task="entities", source="file", path=path)
    assert dataset.label_names == ("O", "B-PER", "I-PER")
    assert dataset.labels[1] == (1, 0)


def load_file(**changes):
    return load_dataset(**{"task": "sentence", "source": "file", **changes})


def test_refusals(tmp_path, reviews):
    one_class = write_tsv(tmp_path / "one.tsv", [(f"t{i}", "a") for i in range(30)])
    unseen = write_tsv(tmp_path / "unseen.tsv", [("x", "pos"), ("y", "meh")])
    untagged = write_conll(tmp_path / "u.conll", [[(f"w{i}", "O")] for i in range(30)])
    cases = [
        ({"task": "sentences"}, "Did you mean 'sentence'"),
        ({"source": "movie_review"}, "Did you mean 'movie_reviews'"),
        ({"source": "movie_reviews", "task": "entities"}, r"`task` must be 'sentence' with data\.source"),
        ({"source": "movie_reviews", "path": reviews}, r"data\.source` must be 'file'"),
        ({}, r"data\.path` must name a file"),
        ({"path": reviews, "task": "entities"}, r"all\.tsv, line 1` must end in a BIO tag .*, but got 'label'"),
        ({"path": untagged}, r"u\.conll, line 1` must be a header that names the columns 'text' and 'label'"),
        ({"path": one_class}, r"data\.labels` must hold at least two labels"),
        ({"path": untagged, "task": "entities"}, r"data\.labels` must hold at least two labels"),
        ({"path": reviews, "max_examples": 3}, "validation split` must hold at least one example, but got none of 3"),
        ({"path": reviews, "max_examples": -1}, r"data\.max_examples` must be 0"),
        ({"path": reviews, "validation_fraction": 0.0}, r"data\.validation_fraction` must lie between 0 and 1"),
        ({"path": reviews, "test_fraction": 1.5}, r"data\.test_fraction` must lie between"),
        ({"path": reviews, "validation_fraction": 0.5, "test_fraction": 0.5}, "leave examples to train on"),
        ({"path": reviews, "test_path": unseen}, r"unseen\.tsv, line 3` must have a label that the training split"),
        ({"path": reviews, "labels": ("pos", "negg")}, r"all\.tsv, line 2.*the given labels, but got 'neg'.*'negg'"),
        ({"path": reviews, "labels": ("pos", "neg", "pos")}, r"data\.labels` must hold distinct names"),
        ({"path": untagged, "task": "entities", "labels": ("B-X", "O")}, r"data\.labels` must begin with 'O'"),
        ({"path": untagged, "task": "entities", "labels": ("O", "X")}, r"data\.labels` must hold BIO tags"),
    ]
    for changes, message in cases:
        with pytest.raises(UserError, match=message):
            load_file(**changes)


def test_read_labelled(tmp_path, reviews):
    path = tmp_path / "new.jsonl"
    rows = [{"body": "fine", "y": "pos"}, {"body": "poor", "y": "neg"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    columns = {"text_column": "body", "label_column": "y"}
    dataset = read_labelled(path, task="sentence", label_names=("neg", "pos"), **columns)
    assert dataset.items == ("fine", "poor")
    assert accuracy_score(dataset.labels, [1, 0]) == 1.0
    assert {name: list(indices) for name, indices in dataset.splits.items()} == {"input": [0, 1]}
    with pytest.raises(UserError, match=r"new\.jsonl, line 1` must have one of the given labels, but got 'pos'"):
        read_labelled(path, task="sentence", label_names=("neg", "good"), **columns)


def test_read_labelled_names_the_line_of_an_unknown_tag(tmp_path):
    path = write_conll(tmp_path / "a.conll", [[("a", "O")], [("b", "O"), ("c", "B-ORG")]])
    with pytest.raises(UserError, match=r"a\.conll, line 4` .*'B-ORG'.*Choices: O, B-PER, I-PER"):
        read_labelled(path, task="entities", label_names=("O", "B-PER", "I-PER"))


def test_split_hash_sees_labels_texts_and_membership(reviews):
    dataset = load_dataset(task="sentence", source="file", path=reviews)
    changes = [
        {"labels": (1 - dataset.labels[0], *dataset.labels[1:])},
        {"items": ("other", *dataset.items[1:])},
        {"splits": {**dataset.splits, "test": dataset.splits["test"][1:]}},
    ]
    hashes = {split_hash(Dataset(**{**vars(dataset), **change})) for change in changes}
    assert len(hashes | {split_hash(dataset)}) == 4
