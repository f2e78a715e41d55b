"""Counts against small cases worked by hand, the memory against XLA's own account, and what a person is told."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    Explanation,
    PauliString,
    PauliSum,
    Repeat,
    angle_encoding,
    expectation,
    explain,
    hardware_efficient,
    input_angle,
    parameter,
    unitary_gate,
    z_observables,
)
from qjax.quantum.engines import memory
from qjax.quantum.engines.readouts import StateReadout
from qjax.quantum.engines.simulation import Simulation, plan_of
from qjax.quantum.engines.xla.costs import StepCost, check_memory, peak_bytes, settle, step_costs
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.step_work import Setting, Work
from qjax.quantum.engines.xla.steps import ReflectionStep
from qjax.quantum.explain import show_qubits

FLOAT = 4


def rotations(n: int, axis: str = "rx", name: str = "w") -> Circuit:
    """One trained rotation a qubit."""
    circuit = Circuit(n)
    for q in range(n):
        circuit = circuit.append(axis, q, parameter(name, q))
    return circuit


def entangled(n: int, axis: str = "rx") -> Circuit:
    """Rotations and a row of CNOTs: a complex state (for rx) in which no qubit is fresh, after one permutation."""
    circuit = rotations(n, axis, "first")
    for q in range(n - 1):
        circuit = circuit.append("cx", (q, q + 1))
    return circuit


def step(circuit: Circuit, kind: str, **options: Any) -> StepCost:
    """The one step of a kind."""
    (found,) = [cost for cost in explain(circuit, **options).steps if cost.kind == kind]
    return found


def test_a_dense_block_on_three_qubits() -> None:
    found = step(entangled(3) + rotations(3), "matrix", reverse_pass="store")
    assert (found.qubits, found.place_before, found.place_after) == ((0, 1, 2), 0, 3)
    assert (found.matrix, found.content, found.tensor_bytes) == ((16, 16), "shared", 16 * 16 * FLOAT)
    # 16 real numbers, each a sum of 16 products; read, written, and the matrix read
    assert found.forward == Work(1, (16 + 16 + 256) * FLOAT, 2 * 16 * 16)
    # the cotangent is taken back (as forwards); both states are read for 256 sums of products, times the matrix
    assert found.reverse == Work(2, 2 * found.forward.num_bytes, 2 * 16 * 16 + 2 * 16 * 16 + 2 * 16**3)


def test_a_real_state_is_half_as_large() -> None:
    found = step(entangled(3, "ry") + rotations(3, "ry"), "matrix", reverse_pass="store")
    assert (found.place_before, found.place_after, found.matrix) == (None, None, (8, 8))
    assert found.forward == Work(1, (8 + 8 + 64) * FLOAT, 2 * 8 * 8)


def test_a_permutation_moves_and_computes_nothing() -> None:
    found = step(entangled(3), "permutation", reverse_pass="store")
    assert (found.qubits, found.content, found.matrix) == ((0, 1, 2), "constant", None)
    assert found.forward == found.reverse == Work(1, (16 + 16 + 16) * FLOAT, 0)


def test_the_first_state_is_written_and_the_last_one_read() -> None:
    first, read = explain(rotations(2), observables=z_observables(2), reverse_pass="store").steps
    assert (first.kind, first.forward) == ("product state", Work(0.5, 8 * FLOAT, 3 * 8))
    assert first.reverse == Work(1, 16 * FLOAT, 6 * 8)
    assert (read.kind, read.forward) == ("readout", Work(1, 16 * FLOAT, 6 * 4))


def test_readouts() -> None:
    def passes(*observables: Any) -> float:
        return explain(rotations(2), observables=observables).steps[-1].forward.passes

    assert passes() == 1
    assert passes(PauliString("ZI"), PauliString("ZZ")) == 1  # one basis
    assert passes(PauliString("XZ"), PauliString("XI"), PauliString("IZ")) == 3  # one more, one qubit turned
    assert passes(PauliSum(((1.0, PauliString("XX")), (0.5, PauliString("ZI"))))) == 2


def test_a_matrix_for_each_example() -> None:
    circuit = entangled(2).append("rx", 0, input_angle(0))
    found = step(circuit, "matrix", batch=8, reverse_pass="store")
    assert (found.matrix, found.content, found.tensor_bytes) == ((4, 4), "per example", 16 * 8 * FLOAT)
    assert found.forward == Work(1, (8 + 8 + 16) * 8 * FLOAT, 2 * 4 * 8 * 8)
    assert found.reverse.passes == 1 + 4  # undone once; its four rows of sums read both states each


def test_a_state_has_no_batch_before_the_inputs() -> None:
    circuit = entangled(2).append("rx", 0, input_angle(0))
    one, many = (step(circuit, "permutation", batch=batch, reverse_pass="store") for batch in (1, 8))
    assert many.forward == one.forward
    assert many.reverse.num_bytes == 8 * 16 * FLOAT + 8 * FLOAT  # what is saved has the whole batch


def test_scattered_qubits_and_short_rows_are_transposed() -> None:
    far = step(entangled(3).append("rxx", (0, 2), parameter("a")), "matrix, scattered", reverse_pass="store")
    assert (far.qubits, far.forward.passes) == ((0, 2), 3)
    circuit = angle_encoding(6) + entangled(6) + rotations(6)
    passes = [c.forward.passes for c in explain(circuit, reverse_pass="store").steps if c.kind == "matrix"]
    assert passes == [1, 1]  # the rows of the last bits are one number long: no transposition
    passes = [c.forward.passes for c in explain(circuit, batch=4, reverse_pass="store").steps if c.kind == "matrix"]
    assert passes == [1, 3]


def test_phases_signs_and_gates_by_themselves() -> None:
    phases = step(entangled(3).append("rzz", (0, 2), parameter("a")), "phases", reverse_pass="store")
    assert phases.forward == Work(1, (16 + 16 + 32) * FLOAT, 6 * 8 + 4 * 8)
    assert phases.tensor_bytes == FLOAT
    signs = step(entangled(3, "ry").append("cz", (0, 2)), "signs", reverse_pass="store")
    assert signs.forward == Work(1, 16 * FLOAT, 8)
    gate = step(entangled(3).append("ry", 2, parameter("a"), controls=(0, 1)), "gate ry", reverse_pass="store")
    assert (gate.forward.passes, gate.forward.flops) == (1, 8 * 2 * 2)  # 2 x 2, on a quarter of 8 amplitudes
    assert gate.tensor_bytes == FLOAT
    hadamard = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    matrix = np.kron(np.kron(hadamard, hadamard), np.kron(hadamard, hadamard))
    wide = entangled(5).append(unitary_gate(matrix), (0, 1, 2, 3))
    assert step(wide, "gate unitary", reverse_pass="store").forward.passes == 3
    turned = entangled(4).append("ccx", (0, 1, 2)).append("rx", 0, 0.3)
    assert step(turned, "matrix").content == "constant"


def test_a_reflection_reads_twice() -> None:
    layout = Layout(3, 0)
    (found,) = step_costs(
        (ReflectionStep(layout, layout, (0, 1, 2)),), (None,), 1, 1, Setting(1, FLOAT, frozenset(), "store")
    )
    assert (found.kind, found.qubits, found.forward) == ("reflection", (0, 1, 2), Work(1.5, 48 * FLOAT, 32))


def test_a_loop_is_its_body_over_and_over() -> None:
    circuit = entangled(4) + hardware_efficient(4, 40)
    found = step(circuit, "repeat", reverse_pass="store")
    assert (found.reps, found.slices, found.content) == (40, 40, "shared")
    assert found.forward.passes == 40 * sum(cost.forward.passes for cost in found.body)
    assert found.reverse.flops == 40 * sum(cost.reverse.flops for cost in found.body)
    assert found.tensor_bytes == 40 * 32 * 32 * FLOAT
    shared = Circuit(4, (Repeat(entangled(4) + rotations(4), 40, shared=True),))
    assert step(shared, "repeat").slices == 1


def test_reverse_passes_cost_what_they_do_again() -> None:
    circuit = entangled(3) + rotations(3) + entangled(3)
    kinds = ("store", "recompute")
    store, recompute = (explain(circuit, reverse_pass=kind) for kind in kinds)
    assert store.forward == recompute.forward
    assert recompute.reverse.passes == store.reverse.passes + 1  # the last step; no other wants a state before it
    assert "reverse_pass='store' asks for it" in store.reason


def test_a_batch_in_parts() -> None:
    circuit = angle_encoding(8) + hardware_efficient(8, 3)
    whole, part = (explain(circuit, batch=batch, observables=z_observables(8)) for batch in (512, 128))
    assert (whole.part, whole.reverse_pass, part.part, part.reverse_pass) == (128, "rerun", 128, "store")
    assert whole.forward.passes == part.forward.passes
    assert whole.forward.flops == 4 * part.forward.flops
    assert whole.reverse.passes == part.reverse.passes + part.forward.passes - 1  # all but the readout runs again
    assert whole.gradient_bytes < 4 * part.gradient_bytes
    assert "4 parts of 128" in str(whole)
    assert "CHUNK_BYTES" in whole.reason


@pytest.mark.parametrize(("n", "batch"), [(3, 1), (8, 64), (8, 512), (10, 1)])
@pytest.mark.parametrize("limit", [2**28, 2**10])
def test_the_reverse_pass_is_the_one_that_runs(
    n: int, batch: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qjax.quantum.engines.choices.MAX_SAVED_BYTES", limit)
    circuit = angle_encoding(n) + hardware_efficient(n, 3)
    shapes = [((*shape, 1), jnp.float32) for shape in circuit.parameter_shapes.values()]
    shapes.append(((n, batch), jnp.float32))
    chosen = Simulation(circuit=circuit, readout=StateReadout()).settled(tuple(shapes))
    assert isinstance(chosen, Simulation)
    plan = plan_of(circuit, 0, frozenset({"inputs"} if batch > 1 else ()), batch)
    found = explain(circuit, batch=batch)
    assert settle(plan, batch, jnp.float32, "auto") == chosen.reverse_pass == found.reverse_pass


@pytest.mark.parametrize(("n", "batch"), [(4, 256), (8, 64), (10, 1)])
@pytest.mark.parametrize("gradient", [False, True])
def test_memory_is_what_xla_plans_within_a_factor_of_two(n: int, batch: int, gradient: bool) -> None:
    circuit = angle_encoding(n) + hardware_efficient(n, 3)

    def loss(params: Any, inputs: Any) -> Any:
        return expectation(circuit, params, inputs, z_observables(n)).sum()

    function = jax.value_and_grad(loss, argnums=(0, 1)) if gradient else loss
    params = {name: jnp.zeros(shape) for name, shape in circuit.parameter_shapes.items()}
    analysis: Any = jax.jit(function).lower(params, jnp.zeros((batch, n))).compile().memory_analysis()
    estimate = peak_bytes(circuit, batch, "float32", gradient)
    assert 0.5 < estimate / analysis.temp_size_in_bytes < 2


def test_peak_bytes_by_hand() -> None:
    circuit = entangled(3) + rotations(3)
    state, matrix = 16 * FLOAT, 256 * FLOAT
    assert peak_bytes(circuit, 1, "float32", False) == 3 * state + 2 * matrix
    assert peak_bytes(circuit, 1, "float64", False) == 2 * (3 * state + 2 * matrix)
    assert peak_bytes(circuit, 1, "float32", True, "store") == (6 + 2) * state + 3 * matrix
    assert peak_bytes(circuit, 1, "float32", True, "recompute") == (6 + 1) * state + 3 * matrix
    phases = entangled(3).append("rzz", (0, 2), parameter("a"))
    assert peak_bytes(phases, 1, "float32", True, "recompute") == (6 + 1 + 1) * state + 3 * FLOAT
    assert peak_bytes(plan_of(circuit, 0, frozenset(), 1), 1, "float32", False) == 3 * state + 2 * matrix


def test_a_run_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = angle_encoding(10) + hardware_efficient(10, 3)
    check_memory(circuit, 64, "float32", True)
    monkeypatch.setattr(memory, "device_bytes", lambda: 2**20)
    expected = (
        r"`num_qubits` must leave a gradient within .* memory of 1\.0 MiB \(reverse_pass='recompute' or a smaller"
    )
    with pytest.raises(UserError, match=expected):
        check_memory(circuit, 64, "float32", True, "store")
    with pytest.raises(UserError, match=r"a run .*a smaller batch.* 10 qubits with a batch of 300, .* about .* MiB"):
        check_memory(circuit, 300, "float32", False, "store")
    with pytest.raises(UserError, match=r"a run .*\(fewer qubits takes less\)"):
        check_memory(Circuit(20), 1, "float32", False)


def test_json_there_and_back() -> None:
    found = explain(angle_encoding(4) + hardware_efficient(4, 40), batch=16, observables=z_observables(4))
    text = found.to_json()
    assert Explanation.from_json(text) == found
    data = json.loads(text)
    assert data["total"]["forward"]["flops"] == found.forward.flops
    assert data["note"] == "counted by a model, not measured"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "be the JSON of an explanation, but got no JSON"),
        ("[]", "be the JSON of an explanation, but got a JSON list"),
        ('{"format": "qjax.circuit"}', "be JSON of format 'qjax.explanation'"),
        ('{"format": "qjax.explanation"}', "but got KeyError: 'note'"),
        ('{"format": "qjax.explanation", "note": "", "total": 0, "steps": [], "stages": []}', "but got TypeError"),
    ],
)
def test_other_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Explanation.from_json(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "`batch` must be an integer of at least 1, but got 0"),
        (
            {"dtype": "float16"},
            r"`dtype` must be one of the choices, but got 'float16'.* Choices: float32",
        ),
        ({"dtype": "real"}, "`dtype` must be one of the choices, but got 'real'"),
        ({"observables": z_observables(3)}, "`observables` must have 2 letters"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(Circuit(2), **options)


def test_what_is_printed() -> None:
    circuit = angle_encoding(4) + hardware_efficient(4, 40)
    text = str(explain(circuit, batch=16, observables=z_observables(4)))
    for words in (
        "circuit   4 qubits, 484 gates, depth 241, 320 parameters, 4 inputs; read: 4 observables",
        "product state: 4 gates (4 ry) on fresh qubits, one outer product",
        "repeat 40 times:",
        "    dense block on 0-3: 8 gates (4 ry, 4 rz), multiplied together first",
        "    permutation: 4 gates (4 cx), a rearrangement of amplitudes",
        "make complex",
        "32 x 32",
        "reverse   store: keeps 41 states of the run, 82.0 KiB",
        "(MAX_SAVED_BYTES, or MAX_SAVED_SHARE of the memory)",
        "counted by a model (qjax/quantum/costs.py), not measured",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) < 140


def test_stages_in_words() -> None:
    circuit = entangled(3).append("rzz", (0, 2), 0.1).append("ry", 2, parameter("a"), controls=(0, 1))
    words = explain(circuit).stages
    assert words[2:] == ("phase: 1 gate (1 rzz), one elementwise multiplication", "single gate: ry on 0-2")
    assert explain(entangled(3, "ry").append("cz", (0, 2))).stages[-1].startswith("signs: 1 gate (1 cz)")


def test_small_formats() -> None:
    assert [memory.show_bytes(count) for count in (0, 1023, 1024, 3 * 2**30)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "3.0 GiB",
    ]
    assert [show_qubits(q) for q in ((), (3,), (0, 2), (4, 0, 1))] == ["", "3", "0,2", "0-1,4"]
