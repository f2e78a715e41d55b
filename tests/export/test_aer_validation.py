"""Validation passes for a right export and fails for each kind of wrong one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qjax.checks import UserError
from qjax.export import validate, validation, write_circuits
from qjax.export.validation import amplitude_difference
from qjax.quantum import simulate
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.observables import PauliString, PauliSum, z_observables
from qjax.quantum.templates.ansatz import hardware_efficient
from qjax.quantum.templates.encodings import angle_encoding

RNG = np.random.default_rng(0)
TEMPLATE = angle_encoding(3) + hardware_efficient(3, 1)
PARAMS = {"ansatz": RNG.uniform(-np.pi, np.pi, size=(1, 3, 2))}
CIRCUITS = [TEMPLATE.bind(PARAMS, RNG.uniform(-np.pi, np.pi, size=3)) for _ in range(2)]
OBSERVABLES = [*z_observables(3), PauliString("XIY"), PauliSum.from_text("0.5 XZI - 20 ZZY")]
NAMES = ["example_0", "example_1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("validation")
    write_circuits(path, CIRCUITS, NAMES)
    return path


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return validate(CIRCUITS, OBSERVABLES, directory=folder)


def test_right_export_passes(result: dict[str, Any]) -> None:
    assert result["passed"]
    assert result["num_circuits"] == 2
    assert 0 < result["largest_amplitude_difference"] < 1e-6
    assert result["largest_expectation_difference"] < 1e-6
    assert 0.1 < result["largest_standard_errors"] < 5
    assert set(result["versions"]) == {"jax", "numpy", "qiskit", "qiskit-aer"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_shots_scatter_about_the_expectations(result: dict[str, Any]) -> None:
    for row in result["per_circuit"]:
        np.testing.assert_allclose(row["shot_means"][:4], row["expectations"][:4], atol=0.06)
        assert row["shot_means"][:4] != row["expectations"][:4]


def test_seed_decides_the_shots(folder: Path, result: dict[str, Any]) -> None:
    means = [row["shot_means"] for row in result["per_circuit"]]
    again, other = (validate(CIRCUITS, OBSERVABLES, directory=folder, seed=seed) for seed in (0, 1))
    assert [row["shot_means"] for row in again["per_circuit"]] == means
    assert [row["shot_means"] for row in other["per_circuit"]] != means


def test_deterministic_circuit_passes_with_zero_standard_errors() -> None:
    circuit = Circuit(3).append("x", 1).append("h", 2)
    result = validate([circuit], [PauliString("ZII"), PauliString("IZI"), PauliString("IIX"), PauliString("III")])
    assert result["per_circuit"][0]["shot_means"] == [1.0, -1.0, 1.0, 1.0]
    assert result["passed"]
    assert result["largest_standard_errors"] < 1


def swap_qubits(circuit: Circuit, first: int, second: int) -> Circuit:
    order = {first: second, second: first}
    swapped = Circuit(circuit.num_qubits)
    for op in circuit.expand().operations:
        swapped = swapped.append(op.gate.name, [order.get(q, q) for q in op.qubits], *op.angles)
    return swapped


def damaged(fault: str) -> list[Circuit]:
    """The circuits with a fault in the second one."""
    wrong = {
        "two qubits swapped": swap_qubits(CIRCUITS[1], 0, 1),
        "an angle off by 1e-3": CIRCUITS[1].append("ry", 0, 1e-3),
        "a gate left out": Circuit(3, CIRCUITS[1].operations[:-1]),
        "only a phase wrong": CIRCUITS[1].append("s", 2),
    }
    return [CIRCUITS[0], wrong[fault]]


@pytest.mark.parametrize(
    "fault", ["two qubits swapped", "an angle off by 1e-3", "a gate left out", "only a phase wrong"]
)
def test_wrong_file_fails(fault: str, tmp_path: Path) -> None:
    write_circuits(tmp_path, damaged(fault), NAMES)
    result = validate(CIRCUITS, OBSERVABLES, directory=tmp_path)
    assert not result["passed"]
    assert result["per_circuit"][0]["amplitude_difference"] < 1e-5
    assert result["per_circuit"][1]["amplitude_difference"] > 1e-5


def test_wrong_openqasm_beside_a_right_qpy_fails(tmp_path: Path) -> None:
    write_circuits(tmp_path, CIRCUITS, NAMES)
    write_circuits(tmp_path / "wrong", damaged("two qubits swapped"), NAMES)
    (tmp_path / "wrong" / "example_1.qasm").replace(tmp_path / "example_1.qasm")
    result = validate(CIRCUITS, OBSERVABLES, directory=tmp_path)
    assert not result["passed"]
    assert result["per_circuit"][1]["amplitude_difference"] < 1e-5
    assert result["per_circuit"][1]["openqasm_amplitude_difference"] > 1e-2


def test_shots_alone_find_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shots of circuits with two qubits swapped, while the states are right."""
    shots = validation.simulate_shots
    wrong = [validation.to_qiskit(circuit) for circuit in damaged("two qubits swapped")]
    monkeypatch.setattr(
        validation, "simulate_shots", lambda circuits, *args, **options: shots(wrong, *args, **options)
    )
    result = validate(CIRCUITS, OBSERVABLES)
    assert result["largest_amplitude_difference"] < 1e-5
    assert result["largest_standard_errors"] > 5
    assert not result["passed"]


