"""Amplitude encoding: a vector of 2**n numbers, normalised, as the state of n qubits.

Either as a start state, which costs nothing:

    state(circuit, params, initial_state=amplitude_state(features, n))

or prepared by gates, as a device needs it: `amplitude_encoding` is the circuit and `amplitude_angles` its inputs.
"""

from collections.abc import Sequence
from itertools import count, islice, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits.angle import AngleLike, as_angle, as_index, input_angle
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation, operation
from qjax.types import Array, Bool, Float

DECOMPOSITIONS = ("gray", "multi_controlled")
TARGET_AXES = ("ry", "rz")


def amplitude_state(features: Any, num_qubits: int) -> Array:
    """Returns features / |features|, filled up with zeros, `[2**n]` or `[..., 2**n]`: an `initial_state`.

    Differentiable wherever the features are not all zero. A vector of zeros has no direction: outside of a trace it
    is an error, and inside one (jit, vmap, grad), where values are unknown, it becomes |0...0> with gradient zero. So
    does a vector whose largest number is below 1e-31 in size (float32; 1e-292 in float64): devices may take what is
    smaller as 0.

    Args:
      features: real or complex, `[length]` or `[..., length]` with 1 <= length <= 2**n.
      num_qubits: n.

    Raises:
      UserError: the length does not fit, or outside of a trace a vector is not finite or that small.

    Source: Schuld and Petruccione 2018, Supervised Learning with Quantum Computers, chapter 5 (amplitude encoding).

    >>> print(amplitude_state([3.0, 0.0, 4.0], 2))
    [0.6 0.  0.8 0. ]
    """
    scaled = _scaled(features, num_qubits)
    return scaled / jnp.sqrt(_squared(scaled).sum(-1, keepdims=True)).astype(scaled.dtype)


def amplitude_angles(features: Any, num_qubits: int, decomposition: str = "gray") -> Float[Array, "*batch inputs"]:
    """Returns the inputs with which `amplitude_encoding(num_qubits)` prepares features / |features|.

    Real features, `[..., length]`, give the 2**n - 1 angles of the circuit for real amplitudes; complex ones the
    2 * (2**n - 1) + 1 of the circuit with `complex_amplitudes`. Differentiable almost everywhere and free of nan:
    where an angle is undefined because all amplitudes below it are zero, it is 0 with gradient 0. Phases jump at the
    negative real axis; the state they prepare does not.

    Args:
      features: as for `amplitude_state`; zeros likewise.
      num_qubits: n.
      decomposition: that of the circuit. For 'multi_controlled' the angles are those of the rotations under controls;
        for 'gray' their sums with signs, a fast Walsh-Hadamard transform for each qubit.

    Raises:
      UserError: as for `amplitude_state`, or `decomposition` is another word.

    Source: Mottonen et al. 2005, Quantum Information and Computation 5, 467-473 (arXiv:quant-ph/0407010).

    >>> print(amplitude_angles([1.0, 0.0, 0.0, -1.0], 2) / jnp.pi)
    [ 0.5 -0.5  0.5]
    >>> print(amplitude_angles([1.0, 0.0, 0.0, -1.0], 2, "multi_controlled") / jnp.pi)
    [ 0.5  0.  -1. ]
    """
    check_choice("decomposition", decomposition, DECOMPOSITIONS)
    leaves = _scaled(features, num_qubits)
    if not jnp.iscomplexobj(leaves):
        levels = _rotations_y(leaves)
    else:
        phases = safe_angle(lax.imag(leaves), lax.real(leaves))
        levels = [*_rotations_y(safe_sqrt(_squared(leaves))), *_rotations_z(phases)]
    if decomposition == "gray":
        levels = [_gray_angles(level, jnp) for level in levels]
    return jnp.concatenate(levels, axis=-1)


