"""The numbers of the gates of a table, made by JAX, which differentiates them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.native.table.layout import STRINGS
from qjax.quantum.engines.native.table.native_gates import Item, Level
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.matrices import alike_columns, alike_matrices, phase_weights
from qjax.quantum.states.trigonometry import stored_cos_sin
from qjax.types import Array


def coefficients(level: Level, values: Values) -> tuple[Array, Array]:
    """Returns angles and then coefficients that all examples share, `[., 1]`, and those of each, `[., batch]`."""
    shared, own = _of_level(level, values)
    return _joined(shared, 1, values.dtype), _joined(own, values.batch, values.dtype)


def _joined(parts: Sequence[Array], batch: int, dtype: Any) -> Array:
    if len(parts) == 1 and parts[0].shape[-1] == batch:
        return parts[0]
    if not parts:
        return jnp.zeros((0, batch), dtype)
    return jnp.concatenate([jnp.broadcast_to(part, (part.shape[0], batch)) for part in parts])


def _of_level(level: Level, values: Values) -> tuple[list[Array], list[Array]]:
    """Returns the coefficients of a level's groups and loops in order, `[., 1]` and `[., batch]`."""
    shared: list[Array] = [_angles(group, level, values) for group in level.shared_angles]
    own: list[Array] = [_angles(group, level, values) for group in level.angles]
    for group in level.groups:
        of_strings = group[0].form == STRINGS
        rows = _phase_angles(group, values) if of_strings else _as_rows(_of_group(group, values), len(group))
        (own if group[0].own else shared).append(rows)
    for item in level.items:
        if isinstance(item, Level):
            inner = _of_loop(item, values)
            shared += [inner[0]] if item.counts[0] else []
            own += [inner[1]] if item.counts[1] else []
    return shared, own


def _phase_angles(group: Sequence[Item], values: Values) -> Array:
    """Returns the angles whose sums are phases, bounded, `[count, 1 or batch]`."""
    angles = [angle for item in group for angle in item.angles]
    found = values.stacked(angles)
    return jnp.broadcast_to(found, (len(angles), found.shape[1]))


def _angles(angles: Sequence[Angle], level: Level, values: Values) -> Array:
    """Returns the angles' values, `[count, 1 or batch]`."""
    found = values.stacked(angles, level.takes_any)
    return jnp.broadcast_to(found, (len(angles), found.shape[1]))


def _of_loop(level: Level, values: Values) -> tuple[Array, Array]:
    if not level.names:
        return coefficients(level, values)
    slices = values.slices(level.names)
    found = jax.vmap(lambda own: coefficients(level, values.inside_loop(own)))(slices)
    shared, own = (x.reshape((-1, x.shape[-1])) for x in found)
    return shared, own


def _of_group(group: Sequence[Item], values: Values) -> Any:
    """Returns the numbers of items that differ in their angles alone, complex `[numbers, 1 or count, 1 or batch]`."""
    form = group[0].form
    assert form is not None
    if form[0] == "start":
        return alike_columns([item.operations for item in group], values)
    if form[0] == "diagonal":
        return _diagonals([item.operations[0] for item in group], values)
    matrices = alike_matrices([(item.qubits, item.operations) for item in group], values)
    return matrices.reshape(-1, *matrices.shape[2:])


def _diagonals(operations: Sequence[Operation], values: Values) -> Any:
    """Returns exp(i phase) of each basis state of the operations' qubits."""
    op = operations[0]
    weights = phase_weights(op) if op.all_qubits else np.repeat(phase_weights(op), 2)  # a global phase is qubit 0's
    if not op.angles:
        return np.exp(1j * weights).astype(values.complex_dtype)[:, None, None]
    angles = values.stacked([op.angles[0] for op in operations])
    return jax.lax.complex(*stored_cos_sin(jnp.asarray(weights, values.dtype)[:, None, None] * angles[None]))


def _as_rows(numbers: Any, count: int) -> Array:
    """Returns numbers as real rows, `[count * numbers * 2, 1 or batch]`: each real part, then the imaginary one."""
    module = np if isinstance(numbers, np.ndarray) else jnp
    parts = module.stack([numbers.real, numbers.imag], axis=1)
    whole = module.broadcast_to(parts, (*parts.shape[:2], count, parts.shape[3]))
    return jnp.asarray(module.moveaxis(whole, 2, 0).reshape(-1, parts.shape[3]))
