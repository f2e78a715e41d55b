"""`QuantumLayer` against closed forms: two qubits, a rotation each, and one CNOT."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from reference import quick_jit

from qjax.checks import UserError
from qjax.models.quantum_layer import QuantumLayer
from qjax.quantum import Circuit, PauliString, PauliSum, angle_encoding, init_params, parameter

ANGLES = np.asarray([0.4, -0.9], np.float32)
INPUTS = np.asarray([[0.3, 1.1], [-2.0, 0.7], [0.0, 2.9]], np.float32)
Z_AND_X = (PauliString("ZI"), PauliString("IZ"), PauliString("XI"))


def bell_like() -> Circuit:
    """RY(input q + parameter q) on qubit q, then CX from qubit 0 to qubit 1."""
    circuit = angle_encoding(2)
    for q in range(2):
        circuit = circuit.append("ry", q, parameter("theta", q))
    return circuit.append("cx", (0, 1))


def closed_form(inputs: np.ndarray) -> np.ndarray:
    """<ZI>, <IZ>, <XI> of `bell_like` `[..., 3]`: cos a, cos a cos b, and sin a <X> of qubit 1 before the CX."""
    a, b = np.moveaxis(inputs + ANGLES, -1, 0)
    return np.stack([np.cos(a), np.cos(a) * np.cos(b), np.sin(a) * np.sin(b)], axis=-1)


@cache
def runner(**attributes: Any) -> Callable[[Any], Any]:
    layer = QuantumLayer(circuit=bell_like(), **attributes)
    return quick_jit(lambda inputs: layer.apply({"params": {"theta": ANGLES}}, inputs))


@pytest.mark.parametrize("shape", [(2,), (3, 2), (1, 3, 2), (3, 1, 2)])
def test_expectations_of_any_leading_axes_equal_the_closed_form(shape: tuple[int, ...]) -> None:
    inputs = np.resize(INPUTS, shape)
    outputs = runner(observables=Z_AND_X)(inputs)
    assert outputs.shape == (*shape[:-1], 3)
    np.testing.assert_allclose(outputs, closed_form(inputs), atol=1e-6)


def test_a_sum_of_paulis_is_one_output() -> None:
    observable = PauliSum(((0.5, PauliString("ZI")), (-2.0, PauliString("XI"))))
    expected = closed_form(INPUTS) @ [0.5, 0.0, -2.0]
    np.testing.assert_allclose(runner(observables=(observable,))(INPUTS)[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("qubits", [(0, 1), (1, 0), (1,)])
def test_probabilities_of_qubits_in_their_order(qubits: tuple[int, ...]) -> None:
    a, b = (INPUTS + ANGLES).T / 2
    one, other = np.stack([np.cos(a), np.sin(a)]) ** 2, np.stack([np.cos(b), np.sin(b)]) ** 2
    # The CX maps (i, j) to (i, j xor i): axes [qubit 0, qubit 1, batch].
    joint = np.stack([one[0] * other, one[1] * other[::-1]])
    expected = {(0, 1): joint, (1, 0): joint.swapaxes(0, 1), (1,): joint.sum(axis=0)}[qubits]
    outputs = runner(probability_qubits=qubits)(INPUTS)
    np.testing.assert_allclose(outputs, expected.reshape(-1, len(INPUTS)).T, atol=1e-6)
    np.testing.assert_allclose(outputs.sum(axis=-1), 1, atol=1e-6)


def test_gradient_with_respect_to_inputs_and_angles() -> None:
    layer = QuantumLayer(circuit=bell_like(), observables=Z_AND_X[:2])

    def total(params: Any, inputs: Any) -> Any:
        return layer.apply({"params": params}, inputs).sum()

    by_params, by_inputs = quick_jit(jax.grad(total, argnums=(0, 1)))({"theta": ANGLES}, INPUTS)
    a, b = (INPUTS + ANGLES).T
    expected = np.stack([-np.sin(a) * (1 + np.cos(b)), -np.cos(a) * np.sin(b)], axis=-1)
    np.testing.assert_allclose(by_inputs, expected, atol=1e-6)
    np.testing.assert_allclose(by_params["theta"], expected.sum(axis=0), atol=1e-6)


def test_parameters_are_those_of_the_circuit_and_start_as_asked() -> None:
    circuit = bell_like().append("rz", 1, parameter("phi", 2, 0))
    layer = QuantumLayer(circuit=circuit, observables=Z_AND_X)
    params = quick_jit(layer.init)(jax.random.key(0), INPUTS)["params"]
    assert jax.tree.map(jnp.shape, params) == {"theta": (2,), "phi": (3, 1)}
    # The default of `quantum.init_params`: uniform in [-0.1 pi, 0.1 pi).
    values = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    assert (np.abs(values) <= 0.1 * np.pi).all()
    assert len(set(values.tolist())) == values.size

    def constant(key: Any, circuit: Circuit) -> dict[str, Any]:
        return {name: jnp.full(shape, 0.25) for name, shape in circuit.parameter_shapes.items()}

    params = quick_jit(layer.clone(init_params=constant).init)(jax.random.key(0), INPUTS)["params"]
    assert all((leaf == 0.25).all() for leaf in jax.tree.leaves(params))


def test_a_circuit_without_parameters_is_a_module_without_any() -> None:
    layer = QuantumLayer(circuit=angle_encoding(2), observables=Z_AND_X[:1])
    outputs, variables = quick_jit(layer.init_with_output)(jax.random.key(0), INPUTS)
    assert jax.tree.leaves(variables) == []
    np.testing.assert_allclose(outputs[:, 0], np.cos(INPUTS[:, 0]), atol=1e-6)


def test_works_inside_a_model_of_somebody_else() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, features: Any) -> Any:
            angles = nn.Dense(2)(features)
            return nn.Dense(1)(QuantumLayer(circuit=bell_like(), observables=Z_AND_X)(angles))

    features = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
    outputs, variables = quick_jit(Model().init_with_output)(jax.random.key(0), features)
    assert outputs.shape == (4, 1)
    params = jax.device_get(variables["params"])
    first, last = params["Dense_0"], params["Dense_1"]
    angles = features @ first["kernel"] + first["bias"] + params["QuantumLayer_0"]["theta"] - ANGLES
    expected = closed_form(np.asarray(angles)) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "inputs", "message"),
    [
        ({}, INPUTS, "`observables` must hold at least one observable"),
        ({"observables": (PauliString("Z"),)}, INPUTS, "`observables` must have 2 letters"),
        ({"probability_qubits": (0, 2)}, INPUTS, r"`qubits` must hold distinct integers in 0\.\.1"),
        ({"observables": Z_AND_X}, INPUTS[:, :1], r"`inputs` must have shape \[2\] or \[batch, 2\]"),
    ],
)
def test_bad_arguments(attributes: dict[str, Any], inputs: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        QuantumLayer(circuit=bell_like(), **attributes).init(jax.random.key(0), jnp.asarray(inputs))


def test_default_first_values_are_the_ones_of_the_quantum_package() -> None:
    assert QuantumLayer(circuit=bell_like()).init_params is init_params
