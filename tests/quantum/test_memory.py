"""What the native code holds, against XLA's own account; and that no more is refused than what cannot fit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    Projector,
    angle_encoding,
    expectation,
    hardware_efficient,
    probabilities,
    state,
    z_observables,
)
from qjax.quantum.engines import choices as choices_module
from qjax.quantum.engines import memory
from qjax.quantum.engines.choose import choose
from qjax.quantum.engines.memory import state_bytes
from qjax.quantum.engines.readouts import ExpectationReadout
from qjax.quantum.engines.simulation import Simulation
from qjax.quantum.states.batch import shapes_of


def case(n: int, batch: int, dtype: Any = jnp.float32) -> tuple[Circuit, Any, Any]:
    circuit = angle_encoding(n) + hardware_efficient(n, 3)
    params = {name: jnp.ones(shape, dtype) for name, shape in circuit.parameter_shapes.items()}
    return circuit, params, jnp.ones((batch, n), dtype)


def bytes_of(circuit: Circuit, params: Any, inputs: Any) -> Any:
    simulation = Simulation(circuit=circuit, readout=ExpectationReadout(z_observables(circuit.num_qubits)))
    shapes = shapes_of([*(x[..., None] for x in params.values()), inputs.T])
    task = simulation.task("cpu", shapes)
    return lambda gradient: choose(task).bytes_held(task, gradient)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    ("n", "batch", "x64"), [(4, 512, False), (8, 64, True), (12, 64, False), (12, 1, False), (16, 1, True)]
)
def test_the_native_code_holds_what_xla_plans_within_a_factor_of_two(
    n: int, batch: int, x64: bool, gradient: bool
) -> None:
    with jax.enable_x64(x64):
        circuit, params, inputs = case(n, batch, jnp.float64 if x64 else jnp.float32)
        run = lambda p, x: expectation(circuit, p, x, z_observables(n)).sum()  # noqa: E731
        function = jax.grad(run, (0, 1)) if gradient else run
        analysis: Any = jax.jit(function).lower(params, inputs).compile().memory_analysis()
        estimate = bytes_of(circuit, params, inputs)(gradient)
    assert 0.5 < estimate / analysis.temp_size_in_bytes < 2


def test_what_the_engine_that_runs_can_hold_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, params, inputs = case(8, 1024)
    expected = expectation(circuit, params, inputs, z_observables(8))
    monkeypatch.setattr(memory, "device_bytes", lambda: state_bytes(8, 512, np.float32))
    np.testing.assert_allclose(expectation(circuit, params, inputs, z_observables(8)), expected, atol=1e-6)
    zeros = Projector(8, tuple(range(8)), (0,))
    message = r"must leave a run within this device's memory of .* with a batch of 1024"
    for whole in (state, probabilities, lambda *xs: expectation(*xs, (zeros,))):  # these read all states
        with pytest.raises(UserError, match=message):
            whole(circuit, params, inputs)
    monkeypatch.setattr(choices_module, "USE_NATIVE", False)
    with pytest.raises(UserError, match=message):  # XLA's engine holds all states
        expectation(circuit, params, inputs, z_observables(8))


def test_a_gradient_of_a_large_state_is_refused_where_the_native_code_cannot_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    circuit, params, inputs = case(16, 1)
    needed = bytes_of(circuit, params, inputs)(True)
    gradient = jax.jit(jax.grad(lambda p: expectation(circuit, p, inputs, z_observables(16)).sum()))
    monkeypatch.setattr(memory, "device_bytes", lambda: needed)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient(params)))
    jax.clear_caches()
    monkeypatch.setattr(memory, "device_bytes", lambda: needed - 1)
    expected = r"`num_qubits` must leave a gradient within this device's memory of .*\(fewer qubits takes less\)"
    with pytest.raises(UserError, match=expected):
        gradient(params)
