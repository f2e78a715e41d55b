"""Applies each stage to states `[2**n, 1 or batch]`, and undoes it, in complex arithmetic.

A stage has numbers, arrays `[..., 1 or batch]` that follow from parameters and inputs. Those of a dense block are its
matrix, those of a phase or of a single operation its angles. A stage without angles has none.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_sign, permute, sign_changes
from qjax.quantum.compile.stages import Dense, Flip, Loop, Permutation, Phase, Reflection, Single, Stage
from qjax.quantum.engines.xla.search_loop import marked_rows, repeat_search
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.apply import apply_matrix, apply_operation, multiply_diagonal
from qjax.quantum.states.axes import join_qubits, num_qubits_of, split_axes, split_qubits, spread_qubits
from qjax.quantum.states.matrices import block_matrices, constant_matrix, phase_weights
from qjax.quantum.states.sums import sum_rows
from qjax.quantum.states.trigonometry import cos_sin
from qjax.types import Array

Numbers = tuple[Any, ...]
# Products over shorter rows are left to XLA's own order of the axes, which copies both states.
MIN_ROW = 64


def numbers_of(stages: Sequence[Stage], values: Values) -> tuple[Numbers, ...]:
    """Returns the numbers of each stage, those of each repetition of a loop stacked; blocks are built together."""
    numbers: list[Numbers] = [()] * len(stages)
    blocks = []
    for i, stage in enumerate(stages):
        if isinstance(stage, Dense) and constant_matrix(stage.operations, stage.qubits) is None:
            blocks.append(i)
        elif isinstance(stage, Phase):
            numbers[i] = tuple(values.small_angles([op.angles[0] for op in stage.operations if op.angles]))
        elif isinstance(stage, Single):
            numbers[i] = tuple(values.each(stage.operation.angles))
        elif isinstance(stage, Loop) and stage.names:
            body = stage.body
            numbers[i] = jax.vmap(lambda slices, body=body: numbers_of(body, values.inside_loop(slices)))(
                values.slices(stage.names)
            )
        elif isinstance(stage, Loop):
            numbers[i] = numbers_of(stage.body, values)
    matrices = block_matrices([(stages[i].qubits, stages[i].operations) for i in blocks], values)  # type: ignore[union-attr]
    for i, matrix in zip(blocks, matrices, strict=True):
        numbers[i] = (jnp.asarray(matrix),)
    return tuple(numbers)


def keeps_real(stage: Stage) -> bool:
    """Whether `apply` takes a real array too, and leaves it real."""
    return isinstance(stage, Permutation | Flip | Reflection | Loop)


def apply(stage: Stage, numbers: Numbers, state: Array) -> Array:
    """Returns the state after a stage; of loops it takes those that are Grover's search."""
    if isinstance(stage, Dense):
        return apply_matrix(
            state, numbers[0] if numbers else constant_matrix(stage.operations, stage.qubits), stage.qubits
        )
    if isinstance(stage, Phase):
        return state * _phase_factor(stage, numbers, state)
    if isinstance(stage, Permutation):
        return permute(state, stage.operations)
    if isinstance(stage, Flip):
        return _flip(state, stage.operations)
    if isinstance(stage, Reflection):
        split = split_qubits(state, stage.qubits)
        return join_qubits(split - 2 * split.mean(axis=0, keepdims=True), stage.qubits)
    if isinstance(stage, Loop):
        return repeat_search(stage, state, back=False)
    return apply_operation(state, stage.operation, numbers)


def undo(stage: Stage, numbers: Numbers, state: Array) -> Array:
    """Returns the state before a unitary stage that `apply` takes, given the one after it."""
    if isinstance(stage, Dense):
        matrix: Any = numbers[0] if numbers else constant_matrix(stage.operations, stage.qubits)
        return apply_matrix(state, matrix.conj().swapaxes(0, 1), stage.qubits)
    if isinstance(stage, Phase):
        return state * _phase_factor(stage, numbers, state).conj()
    if isinstance(stage, Permutation):
        return permute(state, [inverse for op in reversed(stage.operations) for inverse in op.inverse()])
    if isinstance(stage, Flip | Reflection):
        return apply(stage, numbers, state)
    if isinstance(stage, Loop):
        return repeat_search(stage, state, back=True)
    return lax.conj(jax.linear_transpose(lambda x: apply(stage, numbers, x), state)(lax.conj(state))[0])


