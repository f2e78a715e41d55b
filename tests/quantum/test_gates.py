"""Every row of the gate table: its matrix, and that each field says what the matrix does."""

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import pytest
import qiskit
from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit import Gate as QiskitGate
from qiskit.circuit import library
from qiskit.quantum_info import Operator

from qjax.checks import UserError
from qjax.quantum.circuits.angle import as_angle
from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.gates import GATES, gate

ALL = (
    "i x y z h s sdg t tdg sx sxdg p rx ry rz u u1 u2 u3 r cx cy cz ch cp cs csdg csx crx cry crz cu cu1 cu3 swap "
    "iswap dcx ecr rxx ryy rzz rzx xx_plus_yy xx_minus_yy ccx ccz cswap rccx rc3x c3x c3sx c4x gphase"
)
NAMES = ALL.split()
WITH_ANGLES = [name for name in NAMES if GATES[name].num_angles]
# All angles have the period 4 pi; NUM_SAMPLES of them find every exponent below NUM_SAMPLES / 4.
NUM_SAMPLES = 16
LIBRARIES = Path(qiskit.__file__).parent / "qasm" / "libs"


def some_angles(name: str) -> tuple[float, ...]:
    """Angles at which nothing happens by chance."""
    return tuple(np.random.default_rng(len(name)).uniform(0.3, 2.9, GATES[name].num_angles).tolist())


def matrix(row: Gate, angles: Sequence[float]) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(row.matrix(*map(np.float64, angles)))


@lru_cache
def samples(name: str, place: int) -> np.ndarray:
    """Matrices [NUM_SAMPLES, d, d] over a period of one angle, the others fixed."""
    angles = [np.full(NUM_SAMPLES, a) for a in some_angles(name)]
    angles[place] = 4 * np.pi * np.arange(NUM_SAMPLES) / NUM_SAMPLES
    with jax.enable_x64(True):
        return np.moveaxis(np.asarray(GATES[name].matrix(*angles)), -1, 0)


def on_qubits(u: np.ndarray, qubits: Sequence[int], n: int) -> np.ndarray:
    """The matrix [2**n, 2**n] of u on some qubits: column by column, u on the axes of the qubits."""
    k = len(qubits)
    columns = np.eye(2**n).reshape((2,) * n + (2**n,))
    moved = np.tensordot(u.reshape((2,) * (2 * k)), columns, (range(k, 2 * k), qubits))
    return np.moveaxis(moved, range(k), qubits).reshape(2**n, 2**n)


def in_our_order(of_qiskit: QiskitGate | QuantumCircuit) -> np.ndarray:
    """Qiskit's matrix with its qubits in reverse: its first one is the least significant bit."""
    n = of_qiskit.num_qubits
    axes = [*reversed(range(n)), *reversed(range(n, 2 * n))]
    return Operator(of_qiskit).data.reshape((2,) * (2 * n)).transpose(axes).reshape(2**n, 2**n)


