"""Circuits as files that other programs read: Qiskit's QPY, OpenQASM 3, and a drawing for a person."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qjax.checks import check, fail
from qjax.export.circuits import to_qiskit
from qjax.quantum.circuit import Circuit

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

    Written are `circuits.qpy` (all of them), `NAME.qasm` (OpenQASM 3, one each, angles with every digit, equal up to
    a global phase), and of the first one `circuit.txt` (100 columns) and `circuit.png`. Files of the same name are
    replaced.

    Args:
      directory: made where it is missing.
      circuits: bound.
      names: a distinct name for each, of letters, digits and _ . - only.

    Returns:
      The paths written.
    """
    from qiskit import qasm3, qpy

    _check_names(names, len(circuits))
    folder = Path(directory)
    exported = []
    for circuit, name in zip(circuits, names, strict=True):
        exported.append(to_qiskit(circuit))
        exported[-1].name = name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / QPY_FILE).open("wb") as file:
        qpy.dump(exported, file)
    paths = [folder / QPY_FILE]
    for circuit in exported:
        paths.append(openqasm_path(folder, circuit.name))
        # Qiskit would round an angle within 1e-9 of a fraction of pi to that fraction.
        paths[-1].write_text(qasm3.dumps(circuit, disable_constants=True), encoding="utf-8")
    text = exported[0].draw(output="text", fold=TEXT_COLUMNS)
    (folder / TEXT_FILE).write_text(f"{text}\n", encoding="utf-8")
    exported[0].draw(output="mpl", fold=PICTURE_COLUMNS, filename=str(folder / PICTURE_FILE))
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
