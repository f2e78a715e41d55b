"""Values for a circuit's parameters and inputs: checked in one place, and put into the circuit by `bind`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.checks import check, fail
from qjax.quantum.circuits.angle import Angle, Parameter, Reference
from qjax.quantum.circuits.repeat import CircuitLike
from qjax.types import CircuitParams


def check_values(circuit: CircuitLike, params: CircuitParams | None, inputs: Any) -> None:
    """Raises unless `params` and `inputs` have the names and shapes that the circuit states.

    Args:
      circuit: states `parameter_shapes` and `num_inputs`.
      params: name -> array; None where the circuit has no parameters.
      inputs: `[num_inputs]` or `[batch, num_inputs]`; None where the circuit has none.
    """
    check(hasattr(circuit, "parameter_shapes"), "circuit", "be a Circuit", circuit)
    params = {} if params is None else params
    named = isinstance(params, Mapping)
    check(named, "params", "be a mapping from names to arrays", f"a {type(params).__name__}")
    shapes = circuit.parameter_shapes
    for name in params:
        if name not in shapes:
            fail("params", "hold the parameters of the circuit and no other", str(name), shapes or ("(none)",))
    for name, shape in shapes.items():
        check(name in params, "params", f"hold '{name}' of shape {list(shape)}", f"only {sorted(params)}")
        given = list(np.shape(params[name]))
        check(given == list(shape), f"params['{name}']", f"have shape {list(shape)}", f"shape {given}")
    n = circuit.num_inputs
    if inputs is None:
        check(n == 0, "inputs", f"have shape [{n}] or [batch, {n}]", "None")
        return
    given = list(np.shape(inputs))
    fits = len(given) in (1, 2) and given[-1] == n
    check(fits, "inputs", f"have shape [{n}] or [batch, {n}]", f"shape {given}")


def check_key(key: Any) -> None:
    """Raises unless the key is one of JAX's, new-style or old."""
    dtype, expectation = getattr(key, "dtype", None), "be a random key, such as jax.random.key(0)"
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    check(typed or (dtype == jnp.uint32 and key.shape == (2,)), "key", expectation, key)


def bind(circuit: CircuitLike, params: CircuitParams | None, inputs: Any) -> CircuitLike:
    """`Circuit.bind`, which states arguments and errors."""
    check_values(circuit, params, inputs)
    check(np.ndim(inputs) < 2, "inputs", "be one example to bind", f"shape {list(np.shape(inputs))}")
    for name, value in (*((f"params['{n}']", v) for n, v in (params or {}).items()), ("inputs", inputs)):
        is_concrete = not isinstance(value, jax.core.Tracer)
        check(is_concrete, name, "be known to bind; `state` and `expectation` take traced values", "a traced value")
    values = {name: np.asarray(value, np.float64) for name, value in (params or {}).items()}
    example = np.asarray(() if inputs is None else inputs, np.float64)
    for name, array in (*((f"params['{n}']", v) for n, v in values.items()), ("inputs", example)):
        check(bool(np.isfinite(array).all()), name, "hold finite numbers", str(array))

    def look_up(ref: Reference) -> float:
        return float(values[ref.name][ref.index] if isinstance(ref, Parameter) else example[ref.index])

    bound = [
        replace(op, angles=tuple(Angle(a.evaluate(look_up)) for a in op.angles)) for op in circuit.iter_operations()
    ]
    return type(circuit)(circuit.num_qubits, tuple(bound))