def up_to_phase(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return found * np.exp(1j * np.angle(np.vdot(found, wanted)))


def test_the_table_has_every_gate_under_its_name() -> None:
    assert set(GATES) == set(NAMES)
    assert all(row.name == name and gate(name) is row for name, row in GATES.items())


@pytest.mark.parametrize("name", NAMES)
def test_matrix_is_unitary_and_that_of_qiskits_class(name: str) -> None:
    row, angles = gate(name), some_angles(name)
    assert row.qiskit is not None
    found = matrix(row, angles)
    np.testing.assert_allclose(found @ found.conj().T, np.eye(2**row.num_qubits), atol=1e-14)
    np.testing.assert_allclose(found, in_our_order(getattr(library, row.qiskit)(*angles)), atol=1e-14)
    assert row.source


@pytest.mark.parametrize("name", NAMES)
def test_inverse_undoes(name: str) -> None:
    row, angles = gate(name), some_angles(name)
    total = matrix(row, angles)
    for step, places, changed in row.inverse(tuple(map(as_angle, angles))):
        assert step is GATES[step.name]
        total = on_qubits(matrix(step, [angle.shift for angle in changed]), places, row.num_qubits) @ total
    np.testing.assert_allclose(total, np.eye(len(total)), atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_structure_is_the_narrowest_that_the_matrix_has(name: str) -> None:
    row, angles = gate(name), some_angles(name)
    found = matrix(row, angles)
    is_diagonal = np.count_nonzero(found - np.diag(np.diag(found))) == 0
    is_permutation = set(np.unique(found)) == {0, 1} and not is_diagonal
    assert row.structure == ("diagonal" if is_diagonal else "permutation" if is_permutation else "dense")
    assert (row.diagonal is not None) == is_diagonal
    assert (row.permutation is not None) == is_permutation
    if row.diagonal is not None:
        with jax.enable_x64(True):
            vector = np.asarray(row.diagonal(*map(np.float64, angles)))
        np.testing.assert_array_equal(vector, np.diag(found))
    if row.permutation is not None:
        image = row.permutation()
        assert image.dtype.kind == "i"
        np.testing.assert_array_equal(found[image, np.arange(len(image))], 1)


@pytest.mark.parametrize(
    ("name", "place"), [(name, j) for name in WITH_ANGLES for j in range(GATES[name].num_angles)]
)
def test_exponents_are_those_of_the_entries_and_no_more(name: str, place: int) -> None:
    coefficients = np.fft.fft(samples(name, place), axis=0) / NUM_SAMPLES
    sizes = np.abs(coefficients).max(axis=(1, 2))
    exponents = np.fft.fftfreq(NUM_SAMPLES, 1 / NUM_SAMPLES) / 2
    assert gate(name).exponents[place] == tuple(sorted(exponents[sizes > 1e-12]))
    assert sizes[sizes > 1e-12].min() > 0.01


@pytest.mark.parametrize("name", WITH_ANGLES)
def test_generator_is_hermitian_and_constant_where_powers_scale_the_angle(name: str) -> None:
    row, step = gate(name), 1e-5
    for place in range(row.num_angles):
        generators = []
        for start in (-2.2, 0.4, 1.7):
            angles = list(some_angles(name))
            centre, left, right = ([*angles[:place], start + d, *angles[place + 1 :]] for d in (0.0, -step, step))
            slope = (matrix(row, right) - matrix(row, left)) / (2 * step)
            generators.append(1j * slope @ matrix(row, centre).conj().T)
        for generator in generators:
            assert np.abs(generator).max() > 0.1
            np.testing.assert_allclose(generator, generator.conj().T, atol=1e-9)
        if row.power_angles == (place,):
            np.testing.assert_allclose(generators[1:], [generators[0]] * 2, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_power_angles_are_the_ones_that_scale(name: str) -> None:
    row, angles = gate(name), np.array(some_angles(name))
    cube = np.linalg.matrix_power(matrix(row, angles), 3)
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(len(angles)), r + 1) for r in range(len(angles))
    )
    scaling = []
    for places in subsets:
        scaled = angles.copy()
        scaled[list(places)] *= 3
        if np.allclose(matrix(row, scaled), cube, atol=1e-13):
            scaling.append(places)
    assert scaling == ([] if row.power_angles is None else [row.power_angles])


@pytest.mark.parametrize("name", WITH_ANGLES)
def test_matrix_takes_arrays_of_angles_in_their_dtype(name: str) -> None:
    row = gate(name)
    dim = 2**row.num_qubits
    angles = [np.linspace(a, a + 1, 6, dtype=np.float32).reshape(2, 3) for a in some_angles(name)]
    found = row.matrix(*angles)
    assert found.shape == (dim, dim, 2, 3)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found[:, :, 1, 2], matrix(row, [a[1, 2] for a in angles]), atol=1e-6)
    if row.diagonal is not None:
        diagonal = row.diagonal(*angles)
        assert diagonal.dtype == np.complex64
        np.testing.assert_array_equal(diagonal, np.moveaxis(np.diagonal(found), -1, 0))
    assert matrix(row, some_angles(name)).dtype == np.complex128


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITH_ANGLES])
def test_constants_are_numpy_and_cannot_be_changed(name: str) -> None:
    row = gate(name)
    for array in (row.matrix(), row.diagonal and row.diagonal(), row.permutation and row.permutation()):
        if array is not None:
            assert isinstance(array, np.ndarray)
            assert array.dtype == (np.int64 if array.dtype.kind == "i" else np.complex128)
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@pytest.mark.parametrize("name", [name for name in NAMES if GATES[name].openqasm2])
def test_openqasm2_name_is_that_gate_of_qelib1_up_to_a_phase(name: str) -> None:
    row, angles = gate(name), some_angles(name)
    definitions = (LIBRARIES / "qelib1.inc").read_text()
    arguments = f"({','.join(map(repr, angles))})" if angles else ""
    qubits = ",".join(f"q[{i}]" for i in range(row.num_qubits))
    program = f"OPENQASM 2.0;\n{definitions}\nqreg q[{row.num_qubits}];\n{row.openqasm2}{arguments} {qubits};"
    wanted = in_our_order(qasm2.loads(program))
    np.testing.assert_allclose(up_to_phase(matrix(row, angles), wanted), wanted, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in NAMES if GATES[name].openqasm3])
def test_openqasm3_name_is_that_gate_of_the_language(name: str) -> None:
    row, angles = gate(name), some_angles(name)
    arguments = f"({', '.join(map(repr, angles))})" if angles else ""
    qubits = ", ".join(f"q[{i}]" for i in range(row.num_qubits))
    program = f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[{max(row.num_qubits, 1)}] q;\n'
    found = in_our_order(qasm3.loads(f"{program}{row.openqasm3}{arguments} {qubits};"))
    np.testing.assert_allclose(
        found, np.kron(matrix(row, angles), np.eye(len(found) // 2**row.num_qubits)), atol=1e-14
    )


@pytest.mark.parametrize(("file", "other_phase"), [("stdgates.inc", {"u2", "u3"}), ("qelib1.inc", set())])
def test_no_openqasm_name_is_left_out(file: str, other_phase: set[str]) -> None:
    in_file = re.findall(r"^gate (\w+)", (LIBRARIES / file).read_text(), flags=re.MULTILINE)
    names = {{"id": "i", "c3sqrtx": "c3sx"}.get(called, called) for called in in_file}
    version = "openqasm3" if file == "stdgates.inc" else "openqasm2"
    assert {name for name, row in GATES.items() if name in names and getattr(row, version) is None} == other_phase


def test_gates_are_equal_by_name_width_angles_and_data() -> None:
    assert len(set(GATES.values())) == len(GATES)
    row = gate("cx")
    parts = {"matrix": row.matrix, "structure": row.structure, "inverse": row.inverse}
    same = Gate(name="cx", num_qubits=2, num_angles=0, **parts)
    assert same == row
    assert hash(same) == hash(row)
    assert same != Gate(name="cx", num_qubits=2, num_angles=0, data=b"1", **parts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rxz", r"Argument `name` must be one of the choices, but got 'rxz'\. Did you mean 'r\w+'\? Choices: i, x,"),
        ("cnot", r"Argument `name` must be 'cx' for this gate, but got 'cnot'"),
        ("Toffoli", r"Argument `name` must be 'ccx' for this gate, but got 'Toffoli'"),
        ("CX", r"Argument `name` must be in lower case, 'cx', but got 'CX'\. Choices: i, x,"),
    ],
)
def test_unknown_gate_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        gate(name)
