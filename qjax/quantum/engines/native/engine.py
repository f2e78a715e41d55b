"""The engines of native code: whole states, which stay in the cache, and large ones, pass by pass."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.compile.reflections import is_search
from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.compile.stages import Loop
from qjax.quantum.engines import choices
from qjax.quantum.engines.base import Description, Engine, Task, Work, nothing_saved
from qjax.quantum.engines.memory import state_bytes
from qjax.quantum.engines.native.cpu.large_states import LargeOnCpu
from qjax.quantum.engines.native.cuda import kernel_launch
from qjax.quantum.engines.native.cuda.large_states import LargeOnGpu
from qjax.quantum.engines.native.ir.jit import is_available
from qjax.quantum.engines.native.large_states import LargePlan
from qjax.quantum.engines.native.table.coefficients import coefficients
from qjax.quantum.engines.native.table.entries import Table, large_table_of, program_of
from qjax.quantum.engines.native.table.layout import Entry, form_of
from qjax.quantum.engines.native.table.native_gates import Unsupported
from qjax.quantum.engines.native.whole_states import WholePlan, whole_plan_of
from qjax.quantum.states.batch import with_batch
from qjax.types import Array


def no_code(task: Task) -> str:
    """Returns why no native code runs on the task's platform; '' where it does."""
    if not choices.USE_NATIVE:
        return "QJAX_NATIVE=0 switches native code off"
    if task.platform not in ("cpu", "cuda"):
        return f"there is none for {task.platform}"
    if not is_available():
        return "it needs llvmlite, and a 64-bit POSIX system"
    if task.platform == "cuda" and kernel_launch.gpu() is None:
        return "it needs an NVIDIA GPU of compute capability 7.0 or later, and the driver of CUDA 12 or later"
    return "a first state is given" if task.given and task.platform == "cuda" else ""


def _lacks(task: Task) -> str:
    """Returns why no native code of any form takes the task; '' where one may."""
    search = "it repeats a Grover iteration, and XLA's engine does any number of these in two passes"
    return no_code(task) or search * _repeats_a_search(task.circuit)


_LACKS_GATE = "the circuit has a gate that it lacks"


@lru_cache(maxsize=2 * MAX_KEPT_PLANS)
def _lacks_gate(plan_of: Callable[..., Any], facts: tuple[Any, ...]) -> bool:
    """Whether there is no such plan, for want of a gate; remembered here, as no plan is."""
    try:
        plan_of(*facts)
    except Unsupported:
        return True
    return False


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _repeats_a_search(circuit: Circuit) -> bool:
    """Whether some Repeat of the circuit is a Grover search."""
    if not any(isinstance(op, Repeat) for op in circuit.operations):
        return False
    stages = program_of(circuit, 0).stages
    return any(isinstance(stage, Loop) and is_search(stage, circuit.num_qubits) for stage in stages)


def _only_whole(task: Task) -> bool:
    """Whether states that are better taken pass by pass have a gate for which no part of them is large enough."""
    fits = task.platform == "cpu" and task.num_qubits <= choices.MAX_NATIVE_QUBITS
    return fits and bool(LargeStates().refusal(task))


def _description(words: str, table: Table, task: Task, passes: int) -> Description:
    """Returns what native code does: the entries of its table by kind, and their operations.

    The reverse pass undoes each gate on state and cotangent and takes the sums for its numbers: three times the work.
    """
    counts, size = Counter(table.gates_back[:, Entry.KIND].tolist()), task.batch << task.num_qubits
    made = {
        "rotation": "matrices made from an angle of each example",
        "column": "columns made of a shared matrix and a column of each example",
        "product": "products of a per-example matrix and another one",
        "start": "columns whose product is the first state",
        "controlled": "matrices on one or two qubits under controls",
        "strings": "sums of the phases of diagonal gates",
        "matrix": "matrices on three qubits or more",
        "permutation": "permutations of basis states",
        "reflection": "reflections about an even superposition",
    }
    stages, flops = [words], 0.0
    for kind, count in counts.items():
        name, qubits, controls = form_of(kind)
        under = f" under {controls} control{'s' * (controls > 1)}" if controls else ""
        gates = f"{name} gates on {qubits} qubit{'s' * (qubits > 1)}{under}"
        stages.append(f"{count} {made.get(name, gates)}")
        terms = {"dense": 2**qubits, "controlled": 2**qubits, "rotation": 0, "column": 0, "product": 0}.get(name, 1)
        each = 8 * terms - 2 if table.is_complex else 2 * terms - 1
        flops += max(0, each) * count * size / 2**controls
    if table.relabelling != Relabelling(task.num_qubits):
        stages.append("X, CX and SWAP relabel the rows, at no cost")
    moved = int(2 * passes * (1 + table.is_complex) * size * task.dtype.itemsize)
    return Description(tuple(stages), Work(passes, moved, int(flops)), Work(2 * passes, 2 * moved, int(3 * flops)))


