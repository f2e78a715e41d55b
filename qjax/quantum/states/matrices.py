"""Small matrices of operations and of runs of operations, multiplied before they are applied to the state.

A matrix is `[d, d, 1 or count, 1 or batch]`: `count` runs or blocks of one form are built together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, islice, pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.reduction import number_within_period
from qjax.quantum.states.row_numbers import source_rows
from qjax.types import Array

# A NumPy constant as long as every factor is one, a traced array after that.
Matrix = Any


def alike_angles(angles: Sequence[Array]) -> list[Array]:
    """Broadcasts angles `[1 or batch]`, or `[1 or count, 1 or batch]`, to one shape."""
    shape = np.broadcast_shapes(*(angle.shape for angle in angles))
    return [jnp.broadcast_to(angle, shape) for angle in angles]


def _operation_matrix(op: Operation, angles: Sequence[Array], dtype: Any) -> Matrix:
    """Returns the matrix on `op.all_qubits`, controls first."""
    matrix = op.gate.matrix(*angles) if angles else op.gate.matrix().astype(dtype)[:, :, None, None]
    return _under_controls(matrix, op.control_values)


def _under_controls(matrix: Matrix, control_values: tuple[int, ...]) -> Matrix:
    """Returns a matrix `[d, d, ...]` under controls, put first: in one block, the identity in others."""
    if not control_values:
        return matrix
    dim, more_axes = matrix.shape[0], tuple(range(2, matrix.ndim))
    before = dim * int("".join(map(str, control_values)), 2)
    after = dim * 2 ** len(control_values) - dim - before
    identity = np.diag([1] * before + [0] * dim + [1] * after).astype(matrix.dtype)
    module = np if isinstance(matrix, np.ndarray) else jnp
    padded = module.pad(matrix, ((before, after), (before, after), *[(0, 0)] * len(more_axes)))
    return padded + np.expand_dims(identity, more_axes)


def product(left: Matrix, right: Matrix) -> Matrix:
    """Returns left @ right for each entry of the further axes."""
    return (left[:, :, None] * right[None]).sum(axis=1)


def kron(left: Matrix, right: Matrix) -> Matrix:
    """Returns the Kronecker product: `left` acts on the more significant qubit."""
    rows, columns = left.shape[0] * right.shape[0], left.shape[1] * right.shape[1]
    spread = left[:, None, :, None] * right[None, :, None, :]
    return spread.reshape(rows, columns, *spread.shape[4:])


def run_matrix(run: Sequence[Operation], angles: Sequence[Sequence[Array]], dtype: Any) -> Matrix:
    """Returns the 2 x 2 product of a run of operations on one qubit, or on none; the identity for an empty run."""
    matrix: Matrix = np.eye(2, dtype=dtype)[:, :, None, None]
    for i, (op, op_angles) in enumerate(zip(run, angles, strict=True)):
        factor = _operation_matrix(op, op_angles, dtype)
        is_global_phase = factor.shape[0] == 1
        matrix = factor * matrix if is_global_phase else product(factor, matrix) if i else factor
    return matrix


# Blocks: those that differ only in their angles are built together. -------------------------------------------

Block = tuple[tuple[int, ...], tuple[Operation, ...]]
# Part of a block, in order: operations on its qubits at some places, either a run on one or a single one on more.
Part = tuple[tuple[int, ...], tuple[Operation, ...]]


def block_matrices(blocks: Sequence[Block], values: Values) -> list[Matrix]:
    """Returns the matrix `[d, d, 1 or batch]` of each block, (qubits, operations); the first qubit is the most
    significant.

    Runs of operations on one qubit, of all blocks, that differ in their angles alone are built as one computation; so
    are the products of blocks of one form. Built one by one they would cost more than small states do.
    """
    parts = [block_parts(*block) for block in blocks]
    entries = iter(_part_matrices([part for block in parts for part in block], values))
    factors = [list(islice(entries, len(block))) for block in parts]
    groups: dict[Any, list[int]] = {}
    for i, block in enumerate(parts):
        form = tuple(
            (places, (ops[0].gate, ops[0].control_values) if len(places) > 1 else None, entry.matrices.shape[3] > 1)
            for (places, ops), entry in zip(block, factors[i], strict=True)
        )
        groups.setdefault(form, []).append(i)
    matrices: list[Any] = [None] * len(blocks)
    for members in groups.values():
        first = members[0]
        stacked = [_side_by_side(entries) for entries in zip(*(factors[m] for m in members), strict=True)]
        whole = _block_matrix(parts[first], stacked, len(blocks[first][0]))
        for i, m in enumerate(members):
            matrices[m] = whole[:, :, i] if whole.shape[2] > 1 else whole[:, :, 0]
    return matrices


def block_matrix(
    qubits: tuple[int, ...], operations: Sequence[Operation], angles: Mapping[Operation, Sequence[Array]], dtype: Any
) -> Matrix:
    """Returns the matrices of a block, `[d, d, 1 or count, 1 or batch]`.

    Args:
      qubits: the first one is the most significant.
      operations: of the block.
      angles: of each operation `[1 or count, 1 or batch]`.
      dtype: complex dtype.
    """
    parts = block_parts(qubits, operations)
    factors = [run_matrix(ops, [angles[op] for op in ops], dtype) for _, ops in parts]
    return _block_matrix(parts, factors, len(qubits))


# A gate whose angles are numbers: (gate, control values, angles, whether entries within 1e-15 of an integer are
# rounded to it). Multiples of pi are not exact in floating point, but this makes their cosines and sines exact.
FixedGate = tuple[Gate, tuple[int, ...], tuple[float, ...], bool]
# A block: its number of qubits, and such gates in order, each with the places of its qubits in the block.
FixedBlock = tuple[int, Sequence[tuple[tuple[int, ...], FixedGate]]]
_ROUNDING = 1e-15


@lru_cache(maxsize=1024)
def constant_matrix(operations: tuple[Operation, ...], qubits: tuple[int, ...]) -> np.ndarray | None:
    """Returns the block's unitary `[d, d]` in complex128 where it has no angle."""
    if any(not angle.is_constant for op in operations for angle in op.angles):
        return None
    return constant_matrices([fixed_block(operations, qubits)])[0]


