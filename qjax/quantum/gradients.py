"""Derivatives beside `jax.grad`: parameter-shift rules, second derivatives and the quantum metric tensor.

`state` and `expectation` are ordinary JAX functions: `jax.grad`, `jax.jvp`, `jax.jacfwd` and `jax.hessian` work on
them as they are and are the fast way to a gradient. `parameter_shift` finds the same derivatives from expectation
values alone, as quantum hardware has to. Arguments in common stand in `simulate.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from qjax.checks import check
from qjax.quantum.circuits.angle import Angle, Parameter, input_angle
from qjax.quantum.circuits.arguments import as_array
from qjax.quantum.circuits.binding import check_values
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.measure.observables import Observable, Observables, check_observables
from qjax.quantum.simulate import batch_size, expectation, state
from qjax.quantum.states.angle_values import Values
from qjax.types import Array, CircuitParams, Float

# States that `parameter_shift` keeps at a time; the simulator needs about three times that while it works.
MAX_SHIFTED_BYTES = 2**28
# Frequencies that differ by less than this, relative to the largest, count as equal, which is an error.
MIN_RELATIVE_GAP = 1e-6
# Largest number of shifts to choose from.
_MAX_GRID = 2**16

Rule = tuple[np.ndarray, np.ndarray]


def shift_rule(frequencies: Sequence[float]) -> Rule:
    """Returns (coefficients, shifts), both float64 `[2 * R]`, of a parameter-shift rule for R frequencies.

    For E(t) = a + sum over l of b_l cos(frequencies[l] t) + c_l sin(frequencies[l] t) the rule is exact at every t:
    dE/dt = sum over i of coefficients[i] * E(t + shifts[i]).

    Frequencies w, 2w, ..., Rw have a rule in closed form. Others are solved for: R shifts are picked from a grid so
    that the sines at them are far from dependent, and the coefficients follow from a linear system.

    Args:
      frequencies: distinct positive numbers, at least one, in any order.

    Raises:
      UserError: frequencies are not finite, positive and distinct.

    Source: Wierichs, Izaac, Wang and Lin 2022, General parameter-shift rules for quantum gradients
    (arXiv:2107.12390), section 3; one frequency is the rule of Mitarai et al. 2018 (arXiv:1803.00745).

    >>> coefficients, shifts = shift_rule([1.0])
    >>> coefficients.round(3).tolist(), shifts.round(3).tolist()
    ([0.5, -0.5], [1.571, -1.571])
    """
    given = as_array("frequencies", frequencies, np.float64).reshape(-1)
    values = np.sort(given)
    valid = len(values) > 0 and np.isfinite(values).all() and values[0] > 0
    check(bool(valid), "frequencies", "hold finite numbers above 0, at least one", str(given.tolist()))
    gap = float(np.diff(values, prepend=0.0).min())
    check(gap > MIN_RELATIVE_GAP * float(values[-1]), "frequencies", "be distinct", str(given.tolist()))
    multiples = np.arange(1, len(values) + 1)
    if np.allclose(values, values[0] * multiples, rtol=1e-9, atol=0.0):
        return _equidistant_rule(len(values), float(values[0]))
    shifts = _independent_shifts(values, gap)
    halves = np.linalg.solve(np.sin(np.outer(shifts, values)).T, values) / 2
    return np.concatenate([halves, -halves]), np.concatenate([shifts, -shifts])


def _equidistant_rule(count: int, base: float) -> Rule:
    """The rule for frequencies base, 2 base, ..., count base; shifts lie between -pi/base and pi/base."""
    odd = 2 * np.arange(1, 2 * count + 1) - 1
    signs = np.where(np.arange(2 * count) % 2 == 0, 1.0, -1.0)
    coefficients = signs / (4 * count * np.sin(odd * np.pi / (4 * count)) ** 2)
    shifts = odd * np.pi / (2 * count)
    return coefficients * base, np.where(shifts > np.pi, shifts - 2 * np.pi, shifts) / base


def _independent_shifts(frequencies: np.ndarray, gap: float) -> np.ndarray:
    """Chooses `[R]` shifts so that their rows of sines are far from dependent (greedily, as in pivoted QR).

    Over an interval of pi / gap the sines are nearly orthogonal functions, so that good rows exist there.
    """
    wanted = max(64 * len(frequencies), math.ceil(8 * frequencies[-1] / gap))
    count = min(wanted, _MAX_GRID)
    grid = (np.arange(count) + 0.5) * (np.pi / gap / count)
    rest = np.sin(np.outer(grid, frequencies))
    chosen = []
    for _ in frequencies:
        chosen.append(int(np.argmax((rest**2).sum(axis=1))))
        direction = rest[chosen[-1]] / np.linalg.norm(rest[chosen[-1]])
        rest = rest - np.outer(rest @ direction, direction)
    shifts: np.ndarray = grid[chosen]
    return shifts


@dataclass(frozen=True)
class FreeCircuit:
    """A circuit with an input of its own in place of every angle that is not a number.

    Attributes:
      circuit: expanded; it has no parameters, and input k is the k-th angle.
      angles: what each angle was.
      frequencies: those of an expectation value as a function of the angle; () where it depends on no parameter.
    """

    circuit: Circuit
    angles: tuple[Angle, ...]
    frequencies: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=MAX_KEPT_PLANS)
def free_angles(circuit: Circuit) -> FreeCircuit:
    """Returns the circuit with every occurrence of an angle freed, so that each can be shifted on its own."""
    operations: list[Operation] = []
    angles: list[Angle] = []
    frequencies: list[tuple[float, ...]] = []
    for op in as_circuit(circuit).iter_operations():
        freed = list(op.angles)
        for place, angle in enumerate(op.angles):
            if angle.is_constant:
                continue
            freed[place] = input_angle(len(angles))
            angles.append(angle)
            trained = any(isinstance(ref, Parameter) for ref in angle.references)
            frequencies.append(_frequencies(op, place) if trained else ())
        operations.append(replace(op, angles=tuple(freed)))
    return FreeCircuit(Circuit(circuit.num_qubits, tuple(operations)), tuple(angles), tuple(frequencies))


def _frequencies(op: Operation, place: int) -> tuple[float, ...]:
    """Returns the positive differences of an angle's exponents; under controls some entries do not depend on it."""
    exponents = {float(e) for e in op.gate.exponents[place]} | ({0.0} if op.controls else set())
    return tuple(sorted({a - b for a in exponents for b in exponents if a > b}))


