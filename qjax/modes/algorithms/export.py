"""The circuits of an algorithm's run for `--mode=export`: files for Qiskit, and a validation on Aer."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from qjax.checks import check
from qjax.export import validate, write_circuits
from qjax.modes.algorithm import read_result
from qjax.modes.algorithms import ALGORITHMS
from qjax.modes.algorithms.outcome import Exported
from qjax.modes.exported import SHOTS, drawable, say, write_json
from qjax.quantum import expectation, state, z_observables

# Aer's states and shots, and OpenQASM in which every gate stands by itself, become too much beyond.
MAX_QUBITS = 20
MAX_GATES = 5_000


def export_algorithm(config: ConfigDict, workdir: Path, input_path: str) -> int:
    """Writes WORKDIR/export: circuits.qpy, OpenQASM 3 files, drawings and validation.json.

    Args:
      config: the workdir's, of an algorithm.
      workdir: of a run of it.
      input_path: '', for no algorithm reads a file.

    Returns:
      The exit status: 0, or 1 where Aer and the simulator disagree.
    """
    check(not input_path, "--input", f"be left out for the algorithm '{config.algorithm}'", input_path)
    result = read_result(workdir)
    _check_width(config)
    exported: Exported = ALGORITHMS[config.algorithm].circuits(config, result)
    for name, circuit in exported.circuits.items():
        gates, most = sum(circuit.counts().values()), f"{MAX_GATES:,} gates in a circuit"
        check(gates <= MAX_GATES, "--mode", f"export at most {most}", f"{gates:,} gates in {name}; run a smaller one")
    repeated = list(exported.circuits.values())
    circuits = [drawable(circuit) for circuit in repeated]
    observables, directory = z_observables(circuits[0].num_qubits), workdir / "export"
    write_circuits(directory, circuits, list(exported.circuits))
    found = validate(
        circuits,
        observables,
        directory=directory,
        # Of the circuits as they run, with their repeats, which `drawable` writes out.
        states=[np.asarray(state(c)) for c in repeated] if exported.states is None else exported.states,
        expectations=[np.asarray(expectation(c, observables=tuple(observables))) for c in repeated],
        shots=SHOTS,
        seed=config.seed,
    )
    write_json(directory / "validation.json", found)
    return say(directory, found, num_circuits=len(circuits))


def _check_width(config: ConfigDict) -> None:
    """Raises, before anything is built, for a circuit on more qubits than the export takes."""
    width = ALGORITHMS[config.algorithm].needs(config).num_qubits
    expectation = f"export at most {MAX_QUBITS} qubits"
    check(width <= MAX_QUBITS, "--mode", expectation, f"{width} for '{config.algorithm}'; run a smaller one")
