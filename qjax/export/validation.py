"""Proof that an exported circuit is the circuit we simulate: our states and expectations against Qiskit Aer's."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qjax.checks import check, fail
from qjax.export.aer import simulate_shots, simulate_states
from qjax.export.circuits import to_qiskit, to_qiskit_observable, to_qiskit_state
from qjax.export.files import openqasm_path, read_circuits
from qjax.export.measurement import (
    MeasurementPlan,
    in_standard_errors,
    outcome_probabilities,
    plan_measurements,
    standard_error,
)
from qjax.export.observables import pauli_terms
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.observables import Observable
from qjax.quantum.simulate import expectation, state

if TYPE_CHECKING:
    import qiskit

PACKAGES = ("jax", "numpy", "qiskit", "qiskit-aer")


def validate(
    circuits: Sequence[Circuit],
    observables: Sequence[Observable],
    *,
    directory: str | Path | None = None,
    states: ArrayLike | None = None,
    expectations: ArrayLike | None = None,
    shots: int = 10_000,
    seed: int = 0,
    atol: float = 1e-5,
    max_standard_errors: float = 5.0,
) -> dict[str, Any]:
    """Compares our simulation of each circuit with Qiskit Aer's of the exported one.

    Compared are the amplitudes up to a global phase, each expectation, and each mean over a run of `shots`. The
    expectations of an observable whose sum of |coefficients| exceeds 1 are divided by that sum, so that one tolerance
    fits all. A Hermitian or a Projector is taken as the sum of Pauli strings that it is: on k qubits that is a run of
    the shots for each of up to 3^k settings, and one alone where it is diagonal.

    A right program fails by the luck of the shots with probability 2 exp(-max_standard_errors^2 / 2) at most for each
    expectation (see `measurement.in_standard_errors`): at 5, for 16 circuits and 8 observables, at most 1e-3 in all,
    and about 7e-5 where the means are nearly normal. A `seed` gives the same shots each time.

    Args:
      circuits: bound, all on one number of qubits.
      observables: on that number of qubits; a Hermitian or a Projector on at most 5 of them, a Projector on outcomes
        on at most 10.
      directory: where `write_circuits` put these circuits: its QPY file is what is compared then, and the state
        of each OpenQASM file too. None exports them in memory.
      states: ours, `[circuits, 2**n]`, qubit 0 most significant. Give what the trained model itself computes from
        parameters and inputs, and the binding of the circuits is proven too; None simulates the bound circuits.
      expectations: ours, `[circuits, observables]`; likewise.
      shots: of each measurement setting.
      seed: of the shots, at least 0.
      atol: largest difference of an amplitude and of an expectation.
      max_standard_errors: largest difference of a mean over the shots.

    Returns:
      Plain numbers for JSON: 'passed', the largest differences, the thresholds, 'versions', and 'per_circuit' with a
      row for each circuit and in it one entry for each observable.
    """
    _check_arguments(
        circuits, observables, shots=shots, seed=seed, atol=atol, max_standard_errors=max_standard_errors
    )
    exported = [to_qiskit(circuit) for circuit in circuits]
    openqasm = None
    if directory is not None:
        exported = _read_exported(directory, circuits)
        openqasm = simulate_states(_read_openqasm(directory, exported))
    if states is None:
        states = [np.asarray(state(circuit)) for circuit in circuits]
    if expectations is None:
        expectations = [np.asarray(expectation(circuit, observables=tuple(observables))) for circuit in circuits]
    our_states = _as_rows("states", states, (len(circuits), 2 ** circuits[0].num_qubits))
    our_expectations = _as_rows("expectations", expectations, (len(circuits), len(observables))).astype(np.float64)
    theirs = simulate_states(exported)
    plan = plan_measurements(observables)
    frequencies = simulate_shots(exported, plan.bases, shots=shots, seed=seed)
    rows = []
    for k, circuit in enumerate(exported):
        row: dict[str, Any] = {"name": circuit.name}
        row["amplitude_difference"] = amplitude_difference(our_states[k], theirs[k])
        if openqasm is not None:
            row["openqasm_amplitude_difference"] = amplitude_difference(our_states[k], openqasm[k])
        row |= _compare_expectations(
            our_expectations[k], theirs[k], frequencies[k], observables, plan=plan, shots=shots, atol=atol
        )
        rows.append(row)
    return _summary(rows, observables, shots=shots, seed=seed, atol=atol, max_standard_errors=max_standard_errors)


def amplitude_difference(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Returns the largest |theirs - phase * ours| over the amplitudes `[2**n]`, with the phase that fits best.

    The best phase is that of the inner product <ours|theirs>: it makes the sum of squares smallest.
    """
    first, second = np.asarray(ours, dtype=np.complex128), np.asarray(theirs, dtype=np.complex128)
    check(first.shape == second.shape, "theirs", f"have the shape of `ours` {list(first.shape)}", list(second.shape))
    overlap = np.vdot(first, second)
    phase = overlap / abs(overlap) if abs(overlap) > 0 else 1.0
    return float(np.max(np.abs(second - phase * first)))


