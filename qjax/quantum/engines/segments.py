"""Native code for most of a circuit, and plain JAX for what it lacks, segment by segment."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS, Blocks, compile_circuit
from qjax.quantum.engines.base import Description, Engine, Task, Work, nothing_saved
from qjax.quantum.engines.memory import state_bytes
from qjax.quantum.engines.native.engine import LargeStates, WholeStates, no_code
from qjax.quantum.engines.readouts import StateReadout
from qjax.quantum.engines.xla.engine import XlaEngine
from qjax.types import Array

NATIVE, XLA = (WholeStates(), LargeStates()), XlaEngine()
# An engine and what it runs.
Segment = tuple[Engine, Task]


class Segments(Engine):
    """Runs what native code takes of a circuit by native code, on CPUs, and the rest by XLA's engine."""

    name = "native and XLA, in segments"

    def refusal(self, task: Task) -> str:
        missing = no_code(task) or ("" if task.platform == "cpu" else "it is for CPUs")
        if missing:
            return missing
        engines = {segment[0].name for segment in _segments(task)}
        return "" if len(engines) > 1 else f"one engine runs all of it: {engines.pop()}"

    def bytes_held(self, task: Task, gradient: bool) -> int:
        segments, one = _segments(task), state_bytes(task.num_qubits, task.batch, task.dtype)
        # States go from one segment to the next, and the reverse pass has those before and after each.
        more = one * (2 * len(segments) if gradient else 1)
        return max(engine.bytes_held(part, gradient) for engine, part in segments) + more

    def describe(self, task: Task) -> Description:
        found = [(engine, engine.describe(part)) for engine, part in _segments(task)]
        stages = tuple(f"{engine.name}: {stage}" for engine, told in found for stage in told.stages)
        return Description(
            stages, sum((told.forward for _, told in found), Work()), sum((told.reverse for _, told in found), Work())
        )

    def rows_saved(self, task: Task) -> int:
        return 0

    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        return _run(task, *operands), nothing_saved(task.batch, task.dtype)

    def backward(
        self, task: Task, operands: Sequence[Array], saved: Array, cotangents: Sequence[Array], per_example: bool
    ) -> tuple[Array, ...]:
        task, operands = task.widened(operands) if per_example else (task, tuple(operands))
        return tuple(jax.vjp(lambda *xs: _run(task, *xs), *operands)[1](tuple(cotangents)))


def _run(task: Task, *operands: Array) -> tuple[Array, ...]:
    """Returns what is read, each `[..., batch]`; a segment is given the state that the one before it reads."""
    results = task.first_state(operands)
    for engine, part in _segments(task):
        results = _differentiable(engine, part)(*_operands_of(part, task, operands), *results)
    return results


def _operands_of(part: Task, task: Task, operands: Sequence[Array]) -> list[Array]:
    """Returns the parameters and inputs of a segment, of the shapes that it states."""
    places = {name: k for k, name in enumerate(task.circuit.parameter_shapes)}
    shapes = [(places[name], shape) for name, shape in part.circuit.parameter_shapes.items()]
    return [
        operands[k][tuple(map(slice, shape))] for k, shape in (*shapes, (len(places), (part.circuit.num_inputs,)))
    ]


def _differentiable(engine: Engine, part: Task) -> Callable[..., tuple[Array, ...]]:
    """Returns what an engine reads as a function of the operands whose reverse pass is the engine's."""

    def run(*operands: Array) -> tuple[Array, ...]:
        return engine.forward(part, operands, 0)[0]

    def save(*operands: Array) -> Any:
        results, saved = engine.forward(part, operands, engine.rows_saved(part))
        return results, (operands, saved)

    def pull_back(kept: Any, cotangents: tuple[Array, ...]) -> tuple[Array, ...]:
        operands, saved = kept
        return engine.backward(part, operands, saved, cotangents, False)

    differentiable = jax.custom_vjp(run)
    differentiable.defvjp(save, pull_back)
    return differentiable


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _segments(task: Task) -> tuple[Segment, ...]:
    """Returns the segments in order; a product state before one of XLA's engine is a part of that."""
    n, pieces = task.num_qubits, [(False, task.circuit.operations)]
    if _native(_part(task, (), 2)):  # for such states there is native code at all
        pieces = _split(task, task.circuit.operations)
    if len(pieces) > 1 and not task.given and not compile_circuit(Circuit(n, pieces[0][1]), True, Blocks()).stages:
        (_, first), (is_native, second), *rest = pieces
        pieces = [(False, (*first, *second)), *rest]
    segments = []
    for k, (is_native, operations) in enumerate(pieces):
        part = _part(task, operations, task.given if k == 0 else 2)
        part = replace(part, readout=task.readout) if k == len(pieces) - 1 else part
        segments.append(((is_native and _native(part)) or XLA, part))
    return tuple(segments)


def _split(task: Task, operations: tuple[Any, ...]) -> list[tuple[bool, tuple[Any, ...]]]:
    """Returns the operations in runs, each with whether native code takes it; finds them by halving."""
    is_native = _native(_part(task, operations, 2)) is not None
    if is_native or len(operations) <= 1:
        return [(is_native, operations)]
    half = len(operations) // 2
    pieces = _split(task, operations[:half])
    for takes, more in _split(task, operations[half:]):
        if pieces[-1][0] == takes:
            pieces[-1] = takes, (*pieces[-1][1], *more)
        else:
            pieces.append((takes, more))
    return pieces


def _part(task: Task, operations: tuple[Any, ...], given: int) -> Task:
    """Returns the task to run some of the operations and to read the state."""
    circuit = Circuit(task.num_qubits, operations)
    batched = task.batched & {*circuit.parameter_shapes, "inputs"}
    return replace(task, circuit=circuit, readout=StateReadout(), given=given, batched=batched)


def _native(task: Task) -> Engine | None:
    return next((engine for engine in NATIVE if not engine.refusal(task)), None)
