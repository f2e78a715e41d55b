"""The contract of every engine: the same cases, values against dense algebra, gradients against central differences.

An engine that refuses a case says so: `REFUSED` has its words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_steps
from by_engine import BY_NAME, by
from jax.flatten_util import ravel_pytree
from random_circuits import QUICK, given_seeds, random_case, random_state, random_unitary, random_values

from qjax.algorithms.grover_circuits import search_circuit
from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    Hermitian,
    PauliString,
    PauliSum,
    Projector,
    Repeat,
    angle_encoding,
    expectation,
    explain,
    fidelity,
    hardware_efficient,
    input_angle,
    parameter,
    probabilities,
    state,
    z_observables,
)
from qjax.quantum.engines import choices
from qjax.quantum.engines.base import Task, platform_here
from qjax.quantum.engines.choose import XLA, choose, refusals
from qjax.quantum.engines.memory import state_bytes
from qjax.quantum.engines.readouts import StateReadout

BATCH, STEP = 5, 1e-3
WHOLE, LARGE, SEGMENTS = "native, whole states", "native, large states", "native and XLA, in segments"


def quick(function: Callable[..., Any], *args: Any) -> Any:
    return jax.jit(function, compiler_options=QUICK)(*args)


def looped() -> Circuit:
    """Parameters in many gates, inputs again and again, long loops with slices and without, wide gates."""
    a, x = parameter("a"), input_angle(0)
    own = (
        Circuit(3)
        .append("crx", (0, 2), parameter("w", 0) * x)
        .append("ry", 1, parameter("w", 1))
        .append("cx", (1, 2))
    )
    shared = Circuit(3).append("rzz", (0, 2), parameter("s") + x).append("rx", 1, parameter("s") * a)
    circuit = Circuit(3).append("ry", 0, a).append("h", 1).append("rx", 2, x)
    circuit += Circuit(3, (Repeat(own, 40, reverse=True), Repeat(shared, 40, shared=True)))
    circuit = circuit.append("cu", (2, 0), a, x, parameter("s"), 0.3, controls=1).append("p", 1, a).append("rx", 0, x)
    return circuit.append("cx", (0, 1)).append("cx", (1, 2))


def values(circuit: Circuit, seed: int = 0) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape) / 3 for name, shape in circuit.parameter_shapes.items()}
    return params, rng.normal(size=(BATCH, circuit.num_inputs)) / 3


def rng_matrix() -> np.ndarray:
    m = random_unitary(np.random.default_rng(5), 4)
    return m + m.conj().T


STRINGS = (PauliString("XYZ"), PauliString("IYI"), PauliString("ZZI"))
OBSERVABLES = (
    *STRINGS,
    PauliSum(((0.5, PauliString("ZZI")), (-1.0, PauliString("IZZ")), (2.0, PauliString("ZIZ")))),
    PauliSum(tuple((0.3 + i, PauliString(s)) for i, s in enumerate(("XXI", "ZII", "YZX", "IIY", "XIX")))),
    Hermitian(rng_matrix(), (2, 0), 3),
    Projector.from_bits(["01", "10"], (0, 2), 3),
    Projector.from_state(random_state(0, (4,)), (1, 0), 3),
)
TARGET = random_state(9, (8,))


def weighted(x: Any) -> Any:
    return jnp.vdot(jnp.cos(jnp.arange(x.size, dtype=x.dtype)), x.reshape(-1) ** 2 + x.reshape(-1))


def of_state(psi: Any) -> Any:
    return weighted(psi.real) + weighted(psi.imag) + weighted(fidelity(jnp.asarray(TARGET), psi))


READOUTS: dict[str, Callable[..., Any]] = {
    "strings of Z": lambda c, p, x: weighted(expectation(c, p, x, z_observables(3))),
    "observables": lambda c, p, x: weighted(expectation(c, p, x, OBSERVABLES)),
    "probabilities and states": lambda c, p, x: weighted(probabilities(c, p, x, (2, 0))) + of_state(state(c, p, x)),
}


SEARCHES = {n: Circuit(n, search_circuit(n, [1], 40).operations[n:]) for n in (3, 9)}


@dataclass(frozen=True)
class Contract:
    """A case for every engine: a circuit, how many examples, and the first states ('', 'real' or 'complex')."""

    num_qubits: int
    batch: int
    given: str = ""
    searches: bool = False  # with repeated Grover iterations amid other gates

    def circuit(self) -> Circuit:
        n, w = self.num_qubits, parameter("w")
        circuit = angle_encoding(n, axis="ry") + hardware_efficient(n, 2, rotations=("ry", "rz"))
        if self.searches:
            circuit = SEARCHES[n] + circuit if self.given else circuit + SEARCHES[n]
        circuit = circuit.append("cry", (0, n - 1), w * input_angle(1)).append("crz", (1, 0), w)
        return circuit if n < 3 else circuit.append("rzz", (0, 2), 0.3 * w).append("swap", (1, 2))

    def operands(self, dtype: Any) -> tuple[Any, ...]:
        rng, circuit = np.random.default_rng(self.num_qubits), self.circuit()
        params = {k: jnp.asarray(rng.normal(size=s), dtype) for k, s in circuit.parameter_shapes.items()}
        inputs = jnp.asarray(rng.normal(size=(self.batch, circuit.num_inputs)), dtype)
        start = 1.3 * random_state(1, (self.batch, 2**self.num_qubits))  # gates are unitary, states need not be
        parts = {"": (), "real": (start.real,), "complex": (start.real, start.imag)}[self.given]
        return params, inputs, *(jnp.asarray(part, dtype) for part in parts)

    def run(self, readout: Callable[..., Any], params: Any, inputs: Any, *parts: Any) -> Any:
        start = jax.lax.complex(*parts) if len(parts) == 2 else parts[0] if parts else None
        return readout(self.circuit(), params, inputs, start)

    def loss(self, *operands: Any) -> Any:
        values = self.run(
            lambda c, p, x, start: expectation(c, p, x, z_observables(self.num_qubits), start), *operands
        )
        return (jnp.arange(1, self.num_qubits + 1, dtype=values.dtype)[None] * values**2).sum()


CASES = {
    "few qubits": Contract(3, 3),
    "one example": Contract(2, 1),
    "many examples": Contract(4, 17),
    "one large state": Contract(11, 1),
    "few large states": Contract(11, 2),
    "real first states": Contract(3, 2, "real"),
    "complex first states": Contract(3, 16, "complex"),
    "a large first state": Contract(11, 1, "complex"),
    "a search": Contract(3, 2, searches=True),
    "a search from first states": Contract(9, 2, "real", searches=True),
}
# XLA's code does not depend on the size: of what is large it runs a batch in float32, as that is long to compile.
LARGE_BY_XLA = ("few large states", np.float32)
# What an engine says where it refuses a case, on a CPU.
REFUSED: dict[tuple[str, str], str] = {
    **{(LARGE, name): "do not suit it" for name, case in CASES.items() if case.num_qubits < 9},
    **{(WHOLE, name): "does not suit it" for name, case in CASES.items() if case.num_qubits == 11},
    **{(SEGMENTS, name): "one engine runs all of it: native" for name, case in CASES.items() if not case.searches},
    **{(one, name): "repeats a Grover" for one in (WHOLE, LARGE) for name, case in CASES.items() if case.searches},
}


def refusal(name: str, case: Contract, dtype: Any) -> str:
    given = {"": 0, "real": 1, "complex": 2}[case.given]
    batched = frozenset({"inputs"} if case.batch > 1 else ())
    facts = given, batched, case.batch, np.dtype(dtype), platform_here()
    return BY_NAME[name].refusal(Task(case.circuit(), StateReadout(), *facts))


@pytest.mark.parametrize(
    ("engine", "name", "dtype"),
    [
        (engine, name, dtype)
        for engine in BY_NAME
        for name, case in CASES.items()
        for dtype in (np.float32, np.float64)
        if engine != XLA.name or case.num_qubits < 9 or (name, dtype) == LARGE_BY_XLA
    ],
)
def test_every_engine_keeps_the_contract(engine: str, name: str, dtype: Any) -> None:
    case = CASES[name]
    with jax.enable_x64(dtype == np.float64):
        said = refusal(engine, case, dtype)
        if (engine, name) in REFUSED:
            assert re.search(REFUSED[engine, name], said)
            return
        assert said == ""
        operands = case.operands(dtype)
        atol = 3e-6 if dtype == np.float32 else 1e-12
        found = quick(lambda *xs: by(engine, case.run, state, *xs), *operands)
        np.testing.assert_allclose(found, dense_states(case, *operands), atol=atol)
        every = tuple(range(len(operands)))
        slopes = quick(jax.grad(lambda *xs: by(engine, case.loss, *xs), every), *operands)
        if dtype == np.float64:  # the gradient of each example, by vmap
            one = jax.grad(lambda p, *xs: by(engine, case.loss, p, *(x[None] for x in xs)))
            mapped = quick(jax.vmap(one, (None, *(0,) * (len(operands) - 1))), *operands)
            same = lambda a, b: np.testing.assert_allclose(np.sum(a, 0), b, atol=2e-11, rtol=2e-11)  # noqa: E731
            jax.tree.map(same, mapped, slopes[0])
    with jax.enable_x64(True):  # central differences of dense algebra
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), operands)
        vector, restore = ravel_pytree(exact)
        along = np.random.default_rng(0).normal(size=vector.shape) / np.sqrt(vector.size)
        values = [dense_loss(case, *restore(vector + h * along)) for h in (-STEP, STEP, -2 * STEP, 2 * STEP)]
        wanted = (8 * (values[1] - values[0]) - (values[3] - values[2])) / (12 * STEP)
        flat = np.asarray(ravel_pytree(slopes)[0], np.float64)
    np.testing.assert_allclose(flat @ along, wanted, atol=3e-4 if dtype == np.float32 else 1e-8)


def dense_states(case: Contract, params: Any, inputs: Any, *parts: Any) -> np.ndarray:
    rows, zero = np.asarray(inputs, np.float64), np.eye(1, 2**case.num_qubits, dtype=complex)
    starts = sum(c * np.asarray(part, complex) for c, part in zip((1, 1j), parts, strict=False)) if parts else zero
    exact = {name: np.asarray(value, np.float64) for name, value in params.items()}
    return np.stack(
        [
            dense.run(case.num_qubits, dense_steps(case.circuit(), exact, row), start)
            for row, start in zip(rows, np.broadcast_to(starts, (len(rows), 2**case.num_qubits)), strict=True)
        ]
    )


def dense_loss(case: Contract, *operands: Any) -> float:
    weights = np.abs(dense_states(case, *operands)) ** 2
    n = case.num_qubits
    signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1)
    return float((np.arange(1, n + 1) * (weights @ signs) ** 2).sum())


@pytest.mark.parametrize("readout", READOUTS)
def test_every_readout_of_xlas_engine_and_of_the_one_that_runs(readout: str) -> None:
    """Both ways to the gradient agree, and the slope along one direction is that of central differences."""
    circuit = looped()
    with jax.enable_x64(True):
        args = values(circuit)
        loss = lambda way: lambda p, x: by(way, READOUTS[readout], circuit, p, x)  # noqa: E731
        flat = [ravel_pytree(quick(jax.grad(loss(way), (0, 1)), *args))[0] for way in (XLA.name, "auto")]
        np.testing.assert_allclose(flat[0], flat[1], atol=1e-10)
        vector, restore = ravel_pytree(args)
        along = np.random.default_rng(0).normal(size=vector.shape)
        along = along / np.linalg.norm(along)
        run = jax.jit(lambda v: loss(XLA.name)(*restore(v)), compiler_options=QUICK)
        slope = [float(run(vector + h * along) - run(vector - h * along)) / (2 * h) for h in (STEP, 2 * STEP)]
    np.testing.assert_allclose(np.asarray(flat[0]) @ along, (4 * slope[0] - slope[1]) / 3, atol=1e-8, rtol=1e-7)


@given_seeds(1)
def test_random_circuits_by_both_ways(seed: int) -> None:
    case = random_case(seed, max_qubits=4, max_gates=8, max_steps=60)
    with jax.enable_x64(True):
        params, inputs = random_values(case, seed, batch=3, dtype=np.float64)
        ways = [
            quick(
                jax.grad(lambda p, x, w=way: weighted(by(w, probabilities, case.circuit, p, x)), (0, 1)),
                params,
                inputs,
            )
            for way in (XLA.name, "auto")
        ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), *ways)


def test_per_example_gradients_and_ensembles() -> None:
    circuit = looped()

    def loss(p: Any, x: Any) -> Any:
        return weighted(by(XLA.name, expectation, circuit, p, x, STRINGS))

    with jax.enable_x64(True):
        params, inputs = values(circuit)
        each = quick(jax.vmap(jax.grad(loss), (None, 0)), params, inputs)
        one = jax.jit(jax.grad(loss), compiler_options=QUICK)
        rows = [one(params, x) for x in inputs]
        jax.tree.map(lambda found, *own: np.testing.assert_allclose(found, own, atol=1e-10), each, *rows)
        many = jax.tree.map(lambda p: np.stack([p, 0.5 * p]), params)
        members = quick(jax.vmap(jax.grad(loss), (0, None)), many, inputs)
        rows = [one(jax.tree.map(lambda p, i=i: p[i], many), inputs) for i in range(2)]
        jax.tree.map(lambda found, *own: np.testing.assert_allclose(found, own, atol=1e-10), members, *rows)


def test_products_with_the_hessian_of_a_batch() -> None:
    circuit = angle_encoding(2) + hardware_efficient(2, 1)
    params, inputs = values(circuit)
    params, inputs = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (params, inputs))
    slope = jax.grad(lambda p: weighted(expectation(circuit, p, inputs, z_observables(2))))
    forward = quick(lambda p: jax.jvp(slope, (p,), (p,))[1], params)
    backward = quick(jax.grad(lambda p: jnp.vdot(slope(p)["ansatz"], params["ansatz"])), params)
    np.testing.assert_allclose(forward["ansatz"], backward["ansatz"], atol=1e-4)


# Costs -------------------------------------------------------------------------------------------------------------


def classifier(n: int, reps: int) -> tuple[Circuit, Any]:
    circuit = angle_encoding(n) + Circuit(n, (Repeat(hardware_efficient(n, 1), reps),))
    return circuit, {k: jnp.zeros(s, jnp.float32) for k, s in circuit.parameter_shapes.items()}


def test_vmapped_and_batched_calls_cost_the_same_and_broadcast_no_weight() -> None:
    n, batch = 4, 37
    circuit, params = classifier(n, 2)

    def one(p: Any, x: Any) -> Any:
        return expectation(circuit, p, x, z_observables(n))

    calls = (lambda p, x: one(p, x).sum(1), lambda p, x: jax.vmap(lambda p, x: one(p, x).sum(), (None, 0))(p, x))
    for wrap in (lambda f: f, lambda f: jax.grad(lambda p, x: f(p, x).mean())):
        costs = []
        for f in calls:
            lowered = jax.jit(wrap(f)).lower(params, jnp.zeros((batch, n)))
            for d in (4, 8, 16, 32):
                assert f"tensor<{d}x{d}x{batch}x" not in lowered.as_text()
            found = lowered.compile().cost_analysis()
            costs.append([found[key] for key in ("flops", "bytes accessed")])
        np.testing.assert_allclose(costs[0], costs[1], rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [XLA.name, "auto"])
def test_no_layer_keeps_its_states(engine: str) -> None:
    """Native code has numbers for each layer, which take a tenth of the states of this batch."""
    n, batch, used = 10, 64, []
    for reps in (12, 64):  # both are loops
        circuit, params = classifier(n, reps)
        loss = lambda p, x, c=circuit: by(engine, expectation, c, p, x, z_observables(n)).sum()  # noqa: E731
        compiled = jax.jit(jax.grad(loss)).lower(params, jnp.zeros((batch, n))).compile()
        used.append(compiled.memory_analysis().temp_size_in_bytes)
    assert used[1] - used[0] < (64 - 12) * state_bytes(n, batch, np.float32) / 5


# The choice --------------------------------------------------------------------------------------------------------


def test_the_first_engine_that_does_not_refuse_a_task_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = hardware_efficient(9, 2)
    facts = StateReadout(), 0, frozenset[str](), 1, np.dtype(np.float32)
    task = Task(circuit, *facts, "cpu")
    assert choose(task).name == LARGE
    assert [name for name, _ in refusals(task)] == [WHOLE]
    assert choose(Task(circuit, *facts, "tpu")) is XLA
    assert dict(refusals(Task(circuit, *facts, "tpu"))) == dict.fromkeys(
        (WHOLE, LARGE, SEGMENTS), "there is none for tpu"
    )
    monkeypatch.setattr(choices, "USE_NATIVE", False)
    assert choose(task) is XLA


@pytest.mark.parametrize("n", range(1, 31))
def test_native_code_takes_every_size(n: int) -> None:
    names = []
    for batch in (1, 2, 3, 8, 15, 16, 17, 100):
        facts = StateReadout(), 0, frozenset({"inputs"} if batch > 1 else ()), batch, np.dtype(np.float32), "cpu"
        names.append(choose(Task(angle_encoding(n), *facts)).name)
    assert set(names) <= {WHOLE, LARGE}
    assert names == sorted(names)  # whole states from some batch on: what is saved depends on it


@pytest.mark.parametrize("run", [state, expectation, probabilities, explain])
def test_reverse_pass_is_no_argument_any_more(run: Any) -> None:
    with pytest.raises(UserError, match=r"`reverse_pass` must be left out: .* but got store"):
        run(Circuit(1), reverse_pass="store")
