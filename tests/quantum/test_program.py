import subprocess
import sys

import jax
import numpy as np
import pytest

from qjax.quantum import (
    Circuit,
    Repeat,
    angle_encoding,
    compile_circuit,
    expectation,
    hardware_efficient,
    input_angle,
    parameter,
    state,
    z_observables,
)
from qjax.quantum.compile.stages import Dense, Loop, Permutation, Phase


def kinds(circuit: Circuit) -> list[str]:
    return [type(stage).__name__ for stage in compile_circuit(circuit).stages]


def entangled(n: int) -> Circuit:
    """No qubit is fresh after it."""
    circuit = Circuit(n)
    for q in range(n - 1):
        circuit = circuit.append("cx", (q, q + 1))
    return circuit


def test_rotations_on_fresh_qubits_are_no_stage() -> None:
    program = compile_circuit(angle_encoding(3).append("rz", 1, 0.3).append("cx", (0, 1)).append("h", 2))
    assert [len(run) for run in program.start.runs] == [1, 2, 2]
    assert [type(stage) for stage in program.stages] == [Permutation]


def test_an_entangler_ring_is_one_permutation() -> None:
    assert kinds(entangled(5).append("cx", (4, 0)).append("swap", (1, 3)).append("x", 2)) == ["Permutation"]


def test_diagonal_gates_are_one_phase_in_any_order() -> None:
    circuit = entangled(3).append("cz", (0, 1)).append("rz", 2, 0.1).append("rzz", (0, 2), 0.2).append("t", 1)
    assert kinds(circuit) == ["Permutation", "Phase"]


def test_neighbouring_gates_share_a_block() -> None:
    circuit = entangled(4)
    for q in range(4):
        circuit = circuit.append("ry", q, 0.1).append("rz", q, 0.2)
    stages = compile_circuit(circuit.append("cx", (1, 0))).stages
    assert [s.qubits for s in stages if isinstance(s, Dense)] == [(0, 1), (2, 3)]
    assert len(stages) == 3


def test_a_diagonal_gate_moves_into_the_block_after_it() -> None:
    circuit = entangled(2).append("rz", 0, 0.1).append("cz", (0, 1)).append("rx", 0, 0.2).append("h", 1)
    stages = compile_circuit(circuit).stages
    assert [type(s) for s in stages] == [Permutation, Dense]
    stays = compile_circuit(entangled(2).append("rz", 0, 0.1).append("cx", (0, 1)).append("h", 0)).stages
    assert [type(s) for s in stays] == [Permutation, Phase, Permutation, Dense]


def test_a_gate_does_not_pass_one_on_its_qubit() -> None:
    circuit = entangled(2).append("h", 0).append("cx", (0, 1)).append("h", 0)
    for gate in (("x", 1), ("cz", (0, 1))):
        more = circuit.append(*gate).append("cx", (1, 0))
        assert len(compile_circuit(more).stages) >= 3
    assert kinds(entangled(3).append("h", 0).append("cx", (0, 2)).append("h", 0)) == [
        "Permutation",
        "Dense",
        "Permutation",
        "Dense",
    ]


def test_short_repeats_are_written_out_and_long_ones_loop() -> None:
    body = entangled(2).append("ry", 0, parameter("w", 0) * input_angle(0))
    assert "Loop" not in kinds(Circuit(2, (Repeat(body, 3),)))
    stages = compile_circuit(Circuit(2, (Repeat(Circuit(2, (Repeat(body, 50),)), 2),))).stages
    assert [type(s) for s in stages] == [Loop]


def test_equal_circuits_share_a_program_and_it_can_be_printed() -> None:
    build = lambda: angle_encoding(2) + hardware_efficient(2, 40)  # noqa: E731
    assert compile_circuit(build()) is compile_circuit(build())
    text = str(compile_circuit(build()))
    assert text.splitlines()[:2] == ["product state: ry(x[0]) 0, ry(x[1]) 1", "repeat 40 times:"]
    assert "dense on (0, 1): ry(ansatz[0,0]) 0, rz(ansatz[0,1]) 0" in text
    phases = str(Phase(entangled(2).append("cz", (0, 1)).operations[1:]))
    assert phases == "phase: cz 0 1"


@pytest.mark.parametrize("reps", [3, 40])
def test_compile_time_is_flat_and_parameters_are_never_broadcast(reps: int) -> None:
    n, batch = 5, 37
    circuit = angle_encoding(n) + hardware_efficient(n, reps)
    params = {"ansatz": np.zeros((reps, n, 2), np.float32)}
    run = jax.jit(lambda p, x: expectation(circuit, p, x, z_observables(n)))
    text = run.lower(params, np.zeros((batch, n), np.float32)).as_text()
    assert f"tensor<4x4x{batch}xcomplex" not in text  # after the encoding only the state has a batch
    assert "tensor<4x4x1x" in text
    assert len(text.splitlines()) < 3000


def test_importing_starts_no_backend() -> None:
    code = "import qjax.quantum; from jax._src import xla_bridge; import sys; sys.exit(bool(xla_bridge._backends))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_phases_of_known_angles_are_added_exactly() -> None:
    n, rng = 4, np.random.default_rng(0)
    circuit = Circuit(n)
    for q in range(n):
        circuit = circuit.append("h", q)
    index, phases = np.arange(2**n), np.zeros(2**n)
    bits = [index >> (n - 1 - q) & 1 for q in range(n)]
    for _ in range(300):
        a, b = map(int, rng.choice(n, 2, replace=False))
        angle = rng.uniform(0, 6)
        choice = rng.integers(3)
        if choice == 0:
            circuit, phases = circuit.append("cp", (a, b), angle), phases + angle * bits[a] * bits[b]
        elif choice == 1:
            circuit, phases = circuit.append("rz", a, angle), phases + angle * (bits[a] - 0.5)
        else:
            circuit = circuit.append("p", b, angle, controls=(a,), control_values=(0,))
            phases = phases + angle * bits[b] * (1 - bits[a])
    np.testing.assert_allclose(state(circuit), np.exp(1j * phases) / 4, atol=1e-6)
    free = circuit.append("rz", 0, parameter("w")).append("rz", 0, 0.5)
    names = [op.gate.name for stage in compile_circuit(free).stages for op in stage.operations]
    assert names.count("rz") == 1
    assert len(names) <= n + n * (n - 1) // 2 + 1