def _compare_expectations(
    ours: np.ndarray,
    their_state: np.ndarray,
    frequencies: np.ndarray,
    observables: Sequence[Observable],
    *,
    plan: MeasurementPlan,
    shots: int,
    atol: float,
) -> dict[str, list[float]]:
    """Returns the entries of one circuit's row that hold a number for each observable."""
    from qiskit.quantum_info import Statevector

    probabilities = [outcome_probabilities(their_state, basis) for basis in plan.bases]
    qiskit_state = Statevector(to_qiskit_state(their_state))
    columns: dict[str, list[float]] = {
        "expectations": ours.tolist(),
        "expectation_differences": [],
        "shot_means": [],
        "standard_errors": [],
    }
    for k, observable in enumerate(observables):
        scale = max(1.0, sum(abs(coefficient) for coefficient, _ in pauli_terms(observable)))
        theirs = float(qiskit_state.expectation_value(to_qiskit_observable(observable)).real)
        mean = float(sum(frequencies[setting] @ worth for setting, worth in plan.values[k].items()))
        error, spread = standard_error(plan.values[k], probabilities, shots)
        distance = in_standard_errors(
            abs(mean - ours[k]), error=error, spread=spread, shots=shots, floor=atol * scale
        )
        columns["expectation_differences"].append(float(abs(theirs - ours[k])) / scale)
        columns["shot_means"].append(mean)
        columns["standard_errors"].append(distance)
    return columns


def _summary(
    rows: list[dict[str, Any]],
    observables: Sequence[Observable],
    *,
    shots: int,
    seed: int,
    atol: float,
    max_standard_errors: float,
) -> dict[str, Any]:
    amplitude_keys = [key for key in rows[0] if key.endswith("amplitude_difference")]
    # NumPy's maximum keeps a NaN, and a NaN passes no threshold; Python's max may drop it.
    largest_amplitude = float(np.max([[row[key] for key in amplitude_keys] for row in rows]))
    largest_expectation = float(np.max([row["expectation_differences"] for row in rows]))
    largest_errors = float(np.max([row["standard_errors"] for row in rows]))
    return {
        "passed": largest_amplitude <= atol and largest_expectation <= atol and largest_errors <= max_standard_errors,
        "num_circuits": len(rows),
        "observables": [str(observable) for observable in observables],
        "largest_amplitude_difference": largest_amplitude,
        "largest_expectation_difference": largest_expectation,
        "largest_standard_errors": largest_errors,
        "thresholds": {"atol": atol, "max_standard_errors": max_standard_errors},
        "shots": shots,
        "seed": seed,
        "versions": {package: version(package) for package in PACKAGES},
        "per_circuit": rows,
    }


def _read_exported(directory: str | Path, circuits: Sequence[Circuit]) -> "list[qiskit.QuantumCircuit]":
    exported = read_circuits(directory)
    found, expected = [c.num_qubits for c in exported], [c.num_qubits for c in circuits]
    expectation = f"hold {len(expected)} circuits like `circuits`, of {expected[0]} qubits"
    check(found == expected, "directory", expectation, f"{len(found)} in {directory}, of {sorted(set(found))} qubits")
    return exported


def _read_openqasm(
    directory: str | Path, exported: "Sequence[qiskit.QuantumCircuit]"
) -> "list[qiskit.QuantumCircuit]":
    from qiskit import qasm3

    circuits = []
    for circuit in exported:
        path = openqasm_path(directory, circuit.name)
        check(path.is_file(), "directory", f"hold a file {path.name}", f"{directory} without one")
        try:
            circuits.append(qasm3.loads(path.read_text(encoding="utf-8")))
        except Exception as error:  # Qiskit's importer raises its parser's errors, its own and AttributeError
            fail("directory", "hold OpenQASM 3 that Qiskit reads", f"{path}: {type(error).__name__}")
        found, expected = circuits[-1].num_qubits, circuit.num_qubits
        check(found == expected, "directory", f"hold circuits of {expected} qubits", f"{path} with {found}")
    return circuits


def _as_rows(argument: str, values: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    rows = np.asarray(values)
    check(rows.shape == shape, argument, f"have the shape {list(shape)}", f"{list(rows.shape)}")
    check(bool(np.isfinite(rows).all()), argument, "be finite", "NaN or infinity")
    return rows


def _check_arguments(
    circuits: Sequence[Circuit],
    observables: Sequence[Observable],
    *,
    shots: int,
    seed: int,
    atol: float,
    max_standard_errors: float,
) -> None:
    check(len(circuits) > 0, "circuits", "hold at least one circuit", "none")
    check(len(observables) > 0, "observables", "hold at least one observable", "none")
    widths = sorted({circuit.num_qubits for circuit in circuits})
    check(len(widths) == 1, "circuits", "be on one number of qubits", ", ".join(map(str, widths)))
    for observable in observables:
        found = f"{observable} on {observable.num_qubits}"
        check(observable.num_qubits == widths[0], "observables", f"be on {widths[0]} qubits like the circuits", found)
    check(shots >= 1, "shots", "be at least 1", shots)
    check(seed >= 0, "seed", "be at least 0", seed)
    check(0 < atol < 1, "atol", "lie between 0 and 1", atol)
    check(max_standard_errors > 0, "max_standard_errors", "be above 0", max_standard_errors)