class WholeStates(Engine):
    """Native code that takes a few examples at a time through the whole circuit, their states in the cache."""

    name = "native, whole states"

    def refusal(self, task: Task) -> str:
        missing = _lacks(task)
        if missing:
            return missing
        suits = choices.native_pays(task.platform, task.num_qubits, task.batch)
        if not suits and not _only_whole(task):
            return f"a batch of {task.batch} with {task.num_qubits} qubits does not suit it"
        if _lacks_gate(whole_plan_of, self._facts(task)):
            return _LACKS_GATE
        return "" if self._plan(task).fits else "its working memory would not fit"

    def bytes_held(self, task: Task, gradient: bool) -> int:
        return self._plan(task).bytes_held(gradient)

    def describe(self, task: Task) -> Description:
        plan = self._plan(task)
        return _description(plan.words, plan.table, task, 0)

    def rows_saved(self, task: Task) -> int:
        table = self._plan(task).table
        kept = choices.native_keeps(task.num_qubits, task.batch, task.dtype, table.work)
        return table.num_kept if kept else 0

    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        plan = self._plan(task)
        numbers = coefficients(plan.table, task.values(operands))
        return plan.run(*numbers, rows > 0, task.first_state(operands))

    def backward(
        self, task: Task, operands: Sequence[Array], saved: Array, cotangents: Sequence[Array], per_example: bool
    ) -> tuple[Array, ...]:
        task, operands = task.widened(operands) if per_example else (task, tuple(operands))
        plan = self._plan(task)
        first = task.first_state(operands)
        angles = operands[: len(operands) - len(first)]
        numbers, pull = jax.vjp(lambda *xs: coefficients(plan.table, task.values(xs)), *angles)
        of_shared, of_own, *of_first = plan.pull_back(*numbers, saved, cotangents, first)
        return *pull((of_shared, of_own)), *of_first

    def _facts(self, task: Task) -> tuple[Any, ...]:
        return task.circuit, task.readout, task.batched, task.batch, task.dtype, task.platform, task.given

    def _plan(self, task: Task) -> WholePlan:
        return whole_plan_of(*self._facts(task))


@lru_cache(maxsize=MAX_KEPT_PLANS)
def large_plan_of(
    circuit: Circuit, batched: frozenset[str], batch: int, dtype: np.dtype[Any], platform: str, given: int = 0
) -> LargePlan:
    """Returns the simulation of a circuit on large states; see `whole_plan_of`."""
    table = large_table_of(circuit, batched, platform == "cuda", given)
    return LargeOnCpu(table, batch, dtype) if platform == "cpu" else LargeOnGpu(table, batch, dtype)


def _large_plan_that_pays(*facts: Any) -> LargePlan:
    """Returns the plan; raises `Unsupported` where its passes cannot hold some gate, or do not pay."""
    plan = large_plan_of(*facts)
    if not plan.pays:
        raise Unsupported
    return plan


def _one(task: Task) -> Task:
    """Returns the task of one example of those that large states on a CPU take one after the other."""
    return replace(task, batched=frozenset(), batch=1) if task.platform == "cpu" else task


def _each(arrays: Sequence[Array]) -> dict[int, Array]:
    """Returns by its place each array that differs between examples, as `[batch, ..., 1]`."""
    return {k: jnp.moveaxis(x, -1, 0)[..., None] for k, x in enumerate(arrays) if x.shape[-1] > 1}


