"""Files written for other programs, read back by Qiskit's own readers."""

from pathlib import Path

import numpy as np
import pytest
import qiskit.quantum_info as qi
from matplotlib.image import imread
from qiskit import qasm3

from qjax.checks import UserError
from qjax.export import read_circuits, to_qiskit, write_circuits
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.gates import GATES

# Within 1e-9 of pi / 2: Qiskit's default would write pi/2.
ALMOST_RIGHT_ANGLE = np.pi / 2 + 3e-10


def every_small_gate() -> Circuit:
    circuit = Circuit(3)
    small = {name: gate for name, gate in GATES.items() if gate.num_qubits <= 2}
    for k, (name, gate) in enumerate(sorted(small.items())):
        qubits = ((0, 2), (2, 1), (1, 0))[k % 3][: gate.num_qubits]
        circuit = circuit.append(name, qubits, *[0.1 + k / 7] * gate.num_angles)
    return circuit.append("ry", 0, ALMOST_RIGHT_ANGLE)


CIRCUITS = [every_small_gate(), Circuit(3).append("h", 2).append("cx", (2, 0))]
NAMES = ["example_0", "example-1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "new" / "folder"
    written = write_circuits(path, CIRCUITS, NAMES)
    assert sorted(written) == sorted(path.iterdir())
    return path


def test_qpy_holds_the_same_circuits(folder: Path) -> None:
    read = read_circuits(folder)
    assert [circuit.name for circuit in read] == NAMES
    assert read == [to_qiskit(circuit) for circuit in CIRCUITS]


@pytest.mark.parametrize("k", [0, 1])
def test_openqasm_reads_back_as_the_same_unitary(folder: Path, k: int) -> None:
    """Its global phase included, which Qiskit's own writer leaves out."""
    read = qasm3.loads((folder / f"{NAMES[k]}.qasm").read_text(encoding="utf-8"))
    expected = qi.Operator(to_qiskit(CIRCUITS[k])).data
    np.testing.assert_allclose(qi.Operator(read).data, expected, atol=1e-12)


def test_openqasm_keeps_every_digit_of_an_angle(folder: Path) -> None:
    read = qasm3.loads((folder / f"{NAMES[0]}.qasm").read_text(encoding="utf-8"))
    assert ALMOST_RIGHT_ANGLE in [float(item.operation.params[0]) for item in read.data if item.operation.params]


def test_drawings(folder: Path) -> None:
    text = (folder / "circuit.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"q_{q}" in text for q in range(3))
    picture = imread(folder / "circuit.png")
    assert picture.shape[1] > 500
    assert np.ptp(picture[..., :3]) > 0.5  # not a blank page


def test_writing_again_replaces(folder: Path) -> None:
    write_circuits(folder, CIRCUITS[1:], NAMES[:1])
    assert read_circuits(folder) == [to_qiskit(CIRCUITS[1])]
    write_circuits(folder, CIRCUITS, NAMES)


@pytest.mark.parametrize(
    ("circuits", "names", "message"),
    [
        ([], [], "`circuits` must hold at least one circuit"),
        (CIRCUITS, ["a"], r"`names` must hold one name a circuit \(2\), but got 1"),
        (CIRCUITS, ["a", "../b"], r"`names` must begin with a letter or digit .* but got '../b'"),
        (CIRCUITS, ["a", "A"], "`names` must be distinct, upper and lower case alike, but got A, a"),
    ],
)
def test_write_refuses(circuits: list[Circuit], names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_circuits(tmp_path / "export", circuits, names)
    assert not (tmp_path / "export").exists()


def test_read_refuses_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`directory` must hold a file circuits.qpy, but got .* without one"):
        read_circuits(tmp_path)
    for content in (b"", b"QISKIT rubbish"):
        (tmp_path / "circuits.qpy").write_bytes(content)
        with pytest.raises(UserError, match=r"`directory` must hold a circuits.qpy that Qiskit reads"):
            read_circuits(tmp_path)
