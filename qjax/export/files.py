"""Circuits as files that other programs read: Qiskit's QPY, OpenQASM 3, and a drawing for a person."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qjax.checks import check, fail
from qjax.export.circuits import to_qiskit
from qjax.files import make_folder, new_file, write_text
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.gates import GATES

if TYPE_CHECKING:
    import qiskit

QPY_FILE = "circuits.qpy"
TEXT_FILE = "circuit.txt"
PICTURE_FILE = "circuit.png"
TEXT_COLUMNS = 100
PICTURE_COLUMNS = 20  # gates side by side before a picture folds

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_circuits(directory: str | Path, circuits: Sequence[Circuit], names: Sequence[str]) -> list[Path]:
    """Writes circuits for Qiskit and for any reader of OpenQASM 3.

    Written are `circuits.qpy` (all of them), `NAME.qasm` (OpenQASM 3, one each, see `to_openqasm`), and of the first
    one `circuit.txt` (100 columns) and `circuit.png`. Files of the same name are replaced.

    Args:
      directory: made where it is missing.
      circuits: bound.
      names: a distinct name for each, of letters, digits and _ . - only.

    Returns:
      The paths written.
    """
    from qiskit import qpy

    _check_names(names, len(circuits))
    folder = Path(directory)
    exported = []
    for circuit, name in zip(circuits, names, strict=True):
        exported.append(to_qiskit(circuit))
        exported[-1].name = name
    make_folder(folder)
    with new_file(folder / QPY_FILE) as file:
        qpy.dump(exported, file)
    paths = [folder / QPY_FILE]
    for circuit in exported:
        paths.append(openqasm_path(folder, circuit.name))
        write_text(paths[-1], _openqasm_text(circuit))
    shown = _without_long_lists(exported[0])
    text = shown.draw(output="text", fold=TEXT_COLUMNS)
    write_text(folder / TEXT_FILE, f"{text}\n")
    with new_file(folder / PICTURE_FILE) as file:
        shown.draw(output="mpl", fold=PICTURE_COLUMNS, filename=file)
    return [*paths, folder / TEXT_FILE, folder / PICTURE_FILE]


def read_circuits(directory: str | Path) -> "list[qiskit.QuantumCircuit]":
    """Returns the circuits in the `circuits.qpy` that `write_circuits` wrote, as Qiskit reads them back."""
    from qiskit import QiskitError, qpy

    path = Path(directory) / QPY_FILE
    check(path.is_file(), "directory", f"hold a file {QPY_FILE}", f"{directory} without one")
    with path.open("rb") as file:
        try:
            return list(qpy.load(file))
        except (QiskitError, ValueError, struct.error) as error:  # what a file that is cut or overwritten raises
            fail("directory", f"hold a {QPY_FILE} that Qiskit reads", f"{path}: {type(error).__name__}")


def to_openqasm(circuit: Circuit) -> str:
    """Returns the circuit as OpenQASM 3 that needs no more than `stdgates.inc`.

    Gates of that file stay as they are, angles with every digit; all others are written in terms of them. The unitary
    is the same, its global phase included. Barriers stay.

    Args:
      circuit: bound.

    Raises:
      UserError: as for `to_qiskit`.

    Source: Cross et al. 2022, arXiv:2104.14722.

    >>> to_openqasm(Circuit(1).append("x", 0).append("gphase", (), 0.25)).splitlines()[2:]
    ['qubit[1] q;', 'x q[0];', 'gphase(0.25);']
    """
    return _openqasm_text(to_qiskit(circuit))


def _openqasm_text(exported: "qiskit.QuantumCircuit") -> str:
    from qiskit import qasm3, transpile

    known = {row.openqasm3 for row in GATES.values() if row.openqasm3} - {"gphase"}
    if not set(exported.count_ops()) <= known | {"barrier"}:
        # Qiskit's writer drops the global phase of each gate that it defines in the file, and of the circuit. So no
        # gate is left for it to define: taking them apart adds their phases to the circuit's, which is written here.
        exported = transpile(
            exported,
            basis_gates=sorted(known),
            optimization_level=0,
            qubits_initially_zero=False,  # the text may be put behind other gates
            num_processes=1,
        )
    # With constants, an angle within 1e-9 of a fraction of pi would be rounded to that fraction.
    text: str = qasm3.dumps(exported, disable_constants=True)
    phase = float(exported.global_phase)
    return f"{text}gphase({phase!r});\n" if phase else text


def _without_long_lists(exported: "qiskit.QuantumCircuit") -> "qiskit.QuantumCircuit":
    """Returns the circuit for a drawing: Qiskit would write all 2**k entries of a diagonal gate into its box."""
    from qiskit.circuit import Gate

    shown = exported.copy_empty_like()
    for item in exported.data:
        box = item.operation
        if box.name == "diagonal":
            box = Gate("diagonal", box.num_qubits, [])
        shown.append(box, item.qubits)
    return shown


def openqasm_path(directory: str | Path, name: str) -> Path:
    """Returns where `write_circuits` puts the OpenQASM 3 text of the circuit called `name`."""
    return Path(directory) / f"{name}.qasm"


def _check_names(names: Sequence[str], count: int) -> None:
    check(count > 0, "circuits", "hold at least one circuit", "none")
    check(len(names) == count, "names", f"hold one name a circuit ({count})", len(names))
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            fail("names", "begin with a letter or digit and hold letters, digits and _ . - only", repr(name))
    # Compared without case: some file systems do not tell A.qasm from a.qasm.
    folded = [name.casefold() for name in names]
    repeated = sorted({name for name in names if folded.count(name.casefold()) > 1})
    check(not repeated, "names", "be distinct, upper and lower case alike", ", ".join(repeated))