def fixed_block(operations: Sequence[Operation], qubits: tuple[int, ...]) -> FixedBlock:
    """Returns operations without unknown angles as `constant_matrices` takes them."""
    return len(qubits), [
        (
            tuple([qubits.index(q) for q in op.all_qubits]),
            (op.gate, op.control_values, tuple([angle.shift for angle in op.angles]), False),
        )
        for op in operations
    ]


def constant_matrices(blocks: Sequence[FixedBlock]) -> list[np.ndarray]:
    """Returns the unitary `[d, d]` of each block in complex128; blocks of one form are multiplied together."""
    factors = _fixed_matrices({gate for _, parts in blocks for _, gate in parts})
    groups: dict[Any, list[int]] = {}
    for i, (width, parts) in enumerate(blocks):
        groups.setdefault((width, tuple([places for places, _ in parts])), []).append(i)
    matrices: list[Any] = [None] * len(blocks)
    for (width, all_places), members in groups.items():
        whole = np.repeat(np.eye(2**width, dtype=np.complex128)[:, :, None], len(members), axis=2)
        for k, places in enumerate(all_places):
            factor = np.stack([factors[blocks[i][1][k][1]] for i in members], axis=-1)
            whole = _on_rows(factor, whole, places) if places else factor * whole
        for matrix, i in zip(np.ascontiguousarray(np.moveaxis(whole, -1, 0)), members, strict=True):
            matrices[i] = matrix
    return matrices