def amplitude_encoding(num_qubits: int, complex_amplitudes: bool = False, decomposition: str = "gray") -> Circuit:
    """Returns the circuit that prepares any state of n qubits, given the inputs of `amplitude_angles`.

    Qubit j is rotated by 'ry' under the control of all qubits before it, with an angle for each value of those:
    inputs 2**j - 1 to 2**(j+1) - 2. With `complex_amplitudes` as many 'rz' follow in the same order, and a global
    phase is the last input. The number of gates grows as 2**n: to simulate, start from `amplitude_state` instead.
    Each form takes inputs of its own, which `amplitude_angles` makes for it:

    - 'gray': each uniformly controlled rotation becomes 2**j 'cx' and 2**j rotations, by one input each. What devices
      run.
    - 'multi_controlled': 2**j rotations with j controls each, by one input each.

    Args:
      num_qubits: n.
      complex_amplitudes: whether amplitudes have phases.
      decomposition: 'gray' or 'multi_controlled'.

    Raises:
      UserError: `num_qubits` is below 1, or `decomposition` is another word.

    Source: Mottonen et al. 2005, Quantum Information and Computation 5, 467-473 (arXiv:quant-ph/0407010);
    Shende, Bullock and Markov 2006, IEEE Transactions on CAD 25, 1000-1010 (arXiv:quant-ph/0406176).

    >>> amplitude_encoding(3).counts()
    {'ry': 7, 'cx': 6}
    >>> amplitude_encoding(3, decomposition="multi_controlled").counts()
    {'ry': 1, 'c-ry': 2, 'c2-ry': 4}
    """
    width = as_index("num_qubits", num_qubits, 1)
    check_choice("decomposition", decomposition, DECOMPOSITIONS)
    rotations = _gray_rotations if decomposition == "gray" else _controlled_rotations
    inputs = map(input_angle, count())
    operations: list[Operation] = []
    for axis in TARGET_AXES if complex_amplitudes else TARGET_AXES[:1]:
        for target in range(width):
            operations += rotations(axis, range(target), target, list(islice(inputs, 2**target)))
    if complex_amplitudes:
        operations.append(operation("gphase", (), next(inputs)))
    return Circuit(width, tuple(operations))


def uniformly_controlled_rotation(
    axis: str, controls: Sequence[int], target: int, angles: Sequence[AngleLike], decomposition: str = "gray"
) -> tuple[Operation, ...]:
    """Returns the operations of a rotation of `target` by angles[c], where c is what the control qubits say.

    With 'gray' these are 2**k 'cx' and 2**k rotations, whose angles are sums of all `angles` with signs.

    Args:
      axis: 'ry' or 'rz'.
      controls: k qubits, the first as the most significant bit of c.
      target: the qubit that is rotated.
      angles: 2**k of them.
      decomposition: 'gray' or 'multi_controlled'; see `amplitude_encoding`.

    Raises:
      UserError: a word is another one, or the number of angles is not 2**k.

    Source: Mottonen et al. 2005, Quantum Information and Computation 5, 467-473 (arXiv:quant-ph/0407010).

    >>> uniformly_controlled_rotation("ry", (0,), 1, (0.2, 0.6))
    (ry(0.4) 1, cx 0 1, ry(-0.2) 1, cx 0 1)
    """
    check_choice("axis", axis, TARGET_AXES)
    check_choice("decomposition", decomposition, DECOMPOSITIONS)
    k, count = len(controls), 2 ** len(controls)
    check(len(angles) == count, "angles", f"hold {count} angles for {k} control(s)", len(angles))
    if decomposition == "multi_controlled":
        return _controlled_rotations(axis, controls, target, angles)
    transformed = _gray_angles(np.array([as_angle(angle) for angle in angles], object), np)
    return _gray_rotations(axis, controls, target, list(transformed))


def _controlled_rotations(
    axis: str, controls: Sequence[int], target: int, angles: Sequence[AngleLike]
) -> tuple[Operation, ...]:
    """Returns a rotation by angles[c] under the controls for each of their values c."""
    values = product((0, 1), repeat=len(controls))
    return tuple(
        operation(axis, target, angle, controls=tuple(controls), control_values=value)
        for angle, value in zip(angles, values, strict=True)
    )


def _gray_rotations(
    axis: str, controls: Sequence[int], target: int, angles: Sequence[AngleLike]
) -> tuple[Operation, ...]:
    """Returns rotations by these angles with 'cx' in between, whose controls change in the order of a Gray code."""
    k, count = len(controls), len(angles)
    operations: list[Operation] = []
    for i, angle in enumerate(angles):
        operations.append(operation(axis, target, angle))
        changed = _gray(i) ^ _gray((i + 1) % count)
        operations += [operation("cx", (controls[k - changed.bit_length()], target))] if k else []
    return tuple(operations)


def _gray_angles(angles: Any, numpy: Any) -> Any:
    """Returns the angles of `_gray_rotations` that amount to these under controls, both `[..., 2**k]`.

    They are a Walsh-Hadamard transform in the order of the Gray code; `numpy` is NumPy or JAX's.
    """
    count = angles.shape[-1]
    sums, codes = angles / count, _gray(np.arange(count))
    for _ in range(count.bit_length() - 1):
        first, second = sums[..., 0::2], sums[..., 1::2]
        sums = numpy.concatenate([first + second, first - second], axis=-1)
    return sums[..., codes]


def _gray(index: Any) -> Any:
    return index ^ (index >> 1)


