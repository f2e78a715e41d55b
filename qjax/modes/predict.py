"""`--mode=predict`: labels for new sentences, one a line in, one JSON object a line out."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ml_collections import ConfigDict

from qjax.checks import fail, printable
from qjax.data import InputLine, read_lines
from qjax.modes import scoring
from qjax.modes.setup import Run, prepare_run
from qjax.modes.train import restore_best


@contextlib.contextmanager
def _open(input_path: str) -> Iterator[BinaryIO]:
    if input_path in ("", "-"):
        yield sys.stdin.buffer
        return
    try:
        with Path(input_path).open("rb") as file:
            yield file
    except OSError as error:
        fail("--input", "name a readable text file", f"{input_path} ({error.strerror})")


def run(config: ConfigDict, workdir: str | Path, input_path: str) -> int:
    """Writes one JSON line to standard output for every line of the input, in order; notes go to standard error.

    Args:
      config: the workdir's.
      workdir: of a trained run.
      input_path: a UTF-8 file, a sentence a line; '' or '-' reads standard input.

    Returns:
      The exit status, 0.
    """
    with _open(input_path) as stream:
        lines = list(read_lines(stream))
    assembled = prepare_run(config, Path(workdir), None)
    before, frozen = scoring.initial_params(assembled)
    params, _ = restore_best(assembled, before)
    records = predict_lines(assembled, params, frozen, lines)
    if scoring.is_main_process():
        for record in records:
            print(printable(json.dumps(record, ensure_ascii=False)))  # the same JSON, fit for a terminal
        for line in lines:
            if line.note:
                print(f"line {line.number}: {line.note}", file=sys.stderr)
    return 0


def predict_lines(assembled: Run, params: Any, frozen: Any, lines: Sequence[InputLine]) -> list[dict[str, Any]]:
    """Returns a record for each line: its number, its text and what the model says, or why it says nothing."""
    texts = [line.text for line in lines if line.text is not None]
    words = assembled.config.task == "entities"
    items: list[Any] = [tuple(text.split()) for text in texts] if words else texts
    outputs: Iterator[np.ndarray] = iter(())
    cut: Iterator[bool] = iter(())
    if items:
        inputs = scoring.make_inputs(assembled, items, announce=False)
        score = scoring.make_scorer(assembled, frozen, inputs, announce=True)
        outputs = iter(score(params, np.arange(len(items))))
        cut = iter(scoring.cut_items(assembled, items))
    records = []
    for line in lines:
        record: dict[str, Any] = {"line": line.number}
        if line.note:
            record["note"] = line.note
        if line.text is not None:
            record.update(describe(assembled, line.text, next(outputs), cut=next(cut)))
        records.append(record)
    return records


def describe(assembled: Run, text: str, log_probabilities: np.ndarray, *, cut: bool) -> dict[str, Any]:
    """Returns one prediction as a dict: 'label' and 'probabilities', or 'tokens', 'tags' and their probabilities."""
    names = assembled.info.label_names
    probabilities = np.exp(log_probabilities.astype(np.float64))
    notes = {"cut": f"only the first {assembled.config.data.max_length} word pieces were read"} if cut else {}
    if assembled.config.task == "sentence":
        by_label = {name: round(float(p), 6) for name, p in zip(names, probabilities, strict=True)}
        return {"text": text, "label": names[int(np.argmax(probabilities))], "probabilities": by_label, **notes}
    tokens = text.split()
    tags = scoring.predicted_tags(log_probabilities, names, len(tokens))
    confidence = [round(float(p), 6) for p in probabilities.max(axis=-1)] + [None] * (
        len(tokens) - len(probabilities)
    )
    return {"tokens": tokens, "tags": tags, "probabilities": confidence, **notes}
