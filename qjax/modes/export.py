"""`--mode=export`: the trained circuits of real inputs as Qiskit circuits, files and a validation on Aer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from qjax import quantum
from qjax.checks import check, fail
from qjax.data import read_lines
from qjax.export import validate, write_circuits
from qjax.models.heads import VariationalHead
from qjax.modes import scoring
from qjax.modes.setup import Run, load_data, prepare_run
from qjax.modes.train import restore_best
from qjax.types import Array

NUM_EXAMPLES = 16
SHOTS = 10_000


def run(config: ConfigDict, workdir: str | Path, input_path: str) -> int:
    """Writes WORKDIR/export: circuits.qpy, OpenQASM 3 files, drawings, inputs.json and validation.json.

    Args:
      config: the workdir's.
      workdir: of a trained run with a quantum head.
      input_path: a file of sentences, one a line; '' takes the first 16 examples of the test split.

    Returns:
      The exit status: 0, or 1 where Aer and the simulator disagree.
    """
    workdir = Path(workdir)
    if config.head.name != "variational":
        fail("--mode", "be used with a head that has a circuit", f"export of head.name = {config.head.name!r}")
    dataset = None if input_path else load_data(config)
    assembled = prepare_run(config, workdir, dataset)
    if dataset is None:
        items = _read_items(assembled, input_path)
        chosen = np.arange(len(items))
    else:
        items = list(dataset.items)
        chosen = np.asarray(dataset.splits["test"])[:NUM_EXAMPLES]
    names, head, params, features = trained_head(assembled, items, chosen)
    circuits: Any = head.apply({"params": params}, features, method="bind_circuits")
    directory = workdir / "export"
    write_circuits(directory, circuits, names)
    observables = head.measured_observables()
    # The head's own batched run, with its angles still free: a mistake in binding shows as a difference too.
    angles: Any = head.apply({"params": params}, features, method="angles")
    result = validate(
        circuits,
        observables,
        directory=directory,
        states=np.asarray(quantum.state(head.circuit(), params["quantum"], angles)),
        expectations=np.asarray(quantum.expectation(head.circuit(), params["quantum"], angles, observables)),
        shots=SHOTS,
        seed=config.seed,
    )
    _write_json(directory / "inputs.json", dict(zip(names, [_label(items, n) for n in names], strict=True)))
    _write_json(directory / "validation.json", result)
    return _say(directory, result, num_circuits=len(circuits))


def _read_items(assembled: Run, input_path: str) -> list[Any]:
    try:
        with Path(input_path).open("rb") as file:
            texts = [line.text for line in read_lines(file) if line.text is not None]
    except OSError as error:
        fail("--input", "name a readable text file", f"{input_path} ({error.strerror})")
    check(bool(texts), "--input", "hold at least one sentence", f"{input_path}, which holds none")
    return [tuple(text.split()) for text in texts] if assembled.config.task == "entities" else texts


def trained_head(
    assembled: Run, items: Sequence[Any], chosen: np.ndarray
) -> tuple[list[str], VariationalHead, Any, Array]:
    """Returns names, the head, its trained parameters and the features `[circuits, features]` to run it on.

    There is one circuit a text, or for entities one a word of the chosen sentences.

    A name is `example_INDEX`, for a word `example_INDEX_word_POSITION`. Of entities the first `NUM_EXAMPLES` words
    are taken.
    """
    before, frozen = scoring.initial_params(assembled)
    params, _ = restore_best(assembled, before)
    inputs = scoring.make_inputs(assembled, items, announce=False)
    rows = scoring.head_features(assembled, params, frozen, inputs, chosen)
    if assembled.config.task == "entities":
        words = [(int(i), w, row[w]) for i, row in zip(chosen, rows, strict=True) for w in range(len(row))]
        words = words[:NUM_EXAMPLES]
        names = [f"example_{i}_word_{w}" for i, w, _ in words]
        features = jnp.asarray(np.stack([row for *_, row in words]))
    else:
        names = [f"example_{int(i)}" for i in chosen]
        features = jnp.asarray(np.stack(rows))
    head = assembled.model.head
    assert isinstance(head, VariationalHead)
    return names, head, params["head"], features


def _label(items: Sequence[Any], name: str) -> str:
    _, index, *word = name.replace("_word_", "_").split("_")
    return items[int(index)][int(word[0])] if word else items[int(index)]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(directory: Path, result: dict[str, Any], *, num_circuits: int) -> int:
    print(f"exported   {num_circuits} circuits to {directory}")
    print(f"amplitudes differ from Aer's by at most {result['largest_amplitude_difference']:.2e}")
    print(f"expectations differ from Aer's by at most {result['largest_expectation_difference']:.2e}")
    print(f"{SHOTS:,} shots differ by at most {result['largest_standard_errors']:.2f} standard errors")
    print(f"validation {'passed' if result['passed'] else 'FAILED'}: {directory}/validation.json")
    return 0 if result["passed"] else 1
