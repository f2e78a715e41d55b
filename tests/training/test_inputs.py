"""Batches of word pieces and of features against rows written out by hand."""

from typing import Any

import numpy as np
import pytest

from qjax.data.batches import BatchIndices
from qjax.training.features import Features
from qjax.training.inputs import FeatureInputs, TokenInputs, label_rows, make_batch

PIECES = [np.asarray(ids, np.int32) for ids in ([2, 7, 3], [2, 3], [2, 8, 9, 9, 3])]
# Example 0 has one word, 1 has none that is seen, 2 has two, of which the second is two pieces long.
FIRST_PIECES = [np.asarray(positions, np.int32) for positions in ([1], [], [1, 2])]
SENTENCES = TokenInputs(PIECES)
WORDS = TokenInputs(PIECES, positions=FIRST_PIECES, num_cut=2)
ROWS = np.asarray([[1, 2], [3, 4], [5, 6]], np.float32)
SENTENCE_FEATURES = FeatureInputs(Features(ROWS, np.arange(4)))
WORD_FEATURES = FeatureInputs(Features(ROWS, np.asarray([0, 1, 1, 3])), words=True)
TAGS = [[4], [5, 6], [0, 1, 2]]  # labels of all words, seen or cut


def spec(indices: list[int], length: int) -> BatchIndices:
    return BatchIndices(length, np.asarray(indices, np.int64))


def assert_batch(actual: dict[str, np.ndarray], expected: dict[str, Any], dtypes: dict[str, Any]) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
        assert actual[name].dtype == dtypes.get(name, np.int32), name


# Lengths ------------------------------------------------------------------------------------------------------------


def test_lengths_are_what_a_row_is_padded_by() -> None:
    for inputs, expected in [
        (SENTENCES, [3, 2, 5]),
        (WORDS, [3, 2, 5]),
        (SENTENCE_FEATURES, [1, 1, 1]),
        (WORD_FEATURES, [1, 0, 2]),
    ]:
        np.testing.assert_array_equal(inputs.lengths, expected)


def test_words_that_the_model_sees() -> None:
    for inputs in (WORDS, WORD_FEATURES):
        assert [inputs.num_words(i) for i in range(3)] == [1, 0, 2]
    assert (WORDS.num_cut, SENTENCES.num_cut) == (2, 0)


# Rows ---------------------------------------------------------------------------------------------------------------


def test_rows_of_word_pieces() -> None:
    token_ids = [[2, 8, 9, 9, 3], [0, 0, 0, 0, 0], [2, 7, 3, 0, 0]]
    mask = [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    expected = {"token_ids": token_ids, "mask": mask}
    assert_batch(SENTENCES.rows(spec([2, -1, 0], 5)), expected, {})
    positions = [[1, 2, -1, -1, -1], [-1, -1, -1, -1, -1], [1, -1, -1, -1, -1]]
    assert_batch(WORDS.rows(spec([2, -1, 0], 5)), {**expected, "positions": positions}, {})


def test_a_piece_of_id_zero_is_not_padding() -> None:
    inputs = TokenInputs([np.asarray([0, 0], np.int32)])
    np.testing.assert_array_equal(inputs.rows(spec([0], 3))["mask"], [[1, 1, 0]])


def test_rows_of_features() -> None:
    dtypes = {"features": np.float32}
    assert_batch(SENTENCE_FEATURES.rows(spec([2, -1, 0], 1)), {"features": [[5, 6], [0, 0], [1, 2]]}, dtypes)
    words = [[[3, 4], [5, 6], [0, 0]], [[0, 0]] * 3, [[1, 2], [0, 0], [0, 0]], [[0, 0]] * 3]
    assert_batch(WORD_FEATURES.rows(spec([2, -1, 0, 1], 3)), {"features": words}, dtypes)


# Labels -------------------------------------------------------------------------------------------------------------


def test_labels_of_sentences() -> None:
    labels = label_rows(SENTENCES, [7, 8, 9], spec([2, -1, 0], 5), words=False)
    np.testing.assert_array_equal(labels, [9, -1, 7])
    assert labels.dtype == np.int32


@pytest.mark.parametrize("inputs", [WORDS, WORD_FEATURES], ids=["pieces", "features"])
def test_labels_of_words_that_were_cut_do_not_count(inputs: Any) -> None:
    labels = label_rows(inputs, TAGS, spec([2, -1, 0, 1], 4), words=True)
    np.testing.assert_array_equal(labels, [[0, 1, -1, -1], [-1] * 4, [4, -1, -1, -1], [-1] * 4])
    assert labels.dtype == np.int32


# Batches ------------------------------------------------------------------------------------------------------------


def test_a_batch_counts_within_its_subset() -> None:
    batch = make_batch(SENTENCE_FEATURES, [7, 8, 9], np.asarray([2, 0]), spec([1, 0, -1], 1), words=False)
    expected = {"features": [[1, 2], [5, 6], [0, 0]], "ids": [0, 2, -1], "labels": [7, 9, -1]}
    assert_batch(batch, expected, {"features": np.float32})


def test_a_batch_of_words() -> None:
    batch = make_batch(WORDS, TAGS, np.asarray([2]), spec([0, -1], 5), words=True)
    expected = {
        "token_ids": [[2, 8, 9, 9, 3], [0] * 5],
        "mask": [[1] * 5, [0] * 5],
        "positions": [[1, 2, -1, -1, -1], [-1] * 5],
        "ids": [2, -1],
        "labels": [[0, 1, -1, -1, -1], [-1] * 5],
    }
    assert_batch(batch, expected, {})


def test_a_batch_without_labels_has_none() -> None:
    batch = make_batch(SENTENCES, None, np.asarray([0, 1, 2]), spec([1], 2), words=False)
    assert_batch(batch, {"token_ids": [[2, 3]], "mask": [[1, 1]], "ids": [1]}, {})
