"""The reverse pass by hand: every way through it, against central differences and each other; what it costs."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from random_circuits import QUICK, given_seeds, random_case, random_state, random_unitary, random_values

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
    fidelity,
    hardware_efficient,
    input_angle,
    parameter,
    probabilities,
    state,
    z_observables,
)
from qjax.quantum.engines import batch_last, choices, simulation

BATCH, STEP = 5, 1e-3
WAYS = ("store", "recompute", "rerun")


def some(names: Any, *quickly: str) -> list[Any]:
    """All names, those marked slow that are not to run each time."""
    return [name if name in quickly else pytest.param(name, marks=pytest.mark.slow) for name in names]


def forget() -> None:
    """What was planned and compiled by the choices that stood then."""
    for cached in (simulation.plan_of, batch_last._compiled, batch_last._traced_shapes):
        cached.cache_clear()


@pytest.fixture
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Makes 'auto' run batches of n qubits two examples at a time: five are no multiple of that."""

    def use(n: int) -> None:
        monkeypatch.setattr(choices, "CHUNK_BYTES", 2 * 8 * 2**n)
        forget()

    yield use
    forget()


def quick(function: Callable[..., Any], *args: Any) -> Any:
    return jax.jit(function, compiler_options=QUICK)(*args)


def option(way: str) -> str:
    return "auto" if way == "rerun" else way


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


OBSERVABLES = {
    "z": z_observables(3),
    "strings": (PauliString("XYZ"), PauliString("IYI"), PauliString("ZZI")),
    "diagonal": (PauliSum(((0.5, PauliString("ZZI")), (-1.0, PauliString("IZZ")), (2.0, PauliString("ZIZ")))),),
    "sum": (PauliSum(tuple((0.3 + i, PauliString(s)) for i, s in enumerate(("XXI", "ZII", "YZX", "IIY", "XIX")))),),
    "others": (
        Hermitian(rng_matrix(), (2, 0), 3),
        Projector.from_bits(["01", "10"], (0, 2), 3),
        Projector.from_state(random_state(0, (4,)), (1, 0), 3),
    ),
}
TARGET = random_state(9, (8,))


def weighted(x: Any) -> Any:
    return jnp.vdot(jnp.cos(jnp.arange(x.size, dtype=x.dtype)), x.reshape(-1) ** 2 + x.reshape(-1))


READOUTS: dict[str, Callable[..., Any]] = {
    **{
        name: lambda c, *args, obs=obs, **kw: weighted(expectation(c, args[0], args[1], obs, *args[2:], **kw))
        for name, obs in OBSERVABLES.items()
    },
    "probabilities": lambda c, p, x, *s, **kw: weighted(probabilities(c, p, x, (2, 0), *s, **kw)),
    "state": lambda c, *args, **kw: (lambda psi: weighted(psi.real) + weighted(psi.imag))(state(c, *args, **kw)),
    "fidelity": lambda c, *args, **kw: weighted(fidelity(jnp.asarray(TARGET), state(c, *args, **kw))),
}


def check_gradients(loss: Callable[[str], Callable[..., Any]], args: tuple[Any, ...], atol: float = 1e-8) -> None:
    """The ways to the gradient agree, and the slope along one direction is that of central differences."""
    found = {way: quick(jax.grad(loss(way), argnums=tuple(range(len(args)))), *args) for way in WAYS}
    flat = {way: ravel_pytree(gradient)[0] for way, gradient in found.items()}
    for way in WAYS[1:]:
        np.testing.assert_allclose(flat[way], flat[WAYS[0]], atol=1e-10)
    vector, restore = ravel_pytree(args)
    along = np.random.default_rng(0).normal(size=vector.shape)
    along = along / max(1e-9, np.linalg.norm(along))
    run = jax.jit(lambda v: loss("store")(*restore(v)), compiler_options=QUICK)
    slope = [(run(vector + h * along) - run(vector - h * along)) / (2 * h) for h in (STEP, 2 * STEP)]
    np.testing.assert_allclose(flat["store"] @ along, (4 * slope[0] - slope[1]) / 3, atol=atol, rtol=1e-7)