def parameter_shift(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Observables = (),
    initial_state: Any = None,
) -> dict[str, Float[Array, "..."]]:
    """Returns the derivative of each expectation value with respect to each parameter, from shifted circuits alone.

    Each occurrence of an angle is shifted on its own by the rule of its gate, 2 runs for a rotation and 4 for a
    controlled one; sums and products in angles, shared parameters and Repeats follow by the chain rule. The result
    is that of `jax.jacrev` of `expectation` over the parameters, at a cost that grows with their number.

    Args:
      circuit: see `simulate.py`.
      params: see `simulate.py`.
      inputs: see `simulate.py`.
      observables: as for `expectation`.
      initial_state: as for `state`.

    Returns:
      name -> `[num_observables, *shape]` or `[batch, num_observables, *shape]`, where `shape` is the parameter's.

    Raises:
      UserError: as for `expectation`.

    Source: Schuld et al. 2019 (arXiv:1811.11184) for the rule of a gate and the sum over gates that share a
    parameter; Wierichs et al. 2022 (arXiv:2107.12390) for gates with several frequencies.

    >>> circuit = Circuit(1).append("ry", 0, 2 * parameter("a"))  # <Z> = cos(2 a)
    >>> parameter_shift(circuit, {"a": np.float32(np.pi / 4)}, None, z_observables(1))["a"].round(4).tolist()
    [-2.0]
    """
    check_values(circuit, params, inputs)
    observables = check_observables(observables, circuit.num_qubits)
    expectation_of = jax.eval_shape(lambda: expectation(circuit, params, inputs, observables, initial_state))
    arrays = {name: jnp.asarray((params or {})[name]) for name in circuit.parameter_shapes}
    if not arrays:
        return {}
    table = _AngleTable.of(circuit)
    batched = len(expectation_of.shape) == 2
    batch = expectation_of.shape[0] if batched else 1
    examples = jnp.zeros((0,), expectation_of.dtype) if inputs is None else jnp.asarray(inputs)
    examples = jnp.broadcast_to(examples, (batch, examples.shape[-1]))
    free = free_angles(circuit)
    values = Values({name: array[..., None] for name, array in arrays.items()}, examples.T, expectation_of.dtype)
    rows = jnp.stack([jnp.broadcast_to(angle, (batch,)) for angle in values.small_angles(free.angles)], axis=1)
    slopes = _angle_slopes(free, rows, observables, initial_state)

    def pull_back(example: Array, slope: Array) -> dict[str, Array]:
        back = jax.vjp(lambda p: table.evaluate(p, example), arrays)[1]
        rows: dict[str, Array] = jax.vmap(lambda cotangent: back(cotangent)[0])(slope)
        return rows

    gradients = jax.vmap(pull_back)(examples, slopes)
    return gradients if batched else {name: gradient[0] for name, gradient in gradients.items()}


