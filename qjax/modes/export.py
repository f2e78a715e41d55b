"""`--mode=export`: trained circuits of real inputs, or those of an algorithm, for Qiskit, validated on Aer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from qjax.algorithm_schema import is_algorithm
from qjax.checks import check, fail
from qjax.data import read_lines
from qjax.export import validate, write_circuits
from qjax.models.circuit_head import CircuitHead
from qjax.models.heads import HEADS
from qjax.modes import scoring
from qjax.modes.algorithms.export import export_algorithm
from qjax.modes.exported import SHOTS, drawable, say, write_json
from qjax.modes.setup import Run, load_data, prepare_run
from qjax.modes.train import restore_best
from qjax.types import Array

NUM_EXAMPLES = 16


def run(config: ConfigDict, workdir: str | Path, input_path: str) -> int:
    """Writes WORKDIR/export: circuits.qpy, OpenQASM 3 files, drawings, inputs.json and validation.json.

    Args:
      config: the workdir's.
      workdir: of a trained run with a quantum head, or of a run of an algorithm.
      input_path: a file of sentences, one a line; '' takes the first 16 examples of the test split.

    Returns:
      The exit status: 0, or 1 where Aer and the simulator disagree.

    Raises:
      UserError: several processes are joined, which would write the same files; the head has no circuit; or the input
        cannot be read or holds no sentence.
    """
    workdir, count = Path(workdir), jax.process_count()
    check(count == 1, "QJAX_DISTRIBUTED", "be unset for --mode=export, which one process does", f"{count} processes")
    if is_algorithm(config):
        return export_algorithm(config, workdir, input_path)
    if not issubclass(HEADS[config.head.name], CircuitHead):
        fail("--mode", "be used with a head that has a circuit", f"export of head.name = {config.head.name!r}")
    dataset = None if input_path else load_data(config)
    assembled = prepare_run(config, workdir, dataset)
    if dataset is None:
        items = _read_items(assembled, input_path)
        chosen = np.arange(len(items))
    else:
        items = list(dataset.items)
        chosen = np.asarray(dataset.splits["test"])[:NUM_EXAMPLES]
    examples, head, params, features = trained_head(assembled, items, chosen)
    names = [name + ending for name in examples for ending in head.circuits()]
    bound: Any = head.apply({"params": params}, features, method="bind_circuits")
    circuits = [drawable(circuit) for circuit in bound]
    directory = workdir / "export"
    write_circuits(directory, circuits, names)
    # The head's own batched run, with its angles still free: a mistake in binding shows as a difference too.
    ours: Any = head.apply({"params": params}, features, method="simulate")
    states, expectations = map(np.asarray, ours)
    result = validate(
        circuits,
        head.measured_observables(),
        directory=directory,
        states=states,
        expectations=expectations,
        shots=SHOTS,
        seed=config.seed,
    )
    write_json(directory / "inputs.json", {name: _label(items, name) for name in examples})
    write_json(directory / "validation.json", result)
    return say(directory, result, num_circuits=len(circuits))


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
) -> tuple[list[str], CircuitHead, Any, Array]:
    """Returns names, the head, its trained parameters and the features `[names, features]` to run it on.

    There is one name a text, or for entities one a word of the chosen sentences, and for each name all of the head's
    `circuits`.

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
    assert isinstance(head, CircuitHead)
    return names, head, params["head"], features


def _label(items: Sequence[Any], name: str) -> str:
    _, index, *word = name.replace("_word_", "_").split("_")
    return items[int(index)][int(word[0])] if word else items[int(index)]
