"""On a CPU native code takes every gate: the choice of the engine, values against dense algebra, derivatives."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from by_engine import by
from random_circuits import random_unitary, run_compiled

from qjax.algorithms.grover_circuits import search_circuit
from qjax.quantum import (
    Circuit,
    PauliString,
    diagonal_gate,
    expectation,
    explain,
    input_angle,
    operation,
    parameter,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)
from qjax.quantum import state as final_state
from qjax.quantum.circuits.angle import as_angle
from qjax.quantum.circuits.gates import GATES, Gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.lowering import lowered, z_strings
from qjax.quantum.engines.native.table.entries import Table, table_of
from qjax.quantum.engines.native.table.factor_recipes import factors_of
from qjax.quantum.engines.native.table.layout import Entry, form_of

WHOLE, LARGE, SEGMENTS = "native, whole states", "native, large states", "native and XLA, in segments"
ATOL = {"float32": 2e-5, "float64": 1e-11}


def custom_gates(most: int) -> list[Gate]:
    rng = np.random.default_rng(3)
    made = [pauli_rotation_gate(word) for word in ("XYZ", "YXX", "ZZIZ", "XZZX", "YZZX", "IXYIZ")]
    for k in (1, 2, 3, 4):
        made += [unitary_gate(random_unitary(rng, 2**k)), permutation_gate(rng.permutation(2**k))]
        made.append(diagonal_gate(rng.normal(size=2**k)))
    return [gate for gate in (*GATES.values(), *made) if gate.num_qubits <= most]


def every_gate(n: int, num_controls: Sequence[int], shared: bool, seed: int = 0) -> list[Operation]:
    """Each gate under so many controls, on qubits drawn at random."""
    rng, found = np.random.default_rng(seed), []
    for gate in custom_gates(n):
        for count in num_controls:
            if gate.num_qubits + count > n or (gate.num_qubits, count) == (0, 0):
                continue
            chosen = [int(q) for q in rng.permutation(n)[: gate.num_qubits + count]]
            places = rng.integers(3, size=gate.num_angles)
            angles = [(parameter("w", int(k)) if shared else input_angle(int(k))) * 0.7 + 0.1 for k in places]
            values = rng.integers(2, size=count).tolist() or None
            found.append(operation(gate, chosen[count:], *angles, controls=chosen[:count], control_values=values))
    return found


def mixed(n: int) -> Circuit:
    """States of which every amplitude counts, on rows that CX, SWAP and X have relabelled."""
    circuit = Circuit(n)
    for k in range(3):
        circuit = circuit.append("ry", 0, input_angle(k)).append("rz", 0, parameter("w", k))
    for q in range(n):
        circuit = circuit.append("ry", q, 0.4 + 0.6 * q).append("rz", q, 0.3 * parameter("w", q % 3))
    for q in range(n - 1):
        circuit = circuit.append("cx", (q, q + 1)).append("ry", q, 0.2 + input_angle(q % 3))
    return (
        circuit.append("x", 0)
        if n < 2
        else circuit.append("x", 0).append("swap", (0, n - 1)).append("cx", (n - 1, 0))
    )


def operands(batch: int, dtype: Any) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(1)
    return {"w": jnp.asarray(rng.normal(size=3), dtype)}, jnp.asarray(rng.normal(size=(batch, 3)), dtype)


# The choice of the engine. ----------------------------------------------------------------------------------------


def check_engine(n: int, gates: Sequence[Operation], batch: int, dtype: str) -> None:
    circuit = mixed(n) + Circuit(n, tuple(gates))
    assert explain(circuit, batch=batch, dtype=dtype).engine in (WHOLE, LARGE)


@pytest.mark.parametrize("n", [1, 5, 9, 12, 20])
def test_no_circuit_falls_to_xla(n: int) -> None:
    for k, batch in enumerate((1, 2, 16)):  # each time a third of all gates
        gates = every_gate(n, (0, 1, 2, 3), batch == 1)
        check_engine(n, gates[k::3], batch, ("float32", "float64")[k % 2])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 5, 9, 12, 20])
def test_no_circuit_falls_to_xla_whatever_its_operands(n: int, dtype: str) -> None:
    for shared in (True, False):
        for batch in (1, 2, 16):
            check_engine(n, every_gate(n, (0, 1, 2, 3), shared), batch, dtype)


def test_what_native_code_lacks_is_a_segment_of_its_own() -> None:
    n, rng = 19, np.random.default_rng(0)
    wide = operation(permutation_gate(rng.permutation(2**15)), rng.permutation(n)[:15].tolist())
    told = explain(mixed(n) + Circuit(n, (wide, wide)) + mixed(n), batch=2)
    assert told.engine == SEGMENTS
    assert sum(stage.startswith("XLA: permutation: ") for stage in told.stages) == 1  # both in one
    search = search_circuit(5, [1], 40)
    assert explain(search + mixed(5)).engine == SEGMENTS
    assert dict(explain(search).refused)[SEGMENTS] == "one engine runs all of it: XLA"


def test_one_large_state_goes_pass_by_pass_but_for_wide_matrices() -> None:
    for n in (9, 12):
        for op in every_gate(n, (0, 2), True):
            is_wide = op.gate.num_qubits > 2 and op.gate.name in ("unitary", "permutation", "rccx", "rc3x")
            assert explain(Circuit(n, (op,))).engine == LARGE or (is_wide and n == 9), op


# Values against dense algebra, derivatives against differences. ---------------------------------------------------


def check(circuit: Circuit, batch: int, dtype: str, engine: str = "auto") -> None:
    """Compares states with dense algebra, and in float64 a gradient with differences along one direction."""
    with jax.enable_x64(dtype == "float64"):
        params, inputs = operands(batch, dtype)
        found = by(engine, run_compiled, lambda p, x: final_state(circuit, p, x), params, inputs)
        for k in sorted({0, batch // 2, batch - 1}):
            wanted = dense_state(circuit, jax.tree.map(np.asarray, params), np.asarray(inputs[k]))
            np.testing.assert_allclose(found[k], wanted, atol=ATOL[dtype])
        if dtype == "float32":
            return
        n = circuit.num_qubits
        strings = [PauliString("Z" * n), PauliString("X" + "I" * (n - 1)), PauliString("I" * (n - 1) + "Y")]

        def loss(params: Any, inputs: Any) -> Any:
            values = expectation(circuit, params, inputs, strings)
            return (values * jnp.arange(1, 4, dtype=dtype)[None] + values**2).sum()

        grads = by(engine, run_compiled, jax.grad(loss, argnums=(0, 1)), params, inputs)
        rng = np.random.default_rng(2)
        along = jax.tree.map(lambda x: rng.normal(size=x.shape), (params, inputs))
        line = jax.jit(lambda t: loss(*jax.tree.map(lambda x, d: x + t * d, (params, inputs), along)))
        values = [by(engine, line, k * 1e-3) for k in (-2, -1, 1, 2)]
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-3
        known = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(along), strict=True))
        np.testing.assert_allclose(known, slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("n", "batch", "dtype"),
    [(1, 3, "float64"), (2, 16, "float32"), (4, 1, "float64"), (5, 17, "float64"), (6, 3, "float32")],
)
def test_whole_states_are_those_of_dense_algebra(n: int, batch: int, dtype: str) -> None:
    gates = every_gate(n, (0, 1, 2, 3), n % 2 == 0, seed=n)
    picked = np.random.default_rng(n).permutation(len(gates))[:60]
    check(mixed(n) + Circuit(n, tuple(gates[k] for k in picked)) + mixed(n), batch, dtype)


@pytest.mark.parametrize(("n", "dtype"), [(9, "float64"), (12, "float32")])
def test_large_states_are_those_of_dense_algebra(n: int, dtype: str) -> None:
    gates = every_gate(n, (0, 1, 2, 3), True, seed=n)
    taken = [op for op in gates if explain(Circuit(n, (op,)), dtype=dtype).engine == LARGE]
    assert len(taken) > 0.8 * len(gates)
    picked = np.random.default_rng(n).permutation(len(taken))[:40]
    check(mixed(n) + Circuit(n, tuple(taken[k] for k in picked)) + mixed(n), 1, dtype, LARGE)


def found_table(circuit: Circuit, batch: int) -> Table:
    return table_of(circuit, frozenset({"inputs"} if batch > 1 else ()))


def dense_diagonals(n: int, angle: Any) -> Circuit:
    circuit = mixed(n)
    for a in range(n):
        for b in range(a):
            circuit = circuit.append("rzz", (a, b), angle(a) * (0.3 + b) + 0.2).append(
                "cp", (b, a), angle(b), controls=()
            )
            circuit = circuit.append("crz", (a, b), angle(a + b) * 2).append("cz", (a, b)).append("p", a, 0.3 * b)
    circuit = circuit.append("gphase", (), angle(0)).append(pauli_rotation_gate("ZZZZ"), range(4), angle(1))
    return circuit.append(diagonal_gate(np.arange(16.0)), range(4)) + mixed(n)


ANGLES = {
    "shared": lambda k: parameter("w", k % 3),
    "each": lambda k: input_angle(k % 3),
    "both": lambda k: parameter("w", k % 3) * input_angle(k % 2),
    "numbers": lambda k: 0.3 * k + parameter("w", 0) * 0,
}


@pytest.mark.parametrize(
    ("kind", "n", "batch", "dtype"),
    [
        ("each", 5, 17, "float64"),
        ("both", 5, 3, "float32"),
        ("shared", 9, 1, "float64"),
        ("numbers", 9, 1, "float32"),
    ],
)
def test_many_diagonal_gates_are_one_sum_of_phases(kind: str, n: int, batch: int, dtype: str) -> None:
    circuit = dense_diagonals(n, ANGLES[kind])
    assert [form_of(k)[0] for k in found_table(circuit, batch).gates_back[:, Entry.KIND]].count("strings") == 1
    check(circuit, batch, dtype, LARGE if n == 9 else WHOLE)


@pytest.mark.parametrize(("n", "batch"), [(4, 3), (9, 1)])
def test_marks_and_reflections_of_a_search(n: int, batch: int) -> None:
    mark = Circuit(n).append("z", 0, controls=range(1, n), control_values=[k % 2 for k in range(1, n)])
    hadamards, flips = (Circuit(n, tuple(operation(name, q) for q in range(n))) for name in ("h", "x"))
    diffuser = hadamards + flips + Circuit(n).append("h", 0).append("x", 0, controls=range(1, n)).append("h", 0)
    circuit = mixed(n) + (mark + diffuser + flips + hadamards).power(3) + mixed(n)
    kinds = [form_of(k)[0] for k in found_table(circuit, batch).gates_back[:, Entry.KIND]]
    assert kinds.count("reflection") == 3
    check(circuit, batch, "float64")


# Lowering. --------------------------------------------------------------------------------------------------------


def test_lowered_operations_amount_to_the_one() -> None:
    values = {"w": np.array([0.3, -1.2, 2.0])}, np.array([0.1, 0.2, 0.3])
    start = dense_state(mixed(5), *values)
    for op in every_gate(5, (0, 1, 2, 3), False):
        circuits = [Circuit(5, ops) for ops in (lowered(op), (op,))]
        found, wanted = (dense_state(c, None, values[1][: c.num_inputs], start) for c in circuits)
        np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_gates_of_several_angles_have_factors_of_one_each() -> None:
    start, angles = dense_state(mixed(5), {"w": np.ones(3)}, np.ones(3)), np.array([0.3, -1.2, 2.0, 0.7])
    for gate in (g for g in GATES.values() if g.num_angles > 1):
        controls = () if gate.num_qubits > 1 else (2,)  # two qubits at most in all
        names = [parameter("w", k) for k in range(gate.num_angles)]
        op = operation(gate, (3, 1)[: gate.num_qubits], *names, controls=controls)
        factors = factors_of((op,), ("dense", 2, 0))
        assert all(sum(not a.is_constant for op in one.operations for a in op.angles) == 1 for one in factors)
        params, parts = {"w": angles[: gate.num_angles]}, tuple(op for one in factors for op in one.operations)
        found, wanted = (dense_state(Circuit(5, ops), params, None, start) for ops in (parts, (op,)))
        np.testing.assert_allclose(found, wanted, atol=1e-13, err_msg=gate.name)


def test_gates_of_several_angles_by_any_expression() -> None:
    """-b of an entry b is made of b; of a sum it is handed over itself: the two gates are of two kinds."""
    a, b = parameter("w", 0), parameter("w", 1)
    params = {"w": np.array([0.3, -1.2])}
    for gate in (g for g in GATES.values() if g.num_angles > 1):
        circuit = Circuit(3).append("ry", 0, 0.4).append("ry", 1, 1.1).append("ry", 2, 0.7)
        for angle, qubits in ((b, (2, 0)), (0.5 * a - b + 0.2, (2, 0)), (a * b, (2, 0)), (1 - 2 * b, (2, 0))):
            circuit = circuit.append(gate.name, qubits[: gate.num_qubits], *(angle,) * gate.num_angles)
            circuit = circuit.append("cry", (1, 0), 0.3).append("cry", (1, 2), 0.8)
        with jax.enable_x64(True):
            found = run_compiled(lambda p, c=circuit: final_state(c, p), params)
        np.testing.assert_allclose(found, dense_state(circuit, params), atol=1e-12, err_msg=gate.name)


def test_every_pauli_rotation_is_lowered() -> None:
    start = dense_state(mixed(4), {"w": np.array([0.3, -1.2, 2.0])}, np.array([0.1, 0.2, 0.3]))
    for letters in map("".join, [*product("IXYZ", repeat=3), "YYYY", "XYYZ"]):
        if set(letters) == {"I"}:
            continue
        op = operation(pauli_rotation_gate(letters), tuple(range(len(letters))), 0.7)
        found, wanted = (dense_state(Circuit(4, ops), start=start) for ops in (lowered(op), (op,)))
        np.testing.assert_allclose(found, wanted, atol=1e-13, err_msg=letters)


def test_strings_of_z_are_the_phases_of_a_diagonal_gate() -> None:
    rows = np.arange(32)[:, None] >> np.arange(5)[::-1] & 1
    for op in every_gate(5, (0, 1, 2), True):
        if op.gate.structure != "diagonal":
            continue
        known = replace(op, angles=tuple(as_angle(0.3 * k - 1.0) for k in range(len(op.angles))))
        phases = sum(s * (-1.0) ** rows[:, list(qubits)].sum(axis=1) for qubits, s in z_strings(known).items())
        first = Circuit(5, tuple(operation("h", q) for q in range(5)))
        wanted = dense_state(first + Circuit(5, (known,))) * np.sqrt(32)
        np.testing.assert_allclose(np.exp(1j * phases), wanted, atol=1e-12)