def test_observable_alone_finds_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    reverse = validation.to_qiskit_observable
    monkeypatch.setattr(
        validation, "to_qiskit_observable", lambda observable: reverse(PauliString(str(observable)[::-1]))
    )
    result = validate(CIRCUITS, [PauliString("ZII")])
    assert result["largest_expectation_difference"] > 1e-3
    assert not result["passed"]


def test_given_states_and_expectations_are_what_is_compared() -> None:
    """The model's own figures: circuits bound to other parameters must not pass for it."""
    inputs = [[op.angles[0].shift for op in circuit.operations[:3]] for circuit in CIRCUITS]
    values = {"ansatz": PARAMS["ansatz"].astype(np.float32)}, np.array(inputs, dtype=np.float32)
    ours = {
        "states": simulate.state(TEMPLATE, *values),
        "expectations": simulate.expectation(TEMPLATE, *values, OBSERVABLES),
    }
    assert validate(CIRCUITS, OBSERVABLES, **ours)["passed"]
    for key, part in (("states", "amplitude"), ("expectations", "expectation")):
        wrong = validate(CIRCUITS, OBSERVABLES, **ours | {key: ours[key][::-1]})
        assert not wrong["passed"]
        assert wrong[f"largest_{part}_difference"] > 1e-2


def test_amplitude_difference_ignores_a_global_phase_only() -> None:
    state = np.array([0.6, 0.8j, 0, 0])
    assert amplitude_difference(state, np.exp(0.4j) * state) == pytest.approx(0, abs=1e-12)
    assert amplitude_difference(state, state * [1, -1, 1, 1]) > 0.5
    assert amplitude_difference([1.0, 0.0], [0.0, 1.0]) == 1.0
    with pytest.raises(UserError, match=r"`theirs` must have the shape of `ours` \[4\], but got \[2\]"):
        amplitude_difference(state, [1.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], OBSERVABLES), {}, "`circuits` must hold at least one circuit"),
        ((CIRCUITS, []), {}, "`observables` must hold at least one observable"),
        (([Circuit(2), Circuit(3)], OBSERVABLES), {}, "`circuits` must be on one number of qubits, but got 2, 3"),
        ((CIRCUITS, [PauliString("ZI")]), {}, "`observables` must be on 3 qubits like the circuits, but got ZI on 2"),
        (([TEMPLATE], OBSERVABLES), {}, "`circuit` must be bound"),
        ((CIRCUITS, OBSERVABLES), {"shots": 0}, "`shots` must be at least 1, but got 0"),
        ((CIRCUITS, OBSERVABLES), {"seed": -1}, "`seed` must be at least 0, but got -1"),
        ((CIRCUITS, OBSERVABLES), {"atol": 0.0}, "`atol` must lie between 0 and 1, but got 0.0"),
        (
            (CIRCUITS, OBSERVABLES),
            {"states": np.ones((2, 4))},
            r"`states` must have the shape \[2, 8\], but got \[2, 4\]",
        ),
        ((CIRCUITS, OBSERVABLES), {"expectations": np.full((2, 5), np.nan)}, "`expectations` must be finite"),
        ((CIRCUITS, OBSERVABLES), {"max_standard_errors": 0.0}, "`max_standard_errors` must be above 0, but got 0.0"),
    ],
)
def test_validate_refuses(arguments: tuple, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(*arguments, **options)


def test_files_that_are_missing_or_of_other_circuits_are_refused(tmp_path: Path) -> None:
    write_circuits(tmp_path, CIRCUITS[:1], NAMES[:1])
    with pytest.raises(
        UserError, match="`directory` must hold 2 circuits like `circuits`, of 3 qubits, but got 1 in"
    ):
        validate(CIRCUITS, OBSERVABLES, directory=tmp_path)
    (tmp_path / "example_0.qasm").write_text("OPENQASM 3.0;\nqubit[2] q;\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"`directory` must hold circuits of 3 qubits, but got .*qasm with 2"):
        validate(CIRCUITS[:1], OBSERVABLES, directory=tmp_path)
    (tmp_path / "example_0.qasm").write_text("rubbish(", encoding="utf-8")
    with pytest.raises(UserError, match="`directory` must hold OpenQASM 3 that Qiskit reads"):
        validate(CIRCUITS[:1], OBSERVABLES, directory=tmp_path)
    (tmp_path / "example_0.qasm").unlink()
    with pytest.raises(UserError, match=r"`directory` must hold a file example_0.qasm, but got .* without one"):
        validate(CIRCUITS[:1], OBSERVABLES, directory=tmp_path)
