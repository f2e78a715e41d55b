"""What `explain` says: the engine that runs, why others do not, what it does and costs; and its JSON."""

import json
from typing import Any

import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    Explanation,
    Repeat,
    angle_encoding,
    explain,
    hardware_efficient,
    parameter,
    z_observables,
)
from qjax.quantum.engines import choices
from qjax.quantum.engines.base import Work


def classifier(n: int, reps: int = 3) -> Circuit:
    return angle_encoding(n) + hardware_efficient(n, reps)


@pytest.mark.parametrize(
    ("n", "batch", "engine"), [(4, 32, "whole states"), (8, 1, "whole states"), (14, 1, "large states")]
)
def test_it_names_the_engine_and_why_others_do_not_run(n: int, batch: int, engine: str) -> None:
    told = explain(classifier(n), batch=batch, observables=z_observables(n))
    assert told.engine == f"native, {engine}"
    assert f"engine    native, {engine}" in str(told)
    for name, reason in told.refused:
        assert reason
        assert f"not {name}: {reason}" in str(told)


def test_without_native_code_xla_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "USE_NATIVE", False)
    told = explain(classifier(4), batch=32)
    assert told.engine == "XLA"
    assert [reason for _, reason in told.refused] == ["QJAX_NATIVE=0 switches native code off"] * 3


def test_figures_of_the_circuit() -> None:
    body = Circuit(3).append("ry", 0, parameter("a")).append("cx", (0, 1))
    circuit = angle_encoding(3) + Circuit(3, (Repeat(body, 4),))
    told = explain(circuit, batch=5, dtype=np.float64)
    found = told.num_qubits, told.num_gates, told.num_parameters, told.num_inputs, told.num_observables
    assert found == (3, 3 + 8, 4, 3, 0)
    assert (told.batch, told.dtype, told.depth) == (5, "float64", circuit.depth())
    assert told.state_bytes == 5 * 8 * 16


def test_work_and_stages_are_those_of_the_engine_that_runs() -> None:
    whole = explain(classifier(6), batch=64)
    assert whole.forward.passes == 0  # no pass over the memory
    assert any("18 dense gates on 1 qubits" in stage or "dense gates" in stage for stage in whole.stages)
    assert any("X, CX and SWAP" in stage for stage in whole.stages)
    twice = explain(classifier(6), batch=128)
    assert twice.forward.flops == 2 * whole.forward.flops
    large = explain(classifier(16))
    assert large.forward.passes >= 1
    assert large.forward.num_bytes == large.forward.passes * 2 * large.state_bytes
    assert large.reverse.passes == 2 * large.forward.passes


def test_memory_is_that_of_the_engine_that_runs() -> None:
    told = explain(classifier(10), batch=512, observables=z_observables(10))
    assert told.forward_bytes < told.gradient_bytes < told.state_bytes  # states stay in the cache
    large = explain(classifier(16))
    assert large.state_bytes < large.forward_bytes < large.gradient_bytes


def test_json_comes_back() -> None:
    told = explain(classifier(3), batch=7)
    again = Explanation.from_json(told.to_json())
    assert again == told
    assert isinstance(again.forward, Work)
    assert "not measured" in json.loads(told.to_json())["note"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "qjax.explanation"},
        {"stages": 3},
        {"forward": {"passes": 1}, "refused": [1]},
        {"reverse": {"nothing": 1}},
        {"batch": "many", "state_bytes": None},
        {"unknown": 1},
    ],
)
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    data = json.loads(explain(classifier(2)).to_json()) | change
    with pytest.raises(UserError, match="`text` must be"):
        Explanation.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "`batch` must be an integer of at least 1"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
        ({"dtype": "no dtype"}, "`dtype` must be one of"),
        ({"observables": z_observables(3)}, "`observables`"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(Circuit(2), **options)
