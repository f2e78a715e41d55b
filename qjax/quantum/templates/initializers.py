"""First values of a circuit's parameters, and the blocks that start as the identity.

Every initializer takes (key, circuit, ...) and returns name -> array of the shape that the circuit states, in
radians, in JAX's default real dtype; with its options bound by `functools.partial` it is an initializer of
`QuantumLayer`. What is drawn for a name depends on the key and on the names and shapes alone.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import Parameter, as_index
from qjax.quantum.circuits.binding import check_key
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.repeat import Repeat
from qjax.types import Array, Float, Key

DISTRIBUTIONS = ("uniform", "normal")
BLOCK_SUFFIX = "_block"


def init_params(
    key: Key[Array, ""], circuit: Circuit, *, scale: float | int = 0.1, distribution: str = "uniform"
) -> dict[str, Float[Array, "..."]]:
    """Returns first values for every parameter of a circuit.

    The default is small: a deep circuit that starts near the identity keeps its gradients, where angles drawn from
    the whole circle make them vanish with the number of qubits (Grant et al. 2019, arXiv:1903.05076; McClean et al.
    2018, arXiv:1803.11173).

    Args:
      key: typed random key.
      circuit: states the names and shapes.
      scale: 'uniform' draws from [-pi * scale, pi * scale); 'normal' has standard deviation pi * scale.
      distribution: 'uniform' or 'normal'.

    Raises:
      UserError: `scale` is negative or not finite, or there is no such distribution.
    """
    check_choice("distribution", distribution, DISTRIBUTIONS)
    check(math.isfinite(scale) and scale >= 0, "scale", "be a finite number of at least 0", scale)
    width = math.pi * scale
    if distribution == "normal":
        return _normal(key, circuit, width)
    return _draw(key, circuit, partial(jax.random.uniform, minval=-width, maxval=width))


def init_uniform(key: Key[Array, ""], circuit: Circuit) -> dict[str, Float[Array, "..."]]:
    """Returns parameters drawn from the whole circle, [-pi, pi).

    It is what studies of expressibility and of barren plateaus draw (Sim, Johnson and Aspuru-Guzik 2019,
    arXiv:1905.10876; McClean et al. 2018, arXiv:1803.11173); for training, begin smaller.
    """
    return init_params(key, circuit, scale=1)


def init_small_angle(
    key: Key[Array, ""], circuit: Circuit, *, deviation: float | int = 0.01
) -> dict[str, Float[Array, "..."]]:
    """Returns parameters from a normal distribution around 0 with standard deviation `deviation`, in radians.

    Every rotation starts next to the identity, whatever the depth.

    Raises:
      UserError: `deviation` is negative or not finite.
    """
    valid = math.isfinite(deviation) and deviation >= 0
    check(valid, "deviation", "be a finite number of at least 0", deviation)
    return _normal(key, circuit, float(deviation))


def init_normal(
    key: Key[Array, ""], circuit: Circuit, *, locality: int = 1, num_layers: int | None = None
) -> dict[str, Float[Array, "..."]]:
    """Returns parameters from a normal distribution that narrows with depth: variance 1 / (4 S (L + 2)).

    With it the norm of the gradient falls polynomially with the depth, where it falls exponentially with the number
    of qubits for angles of the whole circle.

    Args:
      key: typed random key.
      circuit: states the names and shapes.
      locality: S, on how many qubits the observable acts.
      num_layers: L, layers of rotations; None for the largest number of trainable gates on one qubit.

    Raises:
      UserError: `locality` is below 1, or `num_layers` is negative.

    Source: Zhang, Liu, Hsieh and Tao 2022 (arXiv:2203.09376), the bound for local observables.
    """
    locality = as_index("locality", locality, 1)
    if num_layers is None:
        layers = max(_count_trainable(as_circuit(circuit)).values(), default=0)
    else:
        layers = as_index("num_layers", num_layers)
    return _normal(key, circuit, math.sqrt(1 / (4 * locality * (layers + 2))))


def identity_block(body: Circuit, reps: int) -> Circuit:
    """Returns `reps` blocks, each the body followed by its inverse, with parameters of their own in both halves.

    `init_identity_block` draws parameters for which every block is the identity; training then moves the halves
    apart. A parameter `theta` of shape [...] in the body is called `theta_block` here and has shape `[reps, 2, ...]`:
    entry 0 belongs to the body, entry 1 to its inverse. Inputs of the body stay as they are.

    Args:
      body: at least one parameter.
      reps: blocks.

    Raises:
      UserError: the body has no parameter, or `reps` is below 1.

    Source: Grant et al. 2019, Quantum 3, 214 (arXiv:1903.05076).

    >>> from qjax.quantum import parameter
    >>> body = Circuit(1).append("ry", 0, parameter("theta"))
    >>> identity_block(body, 3)
    Circuit(1 qubits: 3 x [ry(theta_block[0]) 0, ry(-theta_block[1]) 0])
    """
    shapes = as_circuit(body, "body").parameter_shapes
    check(bool(shapes), "body", "have at least one parameter", "a circuit without any")
    as_index("reps", reps, 1)
    renamed = body.expand().rename({name: name + BLOCK_SUFFIX for name in shapes})
    halves = (renamed, renamed.inverse())
    operations = tuple(op.with_leading_index(half) for half in (0, 1) for op in halves[half].iter_operations())
    return Circuit(body.num_qubits, (Repeat(Circuit(body.num_qubits, operations), reps),))


def init_identity_block(
    key: Key[Array, ""], circuit: Circuit, *, scale: float | int = 1.0
) -> dict[str, Float[Array, "..."]]:
    """Returns parameters for which every block that `identity_block` made is the identity.

    All parameters are drawn from [-pi * scale, pi * scale); then, in those whose names end in `_block`, entry 0 of
    the second axis is copied to entry 1. The circuit may have other parameters and gates before, between and behind
    the blocks.

    Raises:
      UserError: no parameter is called `..._block`, one that is has another shape than `[reps, 2, ...]`, or `scale`
        is negative or not finite.

    Source: Grant et al. 2019, Quantum 3, 214 (arXiv:1903.05076).
    """
    params = init_params(key, circuit, scale=scale)
    blocks = [name for name in params if name.endswith(BLOCK_SUFFIX)]
    check(bool(blocks), "circuit", "have blocks made by `identity_block`", f"the parameters {sorted(params)}")
    for name in blocks:
        shape = params[name].shape
        check(shape[1:2] == (2,), "circuit", f"have a parameter '{name}' of shape [reps, 2, ...]", str(list(shape)))
        params[name] = jnp.repeat(params[name][:, :1], 2, axis=1)
    return params


def _normal(key: Key[Array, ""], circuit: Circuit, deviation: float) -> dict[str, Float[Array, "..."]]:
    return _draw(key, circuit, lambda subkey, shape, dtype: jax.random.normal(subkey, shape, dtype) * deviation)


def _draw(key: Key[Array, ""], circuit: Circuit, draw: Callable[..., Array]) -> dict[str, Float[Array, "..."]]:
    """Returns draw(key, shape, dtype) for every parameter, each with a key of its own."""
    check_key(key)
    shapes = as_circuit(circuit).parameter_shapes
    dtype = jnp.result_type(float)
    keys = jax.random.split(key, max(len(shapes), 1))
    return {name: draw(subkey, shapes[name], dtype) for name, subkey in zip(shapes, keys, strict=False)}


def _count_trainable(circuit: Circuit) -> Counter[int]:
    """Returns, for each qubit, the number of operations with a parameter that act on it."""
    counts: Counter[int] = Counter()
    for op in circuit.operations:
        if isinstance(op, Repeat):
            counts.update({q: times * op.reps for q, times in _count_trainable(op.body).items()})
        elif any(isinstance(ref, Parameter) for angle in op.angles for ref in angle.references):
            counts.update(op.all_qubits)
    return counts
