"""What JAX makes of parameters and inputs for a table, and differentiates: a few operations for each kind of gate."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.engines.native.table.entries import Table
from qjax.quantum.engines.native.table.operands import AngleForm, Angles, Group, Sources
from qjax.quantum.states.angle_values import Values, take_rows
from qjax.quantum.states.matrices import alike_angles, block_matrix, phase_weights, run_column
from qjax.quantum.states.reduction import angle_sum, bounded, number_within_period
from qjax.quantum.states.trigonometry import stored_cos_sin
from qjax.types import Array

# Of what all examples share, and of the others.
Pair = tuple[Array, Array]


def coefficients(table: Table, values: Values) -> Pair:
    """Returns what the native code is handed: of all examples, `[., 1]`, and of each, `[., batch]`."""
    operands, batches = table.operands, (1, values.batch)
    sources = _sources(operands.sources, values)
    handed, inner = (_angles(angles, sources, values.dtype) for angles in (operands.handed, operands.inner))
    parts: list[list[Array]] = [
        [sources[per_example]] * operands.takes_sources + [handed[per_example]] for per_example in (0, 1)
    ]
    for group in operands.groups.values():
        parts[group.item.per_example].append(_numbers(group, operands.inner.starts(), inner, values))
    shared, per_example = (_joined(some, batch, values.dtype) for some, batch in zip(parts, batches, strict=True))
    return shared, per_example


def _joined(parts: Sequence[Array], batch: int, dtype: Any) -> Array:
    """Returns arrays `[., 1 or batch]` one below the other."""
    some = [part for part in parts if len(part)]
    if len(some) == 1 and some[0].shape[-1] == batch:
        return some[0]
    return jnp.concatenate([jnp.zeros((0, batch), dtype), *(jnp.broadcast_to(x, (len(x), batch)) for x in some)])


def _sources(sources: Sources, values: Values) -> Pair:
    """Returns parameters and inputs, flattened."""
    arrays = [[values.params[name] if name else values.inputs for name in names] for names in sources.names]
    shared, per_example = (
        _joined([x.reshape(-1, x.shape[-1]) for x in some], batch, values.dtype)
        for some, batch in zip(arrays, (1, values.batch), strict=True)
    )
    return shared, per_example


def _angles(angles: Angles, sources: Pair, dtype: Any) -> Pair:
    """Returns the values of angles, mod 4 pi, and at most twice `LIMIT` in size; see `reduction.py`."""
    found: list[list[Array]] = [[], []]
    small: dict[int, Array] = {}  # sources without large numbers

    def one_form(form: AngleForm, scales: np.ndarray, places: np.ndarray) -> Array:
        if not form.sources:
            return jnp.full((1, 1), number_within_period(form.shift), dtype)
        if form.scale:
            ((source,),) = form.sources
            small[source] = small.get(source, bounded(sources[source]))
            return take_rows(small[source], places[0]) * form.scale
        columns = iter(places)
        factors = tuple(
            tuple(take_rows(sources[per_example], next(columns)) for per_example in term) for term in form.sources
        )
        alike = [some[0] if len(set(some)) == 1 else tuple(some) for some in scales.tolist()]
        return angle_sum(form.shift, tuple(alike), factors)

    for form, members in angles.forms.items():
        scales, places = (np.array(columns).T for columns in zip(*members, strict=True))
        found[form.per_example].append(one_form(form, scales, places.astype(np.int32)))
    batches = [max((x.shape[-1] for x in some), default=1) for some in found]
    shared, per_example = (_joined(some, batch, dtype) for some, batch in zip(found, batches, strict=True))
    return shared, per_example


def _numbers(group: Group, starts: dict[AngleForm, int], inner: Pair, values: Values) -> Array:
    """Returns the numbers of gates of one kind as real rows, `[gates * numbers * 2, 1 or batch]`."""
    item, columns = group.item, iter(zip(*group.angles, strict=True))

    def angle() -> Array:
        """Returns the next angle of each gate, `[gates, 1 or batch]`."""
        column = next(columns)
        return take_rows(inner[column[0][0].per_example], np.array([starts[form] + k for form, k in column]))

    angles = [alike_angles([angle() for _ in op.angles]) for op in item.operations]
    numbers = _of_item(item, angles, values)
    parts = jnp.stack([numbers.real, numbers.imag], axis=1)
    count = len(group.angles)
    whole = jnp.broadcast_to(parts, (*parts.shape[:2], count, parts.shape[3]))
    return jnp.moveaxis(whole, 2, 0).reshape(-1, parts.shape[3])


def _of_item(item: Any, angles: Sequence[Sequence[Array]], values: Values) -> Any:
    """Returns the numbers of gates that differ in their angles alone, complex `[numbers, 1 or gates, 1 or batch]`."""
    if item.form[0] == "start":
        return run_column(item.operations, angles, values.complex_dtype)
    if item.form[0] == "diagonal":
        ((op,), ((angle,),)) = item.operations, angles
        weights = np.repeat(phase_weights(op), 1 if op.all_qubits else 2)  # a global phase is qubit 0's
        return jax.lax.complex(*stored_cos_sin(jnp.asarray(weights, values.dtype)[:, None, None] * angle[None]))
    known = dict(zip(item.operations, angles, strict=True))
    matrices = block_matrix(item.qubits, item.operations, known, values.complex_dtype)
    return matrices.reshape(-1, *matrices.shape[2:])
