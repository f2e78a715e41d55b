"""Trainable circuit templates and the first values of their parameters."""

import math
from collections.abc import Sequence
from itertools import combinations

import jax
import jax.numpy as jnp

from qjax.checks import check, check_choice
from qjax.quantum.angle import parameter
from qjax.quantum.circuit import Circuit, Operation, Repeat, operation
from qjax.types import Array, Float, Key

ROTATIONS = ("rx", "ry", "rz", "p")
ENTANGLERS = ("cx", "cz")
PATTERNS = ("ring", "linear", "full", "none")
DISTRIBUTIONS = ("uniform", "normal")


def hardware_efficient(
    num_qubits: int,
    reps: int,
    rotations: Sequence[str] = ("ry", "rz"),
    entangler: str = "cx",
    pattern: str = "ring",
    name: str = "ansatz",
) -> Circuit:
    """Returns `reps` layers of rotations on every qubit and entanglers between neighbours.

    The parameter is called `name`, of shape `[reps, num_qubits, len(rotations)]`.

    Args:
      num_qubits: qubits.
      reps: layers.
      rotations: single-qubit gates with one angle, applied in this order.
      entangler: 'cx' or 'cz'.
      pattern: 'ring' joins (0, 1), (1, 2), ..., (n-1, 0), on 2 qubits (0, 1) alone; 'linear' leaves the last pair of
        the ring out; 'full' joins every pair, the lower qubit as the control; 'none' joins nothing.
      name: of the parameter.

    Source: Kandala et al. 2017, Nature 549, 242-246 (arXiv:1704.05018), figure 1.
    """
    check(len(rotations) > 0, "rotations", "name at least one gate", tuple(rotations), ROTATIONS)
    for rotation in rotations:
        check_choice("rotations", rotation, ROTATIONS)
    check_choice("entangler", entangler, ENTANGLERS)
    layer: list[Operation] = []
    for q in range(num_qubits):
        layer.extend(operation(gate, q, parameter(name, q, k)) for k, gate in enumerate(rotations))
    layer.extend(operation(entangler, pair) for pair in entangler_pairs(num_qubits, pattern))
    return Circuit(num_qubits, (Repeat(Circuit(num_qubits, tuple(layer)), reps),))


def entangler_pairs(num_qubits: int, pattern: str) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of qubits (control, target) that `pattern` joins, in order; see `hardware_efficient`."""
    check_choice("pattern", pattern, PATTERNS)
    if pattern == "none":
        return ()
    if pattern == "full":
        return tuple(combinations(range(num_qubits), 2))
    line = tuple((q, q + 1) for q in range(num_qubits - 1))
    closes = pattern == "ring" and num_qubits > 2
    return (*line, (num_qubits - 1, 0)) if closes else line


def init_params(
    key: Key[Array, ""], circuit: Circuit, *, scale: float | int = 0.1, distribution: str = "uniform"
) -> dict[str, Float[Array, "..."]]:
    """Returns first values for every parameter of a circuit, in radians, in JAX's default real dtype.

    The default is small: a deep circuit that starts near the identity keeps its gradients, where angles drawn from
    the whole circle make them vanish with the number of qubits (Grant et al. 2019, arXiv:1903.05076; McClean et al.
    2018, arXiv:1803.11173).

    Args:
      key: typed random key.
      circuit: states the names and shapes.
      scale: 'uniform' draws from [-pi * scale, pi * scale); 'normal' has standard deviation pi * scale.
      distribution: 'uniform' or 'normal'.
    """
    check_choice("distribution", distribution, DISTRIBUTIONS)
    check(math.isfinite(scale) and scale >= 0, "scale", "be a finite number of at least 0", scale)
    shapes = circuit.parameter_shapes
    dtype = jnp.result_type(float)
    width = math.pi * scale
    params = {}
    for name, subkey in zip(shapes, jax.random.split(key, max(len(shapes), 1)), strict=False):
        if distribution == "uniform":
            params[name] = jax.random.uniform(subkey, shapes[name], dtype, minval=-width, maxval=width)
        else:
            params[name] = jax.random.normal(subkey, shapes[name], dtype) * width
    return params
