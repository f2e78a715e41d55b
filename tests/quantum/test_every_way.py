"""Every public function that computes, in every way of calling it: the same numbers.

Eagerly, under jit and under vmap; alone and in batches of several sizes, where other code takes over; by native code
and without it. Angles are of all sizes, so that an example's number must not depend on its neighbours' either.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import quantum
from qjax.quantum import Circuit, hardware_efficient, input_angle, z_observables

NUM_QUBITS = 3
BATCHES = (0, 1, 2, 8, 9, 16)
Function = Callable[[Any, Any], Any]


@cache
def circuit() -> Circuit:
    """Angles by themselves, with a scale and a shift, and as a product."""
    encoding = Circuit(NUM_QUBITS).append("ry", 0, input_angle(0)).append("rx", 1, 0.1 * input_angle(1) + 0.3)
    encoding = encoding.append("ry", 2, input_angle(2)).append("rzz", (0, 1), input_angle(0) * input_angle(2))
    return encoding + hardware_efficient(NUM_QUBITS, 1)


def params() -> dict[str, Any]:
    draws = np.random.default_rng(0)
    return {name: jnp.asarray(draws.normal(size=s), jnp.float32) for name, s in circuit().parameter_shapes.items()}


def examples() -> np.ndarray:
    """Inputs of 16 examples: small, denormal, large, and ordinary ones."""
    draws = np.random.default_rng(1)
    inputs = draws.uniform(-3, 3, (16, NUM_QUBITS))
    inputs[1] = 0, 1e-42, -1e-38
    inputs[4, 0], inputs[5, 1], inputs[6, 2], inputs[10, 0] = 1.2345e6, 1.2345e6, -1.7e9, 1e30
    return inputs.astype(np.float32)


OBSERVABLES = (*z_observables(NUM_QUBITS), quantum.PauliString("XYI"), quantum.Projector(NUM_QUBITS, (2,), (1,)))


def of_circuit(name: str, *args: Any, **options: Any) -> Function:
    function = getattr(quantum, name)
    return lambda p, x: function(circuit(), p, x, *args, **options)


def of_state(name: str, *args: Any) -> Function:
    function = getattr(quantum, name)
    return lambda p, x: function(quantum.state(circuit(), p, x), *args)


def of_matrix(name: str) -> Function:
    function = getattr(quantum, name)
    return lambda p, x: function(quantum.reduced_density_matrix(quantum.state(circuit(), p, x), (0, 2)))


def of_two(name: str, first: bool, second: bool) -> Function:
    """The state against one with other parameters, each reduced or not."""
    function = getattr(quantum, name)

    def compare(p: Any, x: Any) -> Any:
        states = [quantum.state(circuit(), q, x) for q in (p, jax.tree.map(lambda y: y + 0.3, p))]
        mixed = [quantum.reduced_density_matrix(s, range(NUM_QUBITS)) for s in states]
        return function(
            *(m if is_mixed else s for m, s, is_mixed in zip(mixed, states, (first, second), strict=True))
        )

    return compare


def gradient(p: Any, x: Any) -> Any:
    """Of each example by its inputs, for a change of its angles by 1: by the parameters it would be a sum."""
    found = jax.grad(lambda y: quantum.expectation(circuit(), p, y, OBSERVABLES)[..., 0].sum())(x)
    return found / (1 + jnp.abs(x[..., ::-1]))


def unitary(p: Any, x: Any) -> Any:
    return quantum.unitary(circuit(), p, x)


def dissipative(p: Any, x: Any) -> Any:
    """A density matrix that depends on the inputs, through two layers."""
    shapes = quantum.dissipative_network((2, 1)).parameter_shapes
    weights = {name: jnp.linspace(-1, 1, int(np.prod(s)), dtype=jnp.float32).reshape(s) for name, s in shapes.items()}
    rho = quantum.reduced_density_matrix(quantum.state(circuit(), p, x), (0, 2))
    return quantum.apply_dissipative_layers(rho, weights, (2, 1))


def of_features(name: str, *args: Any) -> Function:
    """A function of features: ordinary ones, for amplitudes are no angles."""
    function = getattr(quantum, name)
    return lambda _, x: function(1 + jnp.tanh(x) / 2, *args)


CORE: dict[str, Function] = {
    "state": of_circuit("state"),
    "expectation": of_circuit("expectation", OBSERVABLES),
    "probabilities": of_circuit("probabilities", (2, 0)),
    "gradient": gradient,
}
OTHERS: dict[str, Function] = {
    "unitary": unitary,
    "variance": of_circuit("variance", OBSERVABLES),
    "covariance": of_circuit("covariance", z_observables(NUM_QUBITS)),
    "hessian": of_circuit("hessian", OBSERVABLES[:1]),
    "parameter_shift": of_circuit("parameter_shift", OBSERVABLES[:1]),
    "quantum_metric": of_circuit("quantum_metric"),
    "postselect": of_state("postselect", (1,), "0"),
    "heralded_state": lambda p, x: quantum.heralded_state(circuit(), 1, p, x),
    "reduced_density_matrix": of_state("reduced_density_matrix", (1,)),
    "purity": of_matrix("purity"),
    "linear_entropy": of_matrix("linear_entropy"),
    "entropy": of_matrix("entropy"),
    "fidelity": of_two("fidelity", False, False),
    "mixed_fidelity": of_two("mixed_fidelity", False, True),
    "uhlmann_fidelity": of_two("uhlmann_fidelity", True, True),
    "apply_dissipative_layers": dissipative,
    "amplitude_state": of_features("amplitude_state", 2),
    "amplitude_angles": of_features("amplitude_angles", 2),
    "unary_loader_angles": of_features("unary_loader_angles"),
    "activation": of_features("activation", 2),
    "success_probability": of_features("success_probability", 2),
}
WAYS: dict[str, Callable[[Function], Function]] = {
    "eager": lambda function: function,
    "jit": jax.jit,
    "vmap": lambda function: jax.vmap(function, (None, 0)),
    "vmap in jit": lambda function: jax.jit(jax.vmap(function, (None, 0))),
}


def leaves(results: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(results)]


@cache
def alone(name: str) -> list[np.ndarray]:
    """The results of each example alone, by the code that needs no llvmlite, under jit; stacked."""
    function = jax.jit(lambda p, x: {**CORE, **OTHERS}[name](p, x))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qjax.quantum.engines.choices.USE_NATIVE", False)
        rows = [leaves(function(params(), jnp.asarray(x))) for x in examples()]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def cases() -> list[Any]:
    """All of them; slow are those that are least unlike another one, and what takes long to compile."""
    found = []
    for name in (*CORE, *OTHERS):
        for way in WAYS:
            for batch in BATCHES:
                quick = {
                    "expectation": way in ("eager", "vmap in jit") or batch == 9,
                    **dict.fromkeys(("hessian", "parameter_shift", "quantum_metric"), False),
                    **dict.fromkeys(
                        set(CORE) - {"expectation"}, way in ("eager", "vmap in jit") and batch in (0, 2, 9)
                    ),
                }.get(name, (way, batch) in (("jit", 9), ("vmap in jit", 0)))
                found.append(pytest.param(name, way, batch, marks=[] if quick else pytest.mark.slow))
    return found


@pytest.mark.parametrize(("name", "way", "batch"), cases())
def test_each_example_has_its_own_number(name: str, way: str, batch: int) -> None:
    found = leaves(WAYS[way]({**CORE, **OTHERS}[name])(params(), jnp.asarray(examples()[:batch])))
    expected = alone(name)
    assert len(found) == len(expected)
    atol = 1e-5 if name == "entropy" else 1e-6  # its slope at an eigenvalue of 0 is infinite
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right[:batch], rtol=2e-6, atol=atol)
