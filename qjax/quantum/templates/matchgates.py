"""Circuits that act on single excitations as rotations do: beam splitters, orthogonal layers, matchgates."""

import math

import jax.numpy as jnp
from jax import lax

from qjax.checks import check
from qjax.quantum.circuits.angle import AngleLike, as_angle, as_index, input_angle, parameter
from qjax.quantum.circuits.arguments import as_jax_array
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.templates.amplitude import divide_by_largest, safe_angle, safe_sqrt
from qjax.types import Array, Float


def rbs(theta: AngleLike, qubits: tuple[int, int] = (0, 1)) -> Operation:
    """Returns a reconfigurable beam splitter, which rotates |10> and |01> into one another.

        |10> -> cos(theta) |10> + sin(theta) |01>,    |01> -> cos(theta) |01> - sin(theta) |10>

    and leaves |00> and |11> alone; the first qubit is the left one. It is 'xx_plus_yy' at twice the angle.

    Args:
      theta: angle in radians.
      qubits: two of them.

    Raises:
      UserError: there are not two distinct qubits.

    Source: Kerenidis, Landman and Mathur 2021 (arXiv:2106.07198).
    """
    return operation("xx_plus_yy", qubits, 2 * as_angle(theta), math.pi / 2)


def orthogonal_pyramid(num_qubits: int, name: str = "ansatz") -> Circuit:
    """Returns a pyramid of beam splitters between neighbours: any rotation of the n unary states, in depth 2n - 3.

    On the states |10...0>, |010...0>, ..., |0...01> it is an orthogonal matrix of determinant 1, the product of one
    Givens rotation a gate. Every such matrix is reached.

    The parameter is called `name`, of shape `[n (n - 1) / 2]`, in the order of the gates: column by column from left
    to right, and from the first qubit to the last within a column.

    Args:
      num_qubits: n, at least 2.
      name: of the parameter.

    Raises:
      UserError: `num_qubits` is below 2.

    Source: Kerenidis, Landman and Mathur 2021 (arXiv:2106.07198), the pyramidal circuit.

    >>> [op.qubits for op in orthogonal_pyramid(3).iter_operations()]
    [(0, 1), (1, 2), (0, 1)]
    """
    n = as_index("num_qubits", num_qubits, 2)
    # Pair (q, q + 1) has gates in every second column from column q on, until the mirror image of column q.
    columns = range(2 * n - 3)
    places = [(q, q + 1) for c in columns for q in range(n - 1) if q <= c <= 2 * n - 4 - q and (c - q) % 2 == 0]
    return Circuit(n, tuple(rbs(parameter(name, k), pair) for k, pair in enumerate(places)))


def unary_loader(num_qubits: int) -> Circuit:
    """Returns a circuit that loads a vector of n entries as the amplitudes of the n unary states.

    Its n - 1 inputs are the angles that `unary_loader_angles` computes: an X on the first qubit, then a cascade of
    beam splitters, gives sum of x_q / |x| |0..1..0> with the 1 at qubit q.

    Args:
      num_qubits: n, at least 2.

    Raises:
      UserError: `num_qubits` is below 2.

    Source: Johri et al. 2021, npj Quantum Information 7, 122 (arXiv:2012.04145); the diagonal loader of Kerenidis,
    Landman and Mathur 2021 (arXiv:2106.07198).
    """
    n = as_index("num_qubits", num_qubits, 2)
    return Circuit(n, (operation("x", 0), *(rbs(input_angle(q), (q, q + 1)) for q in range(n - 1))))


def unary_loader_angles(features: Float[Array, "*batch features"]) -> Float[Array, "*batch angles"]:
    """Returns the inputs of `unary_loader`: hyperspherical coordinates, `[..., n]` -> `[..., n - 1]`.

    The length of a vector does not matter. One of zeros, or of numbers below 1e-31 in size (float32; 1e-292 in
    float64), is loaded as |10...0>. Derivatives are finite everywhere.

    Raises:
      UserError: the last axis is shorter than 2.
    """
    features = as_jax_array("features", features)
    wide = features.ndim > 0 and features.shape[-1] >= 2
    check(wide, "features", "have a last axis of at least 2", str(list(features.shape)))
    scaled, _ = divide_by_largest(features)
    squares = lax.cumsum(scaled**2, axis=features.ndim - 1, reverse=True)[..., 1:-1]
    return safe_angle(jnp.concatenate([safe_sqrt(squares), scaled[..., -1:]], axis=-1), scaled[..., :-1])


def matchgate_layer(num_qubits: int, reps: int = 1, name: str = "ansatz") -> Circuit:
    """Returns `reps` layers of matchgates: RZ on every qubit, then RXX and RYY on even and on odd neighbours.

    RZ, RXX and RYY between neighbours generate all nearest-neighbour matchgates. Such a circuit is an evolution of
    free fermions: it carries each of the 2n Majorana operators into a linear combination of them, an orthogonal
    matrix of determinant 1, and can be followed classically in time polynomial in n.

    Parameters: `name` of shape `[reps, num_qubits]` for RZ, `name_pairs` of shape `[reps, num_qubits - 1, 2]` for RXX
    and RYY on qubits (p, p + 1).

    Args:
      num_qubits: at least 2.
      reps: layers.
      name: of the parameters.

    Raises:
      UserError: `num_qubits` is below 2, or `reps` is below 1.

    Source: Terhal and DiVincenzo 2002, Physical Review A 65, 032325 (arXiv:quant-ph/0108010); Jozsa and Miyake 2008,
    Proceedings of the Royal Society A 464, 3089 (arXiv:0804.4050).
    """
    n = as_index("num_qubits", num_qubits, 2)
    layer = [operation("rz", q, parameter(name, q)) for q in range(n)]
    for p in (*range(0, n - 1, 2), *range(1, n - 1, 2)):
        for k, gate in enumerate(("rxx", "ryy")):
            layer.append(operation(gate, (p, p + 1), parameter(f"{name}_pairs", p, k)))
    return Circuit(n, (Repeat(Circuit(n, tuple(layer)), reps),))