def _fixed_matrices(gates: Iterable[FixedGate]) -> dict[FixedGate, np.ndarray]:
    """Returns the matrix `[d, d]` of each gate under its controls, those that differ in angles alone at once."""
    alike: dict[Any, list[FixedGate]] = {}
    for one in gates:
        alike.setdefault((one[0], one[1], one[3]), []).append(one)
    matrix_of: dict[FixedGate, np.ndarray] = {}
    for (gate, control_values, rounded), members in alike.items():
        angles = np.array([one[2] for one in members]).T
        matrices = np.asarray(gate.matrix(*angles), np.complex128).reshape(2**gate.num_qubits, 2**gate.num_qubits, -1)
        if rounded:
            parts = matrices.view(np.float64)
            near = np.abs(parts - np.round(parts)) < _ROUNDING
            matrices = np.where(near, np.round(parts), parts).view(np.complex128)
        whole = _under_controls(matrices, control_values)
        matrix_of |= {one: whole[:, :, k] for k, one in enumerate(members)}
    return matrix_of


def block_parts(qubits: tuple[int, ...], operations: Sequence[Operation]) -> list[Part]:
    """Returns the parts of a block: first a run on each qubit, then the other operations in order."""
    runs: dict[int, list[Operation]] = {q: [] for q in qubits}
    parts: list[Part] = []

    def close(wanted: Sequence[int]) -> None:
        for q in wanted:
            if runs[q] or len(parts) < len(qubits):
                parts.append(((qubits.index(q),), tuple(runs[q])))
                runs[q] = []

    for op in operations:
        if len(op.all_qubits) < 2:
            runs[op.all_qubits[0] if op.all_qubits else qubits[0]].append(op)
            continue
        close(op.all_qubits if parts else qubits)
        parts.append((tuple(qubits.index(q) for q in op.all_qubits), (op,)))
    close(qubits)
    return parts


def _block_matrix(parts: Sequence[Part], factors: Sequence[Matrix], k: int) -> Matrix:
    """Returns the product of a block's parts: Kronecker products of the first k, on whose rows the others act."""
    whole = factors[0]
    for factor in factors[1:k]:
        whole = kron(whole, factor)
    for (places, ops), factor in zip(parts[k:], factors[k:], strict=True):
        if len(places) > 1 and ops[0].gate.structure == "permutation":
            moved = replace(ops[0], qubits=places[len(ops[0].controls) :], controls=places[: len(ops[0].controls)])
            whole = whole[source_rows(moved, k)]
        else:
            whole = _on_rows(factor, whole, places)
    return whole


class _Entry(NamedTuple):
    """One of the matrices `[d, d, count, 1 or batch]` that were built together."""

    matrices: Matrix
    place: int


def _part_matrices(parts: Sequence[Part], values: Values) -> list[_Entry]:
    """Returns the matrix of each part; those of one form are built together."""
    matrices: list[Any] = [None] * len(parts)
    for members, ops, angles in _by_form([ops for _, ops in parts], values):
        whole = run_matrix(ops, angles, values.complex_dtype)
        for i, m in enumerate(members):
            matrices[m] = _Entry(whole, i if whole.shape[2] > 1 else 0)
    return matrices


def _by_form(
    runs: Sequence[tuple[Operation, ...]], values: Values
) -> Iterator[tuple[list[int], tuple[Operation, ...], list[list[Array]]]]:
    """Groups runs of operations that differ in their angles alone.

    Yields:
      of each group the places of its runs in `runs`, the first of them, and the angles of each of its operations,
      `[1 or count, 1 or batch]`.
    """
    groups: dict[Any, list[int]] = {}
    for i, ops in enumerate(runs):
        form = tuple((op.gate, op.control_values, tuple(map(values.is_batched, op.angles))) for op in ops)
        groups.setdefault(form, []).append(i)
    for members in groups.values():
        ops = runs[members[0]]
        angles = [
            alike_angles([values.stacked([runs[m][place].angles[j] for m in members]) for j in range(len(op.angles))])
            for place, op in enumerate(ops)
        ]
        yield members, ops, angles