def _joined(arrays: Sequence[Array], each: dict[int, Array]) -> tuple[Array, ...]:
    """Returns the arrays of one example, given its part of `_each`."""
    return tuple(each.get(k, x) for k, x in enumerate(arrays))


def _batch_last(array: Array) -> Array:
    """Returns `[batch, ..., 1]` as `[..., batch]`."""
    return jnp.moveaxis(array[..., 0], 0, -1)


class LargeStates(Engine):
    """Native code that goes over large states pass by pass, a part that fits the cache after the other.

    A CPU takes one example after the other: its threads share the parts of one state.
    """

    name = "native, large states"

    def refusal(self, task: Task) -> str:
        missing = _lacks(task)
        if missing:
            return missing
        if not choices.large_pays(task.num_qubits):
            return f"{task.num_qubits} qubits do not suit it"
        one = _one(task)
        return _LACKS_GATE if _lacks_gate(_large_plan_that_pays, self._facts(one)) else ""

    def bytes_held(self, task: Task, gradient: bool) -> int:
        held = self._plan(_one(task)).bytes_held(gradient)
        saved = self.rows_saved(task) if gradient and _one(task) != task else 0
        return held + saved * task.batch * task.dtype.itemsize

    def describe(self, task: Task) -> Description:
        large = self._plan(_one(task))
        words = large.words + ", one example after the other" * (_one(task) != task)
        return _description(words, large.table, task, len(large.passes))

    def rows_saved(self, task: Task) -> int:
        kept = _one(task) == task or state_bytes(task.num_qubits, task.batch, task.dtype) <= choices.MAX_SAVED_BYTES
        return self._plan(_one(task)).table.num_kept if kept else 0

    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        one = _one(task)
        if one != task:
            results, saved = jax.lax.map(
                lambda each: self.forward(one, _joined(operands, each), rows), _each(operands)
            )
            return tuple(map(_batch_last, results)), _batch_last(saved)
        large, values = self._plan(task), task.values(operands)
        made = large.begin(values, task.first_state(operands)), *coefficients(large.table, values)
        results, final = large.run_and_read(task.readout, *made, rows > 0)
        return results, nothing_saved(task.batch, task.dtype) if final is None or not rows else final

    def backward(
        self, task: Task, operands: Sequence[Array], saved: Array, cotangents: Sequence[Array], per_example: bool
    ) -> tuple[Array, ...]:
        task, operands = task.widened(operands) if per_example else (task, tuple(operands))
        one = _one(task)
        if one != task:
            return self._backward_each(one, operands, (saved, *cotangents))
        large = self._plan(task)

        def numbers(*operands: Array) -> Any:
            values = task.values(operands)
            return large.begin(values, task.first_state(operands)), coefficients(large.table, values)

        (tensors, made), pull = jax.vjp(numbers, *operands)
        final = saved if saved.shape[0] else large.run(tensors, *made)
        of_read = tuple(with_batch(x, task.batch) for x in cotangents)
        first, *sums = large.pull_back_read(task.readout, with_batch(final, task.batch), of_read, *made)
        return tuple(pull((large.pull_back_first(tensors, first), tuple(sums))))

    def _backward_each(self, one: Task, operands: tuple[Array, ...], more: tuple[Array, ...]) -> tuple[Array, ...]:
        """Returns what `backward` does, an example after the other, in whose order the sums over them are taken."""

        def step(sums: dict[int, Array], each: Any) -> Any:
            saved, *cotangents = _joined(more, each[1])
            sums_of_one = self.backward(one, _joined(operands, each[0]), saved, cotangents, False)
            return {k: total + sums_of_one[k] for k, total in sums.items()}, {k: sums_of_one[k] for k in each[0]}

        zeros = {k: jnp.zeros_like(x) for k, x in enumerate(operands) if x.shape[-1] == 1}
        sums, parts = jax.lax.scan(step, zeros, (_each(operands), _each(more)))
        return tuple(sums[k] if k in sums else _batch_last(parts[k]) for k in range(len(operands)))

    def _facts(self, task: Task) -> tuple[Any, ...]:
        return task.circuit, task.batched, task.batch, task.dtype, task.platform, task.given

    def _plan(self, task: Task) -> LargePlan:
        return large_plan_of(*self._facts(task))