def _angle_slopes(
    free: FreeCircuit, rows: Float[Array, "batch angles"], observables: tuple[Observable, ...], initial_state: Any
) -> Float[Array, "batch observables angles"]:
    """Returns the derivative of each expectation value with respect to each angle."""
    rules = [(k, *shift_rule(frequencies)) for k, frequencies in enumerate(free.frequencies) if frequencies]
    num_rows, num_angles = rows.shape
    if not rules or num_rows == 0:
        return jnp.zeros((num_rows, len(observables), num_angles), rows.dtype)
    places = np.concatenate([np.full(len(shifts), k) for k, _, shifts in rules])
    weights = np.concatenate([coefficients for _, coefficients, _ in rules])
    shifts = np.concatenate([shifts for *_, shifts in rules])
    one_state = num_rows * 2**free.circuit.num_qubits * 2 * rows.dtype.itemsize
    chunk = min(len(places), max(1, MAX_SHIFTED_BYTES // one_state))
    num_chunks = -(-len(places) // chunk)
    padding = (0, num_chunks * chunk - len(places))
    starts = None if initial_state is None else jnp.asarray(initial_state)
    if starts is not None and starts.ndim == 2:
        starts = jnp.tile(starts, (chunk, 1))

    def run(shifted: tuple[Array, Array]) -> Array:
        place, shift = shifted
        moved = jax.nn.one_hot(place, num_angles, dtype=rows.dtype) * shift[:, None]
        angles = (rows[None] + moved[:, None]).reshape(chunk * num_rows, num_angles)
        return expectation(free.circuit, None, angles, observables, starts).reshape(chunk, num_rows, -1)

    stacked = (
        jnp.asarray(np.pad(places, padding).reshape(num_chunks, chunk), jnp.int32),
        jnp.asarray(np.pad(shifts, padding).reshape(num_chunks, chunk), rows.dtype),
    )
    values = lax.map(run, stacked).reshape(num_chunks * chunk, num_rows, -1)[: len(places)]
    terms = values * jnp.asarray(weights, rows.dtype)[:, None, None]
    return jax.ops.segment_sum(terms, jnp.asarray(places), num_angles).transpose(1, 2, 0)


@dataclass(frozen=True, eq=False)
class _AngleTable:
    """All angles of a circuit as one polynomial map: one gather and one sum, however many angles there are.

    Attributes:
      names: parameters, in the order in which they are laid end to end, before the inputs and a last entry of 1.
      owners: index of the angle that each term belongs to, `[terms]`.
      scales: factor of each term, `[terms]`.
      factors: indices of the entries whose product a term is, `[terms, degree]`.
      shifts: constant part of each angle, `[angles]`.
    """

    names: tuple[str, ...]
    owners: np.ndarray
    scales: np.ndarray
    factors: np.ndarray
    shifts: np.ndarray

    @staticmethod
    def of(circuit: Circuit) -> "_AngleTable":
        """Returns the table of the angles that `free_angles` frees, in its order."""
        angles = free_angles(circuit).angles
        shapes = circuit.parameter_shapes
        starts = dict(zip(shapes, np.cumsum([0, *map(math.prod, shapes.values())]), strict=False))
        first_input = sum(map(math.prod, shapes.values()))

        def place(ref: Any) -> int:
            if not isinstance(ref, Parameter):
                return first_input + int(ref.index)
            offset = np.ravel_multi_index(ref.index, shapes[ref.name]) if ref.index else 0
            return int(starts[ref.name] + offset)

        terms = [(k, scale, [place(ref) for ref in refs]) for k, a in enumerate(angles) for scale, refs in a.terms]
        degree = max((len(refs) for *_, refs in terms), default=0)
        one = first_input + circuit.num_inputs
        return _AngleTable(
            names=tuple(shapes),
            owners=np.asarray([k for k, *_ in terms], np.int32),
            scales=np.asarray([scale for _, scale, _ in terms], np.float64),
            factors=np.asarray([refs + [one] * (degree - len(refs)) for *_, refs in terms], np.int32),
            shifts=np.asarray([a.shift for a in angles], np.float64),
        )

    def evaluate(self, params: CircuitParams, example: Float[Array, "num_inputs"]) -> Float[Array, "angles"]:
        """Returns the value of every angle for one example."""
        arrays = [jnp.reshape(params[name], (-1,)) for name in self.names]
        dtype = arrays[0].dtype
        entries = jnp.concatenate([*arrays, example.astype(dtype), jnp.ones((1,), dtype)])
        products = jnp.asarray(self.scales, dtype)
        for column in self.factors.T:
            products = products * entries[column]
        sums = jax.ops.segment_sum(products, jnp.asarray(self.owners), len(self.shifts))
        return sums + jnp.asarray(self.shifts, dtype)


def hessian(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Observables = (),
    initial_state: Any = None,
) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Returns the second derivatives of each expectation value with respect to the parameters.

    The result is that of `jax.hessian` of `expectation`. Each example of a batch is differentiated on its own, so
    that the cost grows with the batch and not with its square.

    Args:
      circuit: see `simulate.py`.
      params: see `simulate.py`.
      inputs: see `simulate.py`.
      observables: as for `expectation`.
      initial_state: as for `state`.

    Returns:
      name -> other name -> `[num_observables, *shape, *other_shape]`, with the batch before it where there is one.

    Raises:
      UserError: as for `expectation`.

    >>> circuit = Circuit(1).append("ry", 0, parameter("a"))  # <Z> = cos(a)
    >>> hessian(circuit, {"a": np.float32(0.0)}, None, z_observables(1))["a"]["a"].tolist()
    [-1.0]
    """
    check_values(circuit, params, inputs)
    arrays = {name: jnp.asarray((params or {})[name]) for name in circuit.parameter_shapes}
    if not arrays:
        return {}

    def second(example: Any, start: Any) -> Any:
        def run(p: CircuitParams) -> Array:
            return expectation(circuit, p, example, observables, start)

        return jax.jacfwd(jax.jacrev(run))(arrays)

    given: list[Any] = [None if value is None else jnp.asarray(value) for value in (inputs, initial_state)]
    axes = tuple(0 if np.ndim(value) == 2 else None for value in given)
    each = second if batch_size(inputs, initial_state) is None else jax.vmap(second, axes)
    rows: dict[str, dict[str, Array]] = each(*given)
    return rows


def quantum_metric(
    circuit: Circuit, params: CircuitParams, inputs: Any = None, initial_state: Any = None
) -> Float[Array, "*batch parameters parameters"]:
    """Returns the Fubini-Study metric tensor of the state, `[P, P]` or `[batch, P, P]`.

    Entry (i, j) is Re(<d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>), with the P parameters in the order of
    `jax.flatten_util.ravel_pytree(params)`: names sorted, each array row by row. It does not change with the global
    phase of the state; the quantum Fisher information matrix of a pure state is 4 times it. Takes the memory of P
    states.

    Args:
      circuit: see `simulate.py`.
      params: see `simulate.py`; at least one.
      inputs: see `simulate.py`.
      initial_state: as for `state`.

    Raises:
      UserError: as for `state`, or the circuit has no parameters.

    Source: Stokes, Izaac, Killoran and Carleo 2020, Quantum Natural Gradient (arXiv:1909.02108), section 3.

    >>> quantum_metric(Circuit(1).append("ry", 0, parameter("a")), {"a": np.float32(0.3)}).round(4).tolist()
    [[0.25]]
    """
    check(as_circuit(circuit).num_parameters > 0, "circuit", "have parameters", "none")
    check_values(circuit, params, inputs)
    vector, unravel = ravel_pytree({name: jnp.asarray(params[name]) for name in circuit.parameter_shapes})

    def run(flat: Array) -> tuple[Array, Array]:
        amplitudes = state(circuit, unravel(flat), inputs, initial_state)
        return amplitudes, amplitudes

    slopes, amplitudes = jax.jacfwd(run, has_aux=True)(vector)
    exact = lax.Precision.HIGHEST
    overlaps = jnp.einsum("...d,...dp->...p", amplitudes.conj(), slopes, precision=exact)
    inner = jnp.einsum("...dp,...dq->...pq", slopes.conj(), slopes, precision=exact)
    outer = overlaps.conj()[..., :, None] * overlaps[..., None, :]
    return (inner - outer).real