def _scaled(features: Any, num_qubits: int) -> Array:
    """Checks features, fills them up to 2**n and scales them; a vector that counts as zeros becomes |0...0>."""
    width = as_index("num_qubits", num_qubits, 1)
    array = jnp.asarray(features)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(jnp.result_type(float))
    fits = array.ndim >= 1 and 1 <= array.shape[-1] <= 2**width
    check(fits, "features", f"have shape [..., length] with length in 1..{2**width}", f"shape {list(array.shape)}")
    if not isinstance(array, jax.core.Tracer):
        _check_directions(np.asarray(array))
    padded = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, 2**width - array.shape[-1])])
    scaled, zero = divide_by_largest(padded)
    first = np.zeros((1,) * (padded.ndim - 1) + (2**width,), padded.dtype)
    first[..., 0] = 1
    return jnp.where(zero, first, scaled)


def divide_by_largest(vectors: Array) -> tuple[Array, Bool[Array, "*batch 1"]]:
    """Returns vectors `[..., length]` divided by their largest number, and which of them count as zeros `[..., 1]`.

    No square of the result overflows, and none that matters underflows. The divisor has no gradient: this is for
    what does not depend on it. Vectors below `smallest_largest` count as zeros, and become zeros.
    """
    largest = lax.stop_gradient(_largest(vectors, jnp))[..., None]
    zero = largest < smallest_largest(vectors.dtype)
    shrunk = jnp.where(largest > 1, 2.0**-64, 1.0)  # XLA takes the reciprocal, which must not be below the smallest
    divisor = jnp.where(zero, 1, largest * shrunk)
    return jnp.where(zero, 0, vectors * shrunk.astype(vectors.dtype) / divisor.astype(vectors.dtype)), zero


def smallest_largest(dtype: Any) -> float:
    """Returns how large the largest number of a vector must be: 2**-103 in float32, 2**-970 in float64.

    Devices may take numbers below the smallest normal one as 0. Here such are less than a rounding of the largest.
    """
    info = np.finfo(np.dtype(dtype))
    return float(info.tiny / info.eps)


def _largest(vectors: Any, numpy: Any) -> Any:
    """Returns the largest |real or imaginary part| of vectors `[..., length]`, by NumPy or by JAX's."""
    return numpy.maximum(abs(vectors.real), abs(vectors.imag)).max(-1)


def _check_directions(features: np.ndarray) -> None:
    check(bool(np.isfinite(features).all()), "features", "hold finite numbers", "nan or infinity")
    largest, least = _largest(features, np), smallest_largest(features.dtype)
    short = np.argwhere(largest < least)
    if len(short):
        place = tuple(short[0].tolist())
        where = f" at {list(place)}" if place else ""
        expectation = f"hold a number of at least {least:.2g} in size in every vector, to have a direction"
        fail("features", expectation, f"a vector{where} of at most {largest[place]:.2g}")


def _rotations_y(leaves: Float[Array, "*batch amplitudes"]) -> list[Array]:
    """Angles of each level, the first qubit's first: 2 arctan of what lies in the lower half over the upper half."""
    levels: list[Array] = []
    while leaves.shape[-1] > 1:
        upper, lower = leaves[..., 0::2], leaves[..., 1::2]
        levels.insert(0, 2 * safe_angle(lower, upper))
        leaves = safe_sqrt(upper**2 + lower**2)
    return levels


def _rotations_z(phases: Float[Array, "*batch amplitudes"]) -> list[Array]:
    """Differences of phases of each level, the first qubit's first, and last the mean of all."""
    levels: list[Array] = [phases]
    while levels[0].shape[-1] > 1:
        upper, lower = levels[0][..., 0::2], levels[0][..., 1::2]
        levels[:1] = [(upper + lower) / 2, lower - upper]
    return [*levels[1:], levels[0]]


def _squared(array: Array) -> Float[Array, "..."]:
    if not jnp.iscomplexobj(array):
        return array**2
    return lax.real(array) ** 2 + lax.imag(array) ** 2


def safe_sqrt(squared: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root with gradient 0 at 0. Both branches of a `where` are differentiated, so both must be finite."""
    zero = squared < _tiny(squared)
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squared)))


def safe_angle(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """arctan2 with value and gradient 0 where both are 0."""
    zero = x**2 + y**2 < _tiny(x)
    return jnp.arctan2(jnp.where(zero, 0, y), jnp.where(zero, 1, x))


def _tiny(array: Array) -> float:
    """Smallest number of full precision: a square below it is as good as zero."""
    return float(np.finfo(np.dtype(array.dtype)).tiny)