@pytest.mark.parametrize("readout", some(READOUTS, "others", "state"))
def test_every_way_and_readout(readout: str, chunks_of_two: Any) -> None:
    circuit = looped()
    chunks_of_two(3)
    with jax.enable_x64(True):
        params, inputs = values(circuit)
        check_gradients(
            lambda way: lambda p, x: READOUTS[readout](circuit, p, x, reverse_pass=option(way)), (params, inputs)
        )


@pytest.mark.parametrize(
    ("kind", "batched"), [("real", False), pytest.param("complex", True, marks=pytest.mark.slow)]
)
def test_gradients_of_initial_states(kind: str, batched: bool, chunks_of_two: Any) -> None:
    circuit = looped()
    chunks_of_two(3)
    amplitudes = random_state(1, (BATCH, 8) if batched else (8,))
    parts = (amplitudes.real,) if kind == "real" else (amplitudes.real, amplitudes.imag)

    def loss(way: str) -> Any:
        def run(p: Any, x: Any, *parts: Any) -> Any:
            start = parts[0] if kind == "real" else jax.lax.complex(*parts)
            return READOUTS["strings"](circuit, p, x, start, reverse_pass=option(way))

        return run

    with jax.enable_x64(True):
        params, inputs = values(circuit)
        # The derivative with respect to matrices relies on unitarity, not on the length of the state.
        check_gradients(loss, (params, inputs, *(1.3 * p for p in parts)), atol=1e-6)


@given_seeds(1)
def test_random_circuits(seed: int) -> None:
    case = random_case(seed, max_qubits=4, max_gates=8, max_steps=60)
    old = choices.CHUNK_BYTES
    choices.CHUNK_BYTES = 2 * 8 * 2**case.num_qubits
    forget()
    try:
        with jax.enable_x64(True):
            params, inputs = random_values(case, seed, batch=3, dtype=np.float64)

            def loss(way: str) -> Any:
                return lambda p, x: weighted(probabilities(case.circuit, p, x, reverse_pass=option(way)))

            if params or inputs.size:
                check_gradients(loss, (params, inputs), atol=1e-6)
    finally:
        choices.CHUNK_BYTES = old
        forget()


@pytest.mark.parametrize("way", some(WAYS, "rerun"))
def test_per_example_gradients_and_ensembles(way: str, chunks_of_two: Any) -> None:
    circuit = looped()
    chunks_of_two(3)

    def loss(p: Any, x: Any) -> Any:
        return weighted(expectation(circuit, p, x, OBSERVABLES["strings"], reverse_pass=option(way)))

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
def test_memory_is_flat_in_depth_where_states_are_computed_again() -> None:
    n, batch, used = 10, 64, {}
    for way in ("store", "recompute"):
        for reps in (12, 64):  # both are loops
            circuit, params = classifier(n, reps)
            loss = lambda p, x, c=circuit, w=way: expectation(c, p, x, z_observables(n), reverse_pass=w).sum()  # noqa: E731
            compiled = jax.jit(jax.grad(loss)).lower(params, jnp.zeros((batch, n))).compile()
            used[way, reps] = compiled.memory_analysis().temp_size_in_bytes
    assert used["recompute", 64] < 1.5 * used["recompute", 12]
    assert used["store", 64] > 3 * used["store", 12]
    assert used["store", 64] > 8 * used["recompute", 64]


@pytest.mark.parametrize("name", ["stored", "Store"])
def test_an_unknown_reverse_pass_is_an_error(name: Any) -> None:
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # the message is for those who run without type checks
    try:
        with pytest.raises(UserError, match="`reverse_pass` must be one of"):
            expectation(Circuit(1), None, None, z_observables(1), reverse_pass=name)
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
