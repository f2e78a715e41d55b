"""Quantum perceptrons: controlled rotations, repeat-until-success activation, and dissipative networks of qubits.

Two lines of work share the name. In Cao, Guerreschi and Aspuru-Guzik 2017 (arXiv:1711.11240) a neuron is a qubit
rotated by theta = w . x + b, and a measured ancilla replaces theta by a sigmoid of it. In Beer et al. 2020
(Nature Communications 11, 808; arXiv:1902.10445) a perceptron is a unitary on a layer's qubits and one qubit of the
next layer, and a layer is forgotten once the next one has been made.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import as_index, as_tuple, input_angle, parameter
from qjax.quantum.circuits.arguments import as_jax_array
from qjax.quantum.circuits.binding import check_values
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.custom_gates import pauli_rotation_gate
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.measure.reduced import as_complex, postselect
from qjax.quantum.simulate import state
from qjax.types import Array, CircuitParams, Complex, Float

BLOCKS = ("can", "pauli")


# A neuron of controlled rotations -----------------------------------------------------------------------------------


def controlled_rotations(num_inputs: int, name: str = "perceptron") -> Circuit:
    """Returns the circuit that rotates a target qubit by twice the weighted sum of the input qubits.

    Qubits 0..num_inputs-1 are the inputs, qubit num_inputs is the target: RY(2 w_i) on it under control of input i,
    then RY(2 b). On a basis state x of the inputs that is RY(2 theta) with theta = w . x + b; from |0> the target is
    then cos(theta)|0> + sin(theta)|1>.

    Parameters: `name`_weights `[num_inputs]` is w, `name`_bias `[]` is b.

    Args:
      num_inputs: input qubits, at least 1.
      name: what the parameters' names begin with.

    Raises:
      UserError: `num_inputs` is below 1.

    Source: Cao et al. 2017 (arXiv:1711.11240).

    >>> controlled_rotations(2).parameter_shapes
    {'perceptron_weights': (2,), 'perceptron_bias': ()}
    """
    n = as_index("num_inputs", num_inputs, 1)
    rotations = [operation("ry", n, 2 * parameter(f"{name}_weights", i), controls=i) for i in range(n)]
    return Circuit(n + 1, (*rotations, operation("ry", n, 2 * parameter(f"{name}_bias"))))


def measured_perceptron(num_inputs: int, encoding: Circuit | None = None, name: str = "perceptron") -> Circuit:
    """Returns an encoding followed by `controlled_rotations`: a perceptron whose last qubit is measured.

    For inputs of 0 and 1 the probability of measuring 1 on qubit num_inputs is sin(w . x + b)**2.

    Args:
      num_inputs: input qubits, at least 1.
      encoding: circuit on the input qubits that comes first; None encodes example bits x_i by RY(pi x_i).
      name: what the parameters' names begin with.

    Raises:
      UserError: `num_inputs` is below 1, or the encoding has another number of qubits.

    Source: Cao et al. 2017 (arXiv:1711.11240).

    >>> params = {"perceptron_weights": jnp.asarray([0.5, 0.2]), "perceptron_bias": jnp.asarray(0.1)}
    >>> zero, one = probabilities(measured_perceptron(2), params, jnp.asarray([1.0, 0.0]), qubits=(2,))
    >>> f"{one:.4f} {math.sin(0.5 + 0.1) ** 2:.4f}"
    '0.3188 0.3188'
    """
    neuron = controlled_rotations(num_inputs, name)
    return _encoded(encoding, num_inputs, neuron.num_qubits) + neuron


def repeat_until_success_perceptron(
    num_inputs: int, rounds: int = 1, encoding: Circuit | None = None, name: str = "perceptron"
) -> Circuit:
    """Returns the perceptron whose output is rotated by a sigmoid of w . x + b, provided that its ancillas give 0.

    One round rotates an ancilla by RY(2 theta) as `controlled_rotations` does, rotates the output by RY(pi) = -iY
    under its control, and undoes the rotation of the ancilla. With probability cos(theta)**4 + sin(theta)**4 the
    ancilla is then measured as 0, and the output has been rotated by RY(2 q(theta)), where
    q(theta) = arctan(tan(theta)**2). Otherwise it is 1, and the output has been rotated by RY(-pi/2), up to a sign,
    whatever theta is: RY(pi/2) undoes that, and one tries again. A further round puts this circuit in place of both
    rotations of a new ancilla, so that q is applied `rounds` times. No ancilla is used twice, so that all can be
    measured at the end.

    Qubits 0..num_inputs-1 are the inputs, then come 2**rounds - 1 ancillas, and the last is the output. Parameters
    are those of `controlled_rotations`. `heralded_state` runs it; `activation` and `success_probability` are the
    closed forms. On a superposition of inputs, each is weighted by the root of its own probability of success.

    Args:
      num_inputs: input qubits, at least 1.
      rounds: how often q is applied, at least 1.
      encoding: circuit on the input qubits that comes first; None encodes example bits x_i by RY(pi x_i).
      name: what the parameters' names begin with.

    Raises:
      UserError: `num_inputs` or `rounds` is below 1, or the encoding has another number of qubits.

    Source: Cao et al. 2017 (arXiv:1711.11240), after a circuit of Wiebe and Kliuchnikov 2013 (arXiv:1305.5528).
    """
    count = as_index("rounds", rounds, 1)
    neuron = controlled_rotations(num_inputs, name)
    ancillas = tuple(range(neuron.num_qubits - 1, neuron.num_qubits - 2 + 2**count))
    num_qubits = ancillas[-1] + 2
    body = _rotated_by(neuron, count, num_qubits - 1, ancillas, num_qubits)
    return _encoded(encoding, num_inputs, num_qubits) + body


def _rotated_by(neuron: Circuit, rounds: int, target: int, ancillas: tuple[int, ...], num_qubits: int) -> Circuit:
    """Returns the circuit that rotates `target` by RY(2 q(...q(theta))) where all ancillas give 0."""
    if rounds == 0:
        return neuron.remap((*range(neuron.num_qubits - 1), target), num_qubits)
    first, rest = ancillas[0], ancillas[1:]
    half = len(rest) // 2
    rotation = _rotated_by(neuron, rounds - 1, first, rest[:half], num_qubits)
    undone = _rotated_by(neuron, rounds - 1, first, rest[half:], num_qubits).inverse()
    return rotation.append("ry", target, math.pi, controls=first) + undone


def _encoded(encoding: Circuit | None, num_inputs: int, num_qubits: int) -> Circuit:
    if encoding is None:
        bits = [operation("ry", i, math.pi * input_angle(i)) for i in range(num_inputs)]
        return Circuit(num_qubits, tuple(bits))
    width = encoding.num_qubits
    check(width == num_inputs, "encoding", f"have {num_inputs} qubits, one an input", width)
    return encoding.remap(range(width), num_qubits)


def heralded_state(
    circuit: Circuit,
    num_inputs: int,
    params: CircuitParams | None = None,
    inputs: Any = None,
    initial_state: Any = None,
) -> tuple[Complex[Array, "*batch amplitudes"], Float[Array, "*batch"]]:
    """Returns the state of inputs and output where all ancillas are 0, and the probability that they are.

    Args:
      circuit: of `repeat_until_success_perceptron`.
      num_inputs: its input qubits.
      params: see `simulate.py`.
      inputs: see `simulate.py`.
      initial_state: of all qubits, as for `state`.

    Returns:
      The normalised state `[..., 2**(num_inputs + 1)]`, the output as its last qubit, and the probability `[...]`.

    Raises:
      UserError: as for `state`, or the circuit has no ancilla.
    """
    as_circuit(circuit)
    ancillas = tuple(range(as_index("num_inputs", num_inputs), circuit.num_qubits - 1))
    finding = f"{circuit.num_qubits} qubits of which {num_inputs} are inputs"
    check(len(ancillas) > 0, "circuit", "have ancillas between its inputs and its output", finding)
    return postselect(state(circuit, params, inputs, initial_state), ancillas, "0" * len(ancillas))


def activation(theta: ArrayLike, rounds: int = 1) -> Float[Array, "..."]:
    """Returns q(...q(theta)), q(x) = arctan(tan(x)**2) applied `rounds` times, elementwise; between 0 and pi/2.

    Steps up at pi/4, ever more sharply with more rounds; it has period pi. Finite and differentiable everywhere.

    Args:
      theta: real array `[...]`, in radians.
      rounds: at least 1.

    Raises:
      UserError: `rounds` is below 1.

    Source: Cao et al. 2017 (arXiv:1711.11240).

    >>> [f"{q:.2f}" for q in activation(jnp.asarray([0.2, 0.7, 0.9, 1.3]), rounds=3)]
    ['0.00', '0.25', '1.41', '1.57']
    """
    return _activation(theta, rounds)[0]


def success_probability(theta: ArrayLike, rounds: int = 1) -> Float[Array, "..."]:
    """Returns the probability that all ancillas of `repeat_until_success_perceptron` give 0, elementwise.

    One round succeeds with probability cos(theta)**4 + sin(theta)**4, at least 1/2. A further round needs both of its
    inner circuits and its own ancilla: p_k = p_{k-1}**2 (cos(q_{k-1})**4 + sin(q_{k-1})**4).

    Args:
      theta: real array `[...]`, in radians.
      rounds: at least 1.

    Raises:
      UserError: `rounds` is below 1.

    Source: Cao et al. 2017 (arXiv:1711.11240) for one round; further rounds by composition.

    >>> [f"{p:.3f}" for p in success_probability(jnp.asarray([0.0, jnp.pi / 4]), rounds=2)]
    ['1.000', '0.125']
    """
    return _activation(theta, rounds)[1]


def _activation(theta: ArrayLike, rounds: int) -> tuple[Array, Array]:
    """Returns what `activation` and `success_probability` return."""
    rounds = as_index("rounds", rounds, 1)
    angle = as_jax_array("theta", theta)
    check(angle.dtype in (jnp.float32, jnp.float64), "theta", "hold float32 or float64", str(angle.dtype))
    probability = jnp.ones_like(angle)
    for _ in range(rounds):
        sin, cos = jnp.sin(angle) ** 2, jnp.cos(angle) ** 2
        probability = probability**2 * (sin**2 + cos**2)
        angle = jnp.arctan2(sin, cos)  # arctan(tan(angle)**2), also where the tangent has no value
    return angle, probability


# Dissipative networks -----------------------------------------------------------------------------------------------


def dissipative_network(
    widths: Sequence[int], block: str = "can", encoding: Circuit | None = None, name: str = "dissipative"
) -> Circuit:
    """Returns a network of layers of qubits; each layer is made from |0...0> by perceptrons on the one before it.

    Layer l has widths[l] qubits, and layers follow one another from qubit 0. The output is the reduced density matrix
    of the last layer, `reduced_density_matrix(state(...), range(sum(widths[:-1]), sum(widths)))`.
    `apply_dissipative_layers` computes it two layers at a time. What goes in is the encoding, or an `initial_state`
    that has |0...0> on all but the first layer.

    Blocks, and the parameters of the step from layer l, of m qubits, to the next, of k qubits:
      'can': a gate u on each of the m qubits, then for each next qubit j and each qubit i before it
        rxx ryy rzz on (i, j), which is the canonical gate; after the last layer a gate u on each of its qubits.
        `name`_u{l} `[m, 3]`, `name`_can{l} `[k, m, 3]`, and `name`_u{L} `[widths[L], 3]` of the last layer L.
      'pauli': for each next qubit j, the rotations exp(-i theta P / 2) about all Pauli strings P but the identity on
        the m qubits and qubit j, in the order IX, IY, IZ, XI, ... (qubit j last): as many parameters as there are
        directions in SU(2**(m + 1)). `name`_pauli{l} `[k, 4**(m + 1) - 1]`.

    Args:
      widths: qubits of each layer, at least two layers.
      block: 'can' or 'pauli'.
      encoding: circuit on the first layer's qubits that comes first; None for none.
      name: what the parameters' names begin with.

    Raises:
      UserError: fewer than two layers, an empty layer, another block, or an encoding of another number of qubits.

    Source: Beer et al. 2020 (Nature Communications 11, 808; arXiv:1902.10445) for the network; Beer, List, Mueller,
    Osborne and Struckmann 2021 (arXiv:2104.06081) for the block 'can', here with angles twice those of its canonical
    gate CAN(t) = exp(-i (t_x XX + t_y YY + t_z ZZ)).

    >>> dissipative_network((2, 1)).parameter_shapes
    {'dissipative_u0': (2, 3), 'dissipative_can0': (1, 2, 3), 'dissipative_u1': (1, 3)}
    """
    sizes = _check_widths(widths)
    total = sum(sizes)
    network = Circuit(total)
    if encoding is not None:
        width = encoding.num_qubits
        check(width == sizes[0], "encoding", f"have {sizes[0]} qubits like the first layer", width)
        network = encoding.remap(range(width), total)
    for layer, size in enumerate(sizes[:-1]):
        first = sum(sizes[:layer])
        step = _dissipative_layer(sizes, layer, block, name)
        network = network + step.remap(range(first, first + size + sizes[layer + 1]), total)
    return network


def apply_dissipative_layers(
    density: ArrayLike,
    params: CircuitParams,
    widths: Sequence[int],
    block: str = "can",
    name: str = "dissipative",
) -> Complex[Array, "*batch dim dim"]:
    """Returns the output of `dissipative_network` for a density matrix that goes in, layer by layer.

    Each step keeps two neighbouring layers alone and traces out the first of them, so that the memory is
    4**m * 2**k for layers of m and k qubits, however many layers there are.

    Args:
      density: `[..., 2**m, 2**m]` for a first layer of m qubits: Hermitian, with trace 1.
      params: as `dissipative_network` states them.
      widths: see `dissipative_network`.
      block: see `dissipative_network`.
      name: see `dissipative_network`.

    Returns:
      The density matrix of the last layer, `[..., 2**k, 2**k]`.

    Raises:
      UserError: as for `dissipative_network` and `state`, or the density matrix has another shape or precision.

    Source: Beer et al. 2020 (Nature Communications 11, 808; arXiv:1902.10445).
    """
    sizes = _check_widths(widths)
    check_values(dissipative_network(sizes, block, name=name), params, None)
    rho = as_complex("density", as_jax_array("density", density))
    dim = 2 ** sizes[0]
    finding = f"shape {list(rho.shape)}"
    check(rho.shape[-2:] == (dim, dim), "density", f"have shape [..., {dim}, {dim}]", finding)
    for layer, size in enumerate(sizes[:-1]):
        step = _dissipative_layer(sizes, layer, block, name)
        step_params = {key: params[key] for key in step.parameter_shapes}
        starts = jnp.eye(2**size, dtype=jnp.asarray(params[next(iter(step_params))]).dtype)
        starts = jnp.pad(starts[:, :, None], ((0, 0), (0, 0), (0, 2 ** sizes[layer + 1] - 1))).reshape(2**size, -1)
        # [first layer before, first layer after, next layer]
        ends = state(step, step_params, None, starts).reshape(2**size, 2**size, -1)
        same = rho.dtype == ends.dtype
        check(same, "density", f"have the precision of the parameters, {ends.dtype}", str(rho.dtype))
        half = jnp.einsum("...ab,aio->...bio", rho, ends, precision=lax.Precision.HIGHEST)
        rho = jnp.einsum("...bio,bip->...op", half, ends.conj(), precision=lax.Precision.HIGHEST)
    return rho


def _check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(as_index("widths", width) for width in as_tuple("widths", widths))
    valid = len(sizes) >= 2 and min(sizes) >= 1
    check(valid, "widths", "hold at least two layers, each of at least 1 qubit", tuple(widths))
    return sizes


def _dissipative_layer(widths: tuple[int, ...], layer: int, block: str, name: str) -> Circuit:
    """Returns the step from one layer, the first qubits, to the next layer, the last qubits."""
    check_choice("block", block, BLOCKS)
    m, k = widths[layer : layer + 2]
    operations: list[Operation] = []
    if block == "can":
        operations += [_single(f"{name}_u{layer}", i, i) for i in range(m)]
        for j in range(k):
            for i, (axis, gate) in product(range(m), enumerate(("rxx", "ryy", "rzz"))):
                operations.append(operation(gate, (i, m + j), parameter(f"{name}_can{layer}", j, i, axis)))
        if layer == len(widths) - 2:
            operations += [_single(f"{name}_u{layer + 1}", j, m + j) for j in range(k)]
        return Circuit(m + k, tuple(operations))
    for j in range(k):
        for position, letters in enumerate(list(product("IXYZ", repeat=m + 1))[1:]):
            acting = [(q, letter) for q, letter in zip((*range(m), m + j), letters, strict=True) if letter != "I"]
            rotation = pauli_rotation_gate("".join(letter for _, letter in acting))
            angle = parameter(f"{name}_pauli{layer}", j, position)
            operations.append(operation(rotation, tuple(q for q, _ in acting), angle))
    return Circuit(m + k, tuple(operations))


def _single(name: str, position: int, qubit: int) -> Operation:
    """Returns the gate u on a qubit, with three parameters of its own."""
    return operation("u", qubit, *(parameter(name, position, axis) for axis in range(3)))
