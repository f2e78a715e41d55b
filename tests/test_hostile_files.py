"""Every document that the package reads, with one value replaced by each hostile one: a result or one `UserError`."""

import copy
import json
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest

from qjax.algorithm_schema import FILES
from qjax.checks import MAX_SHOWN, UserError
from qjax.config import from_json, load_config, to_json, validate
from qjax.data import random_tokenizer
from qjax.data.tokenization import load_tokenizer
from qjax.models.bert_config import BertConfig
from qjax.modes.setup import read_info
from qjax.quantum import (
    Circuit,
    Explanation,
    Repeat,
    barrier_gate,
    diagonal_gate,
    explain,
    input_angle,
    parameter,
    pauli_rotation_gate,
    permutation_gate,
    real_amplitudes,
    unitary_gate,
)
from qjax.training.manifest import DamageError, read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[1]
HOSTILE: list[Any] = [
    *(None, True, -1, 3.5, 1e300, 10**18, -(10**99), "", "\x1b[31m", [], [[]], [None], {}, {"a": 1}, float("nan")),
]


def circuit_text() -> str:
    layer = Circuit(3).append("ry", 0, parameter("a"))
    circuit = Circuit(3, (Repeat(layer, 2),)).append("ry", 1, parameter("t", 0) * 2 + input_angle(1))
    circuit = circuit.append("x", 2, controls=(0, 1), control_values=(1, 0)).append(permutation_gate([1, 0]), 0)
    circuit = circuit.append(diagonal_gate([0, 0.5]), 1).append(unitary_gate(np.eye(2)), 2)
    return circuit.append(pauli_rotation_gate("XZ"), (0, 1), 0.3).append(barrier_gate(2), (0, 1)).to_json()


def use_circuit(text: str, folder: Path) -> None:
    circuit = Circuit.from_json(text)
    repr(circuit)
    hash(circuit)
    circuit.counts()
    assert circuit.num_parameters >= 0 <= circuit.num_inputs


def info_text() -> str:
    hashes = dict.fromkeys(("split_sha256", "encoder_sha256", "encoder_config_sha256"), "ab" * 32)
    counts = {"label_names": ["a", "b"], "train_label_counts": [3, 4]}
    return json.dumps(counts | hashes | {"tokenizer_sha256": "cd" * 32})


def use_info(text: str, folder: Path) -> None:
    (folder / "run.json").write_text(text)
    info = read_info(folder)
    assert info is not None
    assert " ".join([*info.label_names, info.split_sha256[:16], info.tokenizer_sha256[:16]])
    assert sum(info.train_label_counts) >= 0


def use_tokenizer(text: str, folder: Path) -> None:
    random_tokenizer(["a b"]).save(folder)
    (folder / "tokenizer_config.json").write_text(text)
    load_tokenizer(folder).encode_texts(["a", "\x1b"], 8)


DOCUMENTS: dict[str, tuple[str, Any]] = {
    "circuit": (circuit_text(), use_circuit),
    "explanation": (explain(real_amplitudes(3, 1)).to_json(), lambda text, _: str(Explanation.from_json(text))),
    "config.json": (
        to_json(validate(load_config(ROOT / "configs" / "tiny.py"))),
        lambda text, _: from_json(text),
    ),
    "BERT's config.json": (
        json.dumps(BertConfig(100, 32, 2, 2, 64, 32).to_dict()),
        lambda text, _: BertConfig.from_dict(json.loads(text)),
    ),
    "run.json": (info_text(), use_info),
    "tokenizer_config.json": (
        json.dumps({"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}),
        use_tokenizer,
    ),
} | {
    f"{name}'s config.json": (to_json(validate(file.get_config())), lambda text, _: from_json(text))
    for name, file in FILES.items()
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@pytest.fixture(autouse=True)
def without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user runs it: the tests' own type checker would answer first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_one_hostile_value_is_one_line_or_does_no_harm(tmp_path: Path, name: str) -> None:
    text, use = DOCUMENTS[name]
    document = json.loads(text)
    use(text, tmp_path)
    for path in places(document)[1:]:
        for value in HOSTILE:
            try:
                use(json.dumps(replaced(document, path, value)), tmp_path)
            except UserError as error:
                message = str(error)
                assert message.isprintable(), (path, value)
                assert len(message) < 2 * MAX_SHOWN, (path, value)


def test_a_hostile_manifest_is_damage(tmp_path: Path) -> None:
    folder = tmp_path / "3"
    folder.mkdir()
    write_manifest(folder, step=3, metric="loss", value=0.5, loss=0.5, leaves={})
    assert read_manifest(folder).step == 3
    for text in ("[" * 100_000, '{"step": ' + "7" * 5_000 + "}", "[]", '{"sha256": "\\ud800"}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(DamageError, match=r"a manifest\.json that is not readable"):
            read_manifest(folder)
