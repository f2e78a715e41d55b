"""What the exports of a trained head and of an algorithm have in common."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from qjax.files import write_text
from qjax.quantum import Circuit, Operation, operation

SHOTS = 10_000


def drawable(circuit: Circuit) -> Circuit:
    """Returns the bound circuit with X around one qubit of every phase that is on where all its controls are 0.

    Qiskit has no gate for such a phase but a global phase under controls, which its drawer cannot draw.
    """
    operations: list[Operation] = []
    for op in circuit.iter_operations():
        if op.gate.name == "gphase" and op.controls and 1 not in op.control_values:
            flip = operation("x", op.controls[0])
            operations += [flip, replace(op, control_values=(1, *op.control_values[1:])), flip]
        else:
            operations.append(op)
    return Circuit(circuit.num_qubits, tuple(operations))


def write_json(path: Path, content: Any) -> None:
    """Writes a file of the export."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def say(directory: Path, result: dict[str, Any], *, num_circuits: int) -> int:
    """Prints what `validate` found and returns the exit status: 0, or 1 where it failed."""
    print(f"exported   {num_circuits} circuits to {directory}")
    print(f"amplitudes differ from Aer's by at most {result['largest_amplitude_difference']:.2e}")
    print(f"expectations differ from Aer's by at most {result['largest_expectation_difference']:.2e}")
    print(f"{SHOTS:,} shots differ by at most {result['largest_standard_errors']:.2f} standard errors")
    print(f"validation {'passed' if result['passed'] else 'FAILED'}: {directory}/validation.json")
    return 0 if result["passed"] else 1