def cotangents(stage: Stage, numbers: Numbers, before: Array, costate: Array) -> Numbers:
    """Returns the cotangent of each number of a stage that `apply` takes.

    Args:
      stage: what was applied.
      numbers: of the stage.
      before: the state before it.
      costate: the conjugate of the cotangent of the state after it.
    """
    if not jax.tree.leaves(numbers):
        return numbers
    cotangent = costate.conj()
    if isinstance(stage, Dense):
        return (_matrix_cotangent(cotangent, before, stage.qubits, numbers[0].shape[-1] > 1),)
    if isinstance(stage, Phase):  # d(e^(i phase) before) = i e^(i phase) before d(phase)
        after = before * _phase_factor(stage, numbers, before)
        slopes = -lax.imag(cotangent * after)
        if all(x.shape[-1] == 1 for x in numbers):
            slopes = slopes.sum(axis=-1, keepdims=True)
        n = num_qubits_of(before)
        return tuple(jax.vjp(lambda xs: _total_phase(stage, xs, n, slopes.dtype), numbers)[1](slopes)[0])
    return tuple(jax.vjp(lambda xs: apply(stage, xs, before), numbers)[1](cotangent)[0])


def are_side_by_side(*blocks: tuple[Stage, Numbers]) -> bool:
    """Whether these are blocks on neighbouring qubits, with matrices of angles that all examples share."""
    if not all(isinstance(stage, Dense) and numbers and numbers[0].shape[-1] == 1 for stage, numbers in blocks):
        return False
    qubits = [q for stage, _ in blocks for q in stage.qubits]  # type: ignore[union-attr]
    return qubits == list(range(qubits[0], qubits[0] + len(qubits)))


def pair_cotangents(blocks: Sequence[tuple[Dense, Numbers]], before: Array, costate: Array) -> list[Numbers]:
    """Returns the `cotangents` of two blocks side by side, given the state before both: one sum over the states."""
    first, second = (matrix[..., 0] for _, (matrix,) in blocks)
    qubits = [q for stage, _ in blocks for q in stage.qubits]
    whole = _matrix_cotangent(costate.conj(), before, qubits, False).reshape(2 * (len(first), len(second)))
    products = ("rscd,sd->rc", second), ("rscd,rc->sd", first)
    return [(jnp.einsum(word, whole, other, precision=lax.Precision.HIGHEST)[..., None],) for word, other in products]


def _matrix_cotangent(cotangent: Array, before: Array, qubits: Sequence[int], by_example: bool) -> Array:
    """Returns the sum over the other qubits, and over examples that share the matrix, of cotangent[r] before[c]."""
    if by_example:
        left, right = split_qubits(cotangent, qubits), split_qubits(before, qubits)
        return jnp.stack([jnp.stack([sum_rows(row * column) for column in right]) for row in left])
    dim, row = 2 ** len(qubits), len(before) * before.shape[-1] >> (qubits[-1] + 1)
    if qubits[-1] - qubits[0] == len(qubits) - 1 and row >= MIN_ROW:
        left, right = (x.reshape(-1, dim, row) for x in (cotangent, before))
        return jnp.einsum("grm,gcm->grc", left, right, precision=lax.Precision.HIGHEST).sum(axis=0)[..., None]
    (left, axes), (right, _) = split_axes(cotangent, qubits), split_axes(before, qubits)
    others = [axis for axis in range(left.ndim) if axis not in axes]
    pairs = lax.dot_general(left, right, ((others, others), ((), ())), precision=lax.Precision.HIGHEST)
    return pairs.reshape(dim, dim, 1)


def _phase_factor(stage: Phase, numbers: Numbers, state: Array) -> Array:
    """Returns e^(i phase) of each basis state, `[2**n, 1 or batch]`."""
    cosine, sine = cos_sin(_total_phase(stage, numbers, num_qubits_of(state), lax.real(state).dtype))
    return lax.complex(cosine, sine)


def _total_phase(stage: Phase, numbers: Numbers, n: int, dtype: Any) -> Array:
    """Returns the phase of each basis state, the sum of those of all operations, `[2**n, 1 or batch]`."""
    angles, total = iter(numbers), jnp.zeros((1, 1), dtype)
    local = [
        phase_weights(op).astype(dtype)[:, None] * (next(angles)[None] if op.angles else 1) for op in stage.operations
    ]
    pairs = zip(stage.operations, local, strict=True)
    for op, phases in sorted(pairs, key=lambda pair: pair[1].shape[-1]):  # shared ones first
        total = total + spread_qubits(jnp.asarray(phases), op.all_qubits, n)
    return total


def _flip(state: Array, operations: Sequence[Operation]) -> Array:
    """Applies diagonal operations whose phases are 0 and pi: changes the signs of some amplitudes."""
    n = num_qubits_of(state)
    conditional = [op for op in operations if conditional_sign(op) is not None]
    for op in operations:
        if op not in conditional:
            changed: Any = sign_changes(op)
            state = multiply_diagonal(state, np.where(changed, -1, 1)[:, None], op.all_qubits)
    return jnp.where(marked_rows(conditional, lax.iota(np.int32, 2**n), n)[:, None], -state, state)
