"""The engine of plain JAX code, in its old form; `engine.py` takes its place."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS, Blocks, compile_circuit
from qjax.quantum.engines.base import Description, Engine, Task, Work, nothing_saved
from qjax.quantum.engines.choices import block_qubits, is_wide, one_matrix_pays
from qjax.quantum.engines.readouts import ExpectationReadout, is_linear
from qjax.quantum.engines.xla.chunks import batch_of_tree
from qjax.quantum.engines.xla.loop_step import run, run_back
from qjax.quantum.engines.xla.plan import Plan, make_plan
from qjax.quantum.engines.xla.planes import from_complex, to_complex
from qjax.quantum.engines.xla.steps import GatherStep
from qjax.quantum.states.barriers import barrier, stored
from qjax.quantum.states.batch import batch_of, with_batch
from qjax.types import Array


class XlaEngine(Engine):
    """Plain JAX code."""

    name = "XLA"

    def refusal(self, task: Task) -> str:
        return ""

    def bytes_held(self, task: Task, gradient: bool) -> int:
        return (8 if gradient else 3) * 2 * task.dtype.itemsize * task.batch << task.num_qubits

    def describe(self, task: Task) -> Description:
        return Description((), Work(), Work())

    def rows_saved(self, task: Task) -> int:
        return 0

    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        plan, batch = _plan(task), batch_of(operands)
        first, tensors = self._begin(task, plan, operands)
        results = self._read(task, plan, run(plan.steps, self._first(task, plan, first), tensors), batch)
        wide = tuple(with_batch(x, batch) for x in results)
        wide = tuple(map(stored, wide)) if isinstance(task.readout, ExpectationReadout) else wide
        return wide, nothing_saved(task.batch, task.dtype)

    def backward(
        self, task: Task, operands: Sequence[Array], saved: Array, cotangents: Sequence[Array], per_example: bool
    ) -> tuple[Array, ...]:
        plan, batch = _plan(task), task.batch
        begin = self._begin(task, plan, operands)
        wide = tuple(with_batch(x, batch) for x in operands) if per_example else tuple(operands)
        tensors, pull = jax.vjp(lambda *xs: self._begin(task, plan, xs), *wide)
        found = self._back(task, plan, begin, tuple(cotangents), per_example)
        return tuple(pull(jax.tree.map(_fit, found, tensors)))

    def _back(self, task: Task, plan: Plan, begin: Any, cotangents: Any, per_example: bool) -> Any:
        first, tensors = begin
        state = self._first(task, plan, first)
        final = run(plan.steps, state, tensors)
        batch = batch_of_tree((begin, cotangents))
        amplitudes = with_batch(final, batch) if per_example else final
        cotangent = barrier(jax.vjp(lambda x: self._read(task, plan, x, batch), amplitudes)[1](cotangents)[0])
        _, cotangent, slopes = run_back(plan.steps, final, cotangent, tensors, None, per_example)
        if per_example:
            first = jax.tree.map(lambda x: with_batch(x, batch), first)
            cotangent = with_batch(cotangent, batch)
        elif cotangent.shape != state.shape:  # the first state is shared
            cotangent = cotangent.sum(axis=-1, keepdims=True)
        return self._pull_back_first(task, plan, first, cotangent), slopes

    def _begin(self, task: Task, plan: Plan, operands: Sequence[Array]) -> tuple[Any, Any]:
        values = task.values(operands)
        first = task.first_state(operands) if task.given else plan.start_tensors(values)
        return first, plan.tensors(values)

    def _first(self, task: Task, plan: Plan, parts: Any) -> Array:
        if not task.given:
            return plan.prepare(parts)
        return from_complex(parts[0] if task.given == 1 else jax.lax.complex(*parts), plan.before)

    def _pull_back_first(self, task: Task, plan: Plan, parts: Any, cotangent: Array) -> Any:
        if not task.given:
            return plan.pull_back_start(parts, cotangent)
        return jax.vjp(lambda x: self._first(task, plan, x), parts)[1](cotangent)[0]

    def _read(self, task: Task, plan: Plan, final: Array, batch: int) -> tuple[Array, ...]:
        readout = task.readout.before(plan.dropped) if plan.dropped else task.readout
        return tuple(with_batch(x, batch) for x in readout(to_complex(final, plan.after)))


def _fit(cotangent: Array, tensor: Array) -> Array:
    """Returns the cotangent in the shape of its tensor; one for each example of a constant goes nowhere."""
    return cotangent if cotangent.shape == tensor.shape else cotangent[..., :1]


def _plan(task: Task) -> Plan:
    return plan_of(task.circuit, task.given, task.batched, task.batch, task.readout.folds)


@lru_cache(maxsize=MAX_KEPT_PLANS)
def plan_of(circuit: Circuit, given: int, batched: frozenset[str], batch: int, folds: bool = False) -> Plan:
    """Returns the plan of a circuit for a batch."""
    n = circuit.num_qubits
    blocks = Blocks(
        block_qubits(n, batch),
        batched,
        take_permutations=False,
        across_layers=is_wide(n, batch),
        num_all=n,
        joined=batch if one_matrix_pays(n, batch, sys.maxsize) else 0,  # for however many stages there are
    )
    plan = make_plan(compile_circuit(circuit, given == 0, blocks), real_start=given == 1)
    last = plan.steps[-1] if plan.steps else None
    if not folds or not isinstance(last, GatherStep) or not is_linear(last.operations):
        return plan
    rest = {"steps": plan.steps[:-1], "sources": plan.sources[:-1]}
    return replace(plan, after=last.before, dropped=last.operations, **rest)  # type: ignore[arg-type]