def start_columns(runs: Sequence[tuple[Operation, ...]], values: Values) -> list[Any]:
    """Returns what each run of operations on one qubit makes of |0>, `[2, 1 or batch]`; NumPy's of a constant run."""
    columns: list[Any] = [None] * len(runs)
    fixed = [i for i, run in enumerate(runs) if all(angle.is_constant for op in run for angle in op.angles)]
    blocks = [fixed_block(runs[i], max((op.all_qubits for op in runs[i]), default=()) or (0,)) for i in fixed]
    for i, matrix in zip(fixed, constant_matrices(blocks), strict=True):
        columns[i] = matrix[:, :1].astype(values.complex_dtype)
    rest = [i for i in range(len(runs)) if columns[i] is None]
    for members, ops, angles in _by_form([runs[i] for i in rest], values):
        whole = run_column(ops, angles, values.complex_dtype)
        for i, m in enumerate(members):
            columns[rest[m]] = whole[:, i if whole.shape[1] > 1 else 0]
    return columns


def run_column(run: Sequence[Operation], angles: Sequence[Sequence[Array]], dtype: Any) -> Matrix:
    """Returns the first column of `run_matrix`, `[2, 1 or count, 1 or batch]`.

    Neighbours without a batch are multiplied first; one with a batch meets a vector only.
    """
    batched = [any(angle.shape[-1] > 1 for angle in op_angles) for op_angles in angles]
    column: Matrix = None
    for _, group in groupby(range(len(run)), lambda i: i if batched[i] else -1):
        places = list(group)
        matrix = run_matrix([run[i] for i in places], [angles[i] for i in places], dtype)
        column = matrix[:, 0] if column is None else (matrix * column[None]).sum(axis=1)
    return run_matrix((), (), dtype)[:, 0] if column is None else column


def _side_by_side(entries: Sequence[_Entry]) -> Matrix:
    """Returns several matrices as `[d, d, count, batch]`, or as `[d, d, 1, batch]` where they are the same one."""
    whole, first = entries[0].matrices, entries[0].place
    if all(entry.matrices is whole for entry in entries):  # then one slice, where there is a stride
        steps = {b.place - a.place for a, b in pairwise(entries)} or {0}
        if steps == {0}:
            return whole[:, :, first : first + 1]
        if len(steps) == 1 and min(steps) > 0:
            return whole[:, :, first : entries[-1].place + 1 : steps.pop()]
    matrices = [entry.matrices[:, :, entry.place : entry.place + 1] for entry in entries]
    module = np if all(isinstance(m, np.ndarray) for m in matrices) else jnp
    return module.concatenate(matrices, axis=2)


def _on_rows(factor: Matrix, matrix: Matrix, places: tuple[int, ...]) -> Matrix:
    """Returns factor @ matrix, with the factor on the row bits `places` of the matrix."""
    k = matrix.shape[0].bit_length() - 1
    bits = matrix.reshape((2,) * k + matrix.shape[1:])
    order = (*places, *(i for i in range(bits.ndim) if i not in places))
    front = bits.transpose(order)
    rows = front.reshape(2 ** len(places), -1, *matrix.shape[2:])
    done = product(factor, rows)
    wide = done.reshape(*front.shape[: k + 1], *done.shape[2:])
    return wide.transpose(np.argsort(order)).reshape(matrix.shape[:2] + done.shape[2:])


def phase_weights(op: Operation) -> np.ndarray:
    """Returns the phase of each basis state of `op.all_qubits`, for an angle of 1 where the gate has one, `[2**k]`.

    Every diagonal gate with an angle is exp(i weight angle), with weights of at most 1.
    """
    return _phase_weights(op.gate, op.control_values)


@lru_cache
def _phase_weights(gate: Gate, control_values: tuple[int, ...]) -> np.ndarray:
    assert gate.diagonal is not None
    local = np.angle(gate.diagonal(*(np.float64(1.0),) * gate.num_angles))
    whole = np.zeros((2,) * len(control_values) + local.shape)
    whole[control_values] = local
    return whole.reshape(-1)


def constant_phases(op: Operation) -> np.ndarray | None:
    """Returns the phase of each basis state of a diagonal operation, `[2**k]`; None where an angle is no number."""
    if not all(angle.is_constant for angle in op.angles):
        return None
    return phase_weights(op) * (number_within_period(op.angles[0].shift) if op.angles else 1.0)
