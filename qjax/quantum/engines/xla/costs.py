"""What a plan costs: the work of its steps, forwards and backwards, and the memory that it holds at once.

The figures are a count by the model of `step_work.py`, not a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax.numpy as jnp

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.compile.stages import ProductState, Unitary
from qjax.quantum.engines.choices import chunk_size, saves_states
from qjax.quantum.engines.memory import check_bytes
from qjax.quantum.engines.xla.loop_step import LoopStep
from qjax.quantum.engines.xla.operation_step import OperationStep
from qjax.quantum.engines.xla.passes import passes_of
from qjax.quantum.engines.xla.plan import Plan
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.search_loop import MAX_FUSED, is_search
from qjax.quantum.engines.xla.step_work import (
    PARTS,
    Reverse,
    ReversePass,
    Setting,
    Work,
    matrix_shape,
    operations_of,
    total,
)
from qjax.quantum.engines.xla.steps import MatrixStep, MoveStep, ReflectionStep, Step
from qjax.quantum.measure.observables import Observable, PauliString, PauliSum


@dataclass(frozen=True)
class StepCost:
    """What one step of a plan costs.

    Attributes:
      kind: in plain words.
      qubits: that it acts on, () for all of them.
      place_before: number of qubits before the bit that tells real from imaginary parts; None for a real state.
      place_after: the same after the step.
      matrix: rows and columns of its real matrix, None where it is none.
      content: 'constant', 'shared' by all examples, 'per example', or '' where the step has no numbers of its own.
      tensor_bytes: size of its numbers that follow from parameters and inputs, of all repetitions.
      forward: applying it, all repetitions together.
      reverse: taking the state and its cotangent back through it, and the cotangents of its numbers.
      reps: repetitions, more than 1 for a loop.
      slices: how many of the repetitions have numbers of their own; 1 where all share them.
      body: of a loop, one repetition.
    """

    kind: str
    qubits: tuple[int, ...]
    place_before: int | None
    place_after: int | None
    matrix: tuple[int, int] | None
    content: str
    tensor_bytes: int
    forward: Work
    reverse: Work
    reps: int = 1
    slices: int = 1
    body: tuple["StepCost", ...] = ()


# Steps and plans. -------------------------------------------------------------------------------------------


def step_costs(
    steps: Sequence[Step],
    sources: Sequence[Any],
    width: int,
    final_width: int,
    setting: Setting,
    inside: bool = False,
) -> tuple[StepCost, ...]:
    """Returns the cost of each step.

    Args:
      steps: of a plan or a loop's body.
      sources: of the steps.
      width: examples in the state before them: 1 as long as nothing differs between examples.
      final_width: examples in the states of the reverse pass.
      setting: see there.
      inside: whether they are a loop's body, which always takes the state back too.
    """
    found: list[StepCost] = []
    has_earlier = inside
    firsts = {one.first for one in passes_of(tuple(steps))}
    for i, (step, source) in enumerate(zip(steps, sources, strict=True)):
        width = max(width, _own_width(step, source, setting))
        if isinstance(step, LoopStep):
            body = step_costs(step.body, source.sources, width, final_width, setting, inside=True)
            cost = _loop_cost(step, body)
            found.append(_in_fewer_passes(cost) if is_search(step.body) else cost)
        else:
            cost = _step_cost(step, source, width, final_width, setting, has_earlier)
            found.append(cost if i in firsts or final_width > 1 else _in_cache(cost))
        has_earlier = has_earlier or found[-1].tensor_bytes > 0
    return tuple(found)


def _in_cache(cost: StepCost) -> StepCost:
    """Returns the cost of a step that goes with the one before it: the pass over the memory is that one's."""
    forward, reverse = (Work(flops=work.flops) for work in (cost.forward, cost.reverse))
    return replace(cost, forward=forward, reverse=reverse)


def _own_width(step: Step, source: Any, setting: Setting) -> int:
    """Returns the number of examples that a step's own numbers are for."""
    if isinstance(step, LoopStep):
        return max((_own_width(*pair, setting) for pair in zip(step.body, source.sources, strict=True)), default=1)
    return setting.width(*operations_of(source))


def _step_cost(
    step: Step, source: Any, width: int, final_width: int, setting: Setting, has_earlier: bool
) -> StepCost:
    count, kind = next((count, kind) for cls, count, kind in PARTS if isinstance(step, cls))
    parts, full = count(step, source, width, setting), count(step, source, final_width, setting)
    operations = operations_of(source)
    again = {"store": Work(), "rerun": parts.apply, "recompute": full.apply if has_earlier else Work()}
    own = tuple(sorted({q for op in operations for q in op.all_qubits}))
    if isinstance(step, MatrixStep):
        kind, own = ("matrix" if step.is_window else "matrix, scattered"), step.qubits
    elif isinstance(step, MoveStep):
        kind = "make complex" if step.before.is_real else kind
    elif isinstance(step, OperationStep):
        kind = f"gate {step.operation.gate.name}"
    elif isinstance(step, ReflectionStep):
        own = step.qubits
    built = _unitary_work(source, setting) if isinstance(source, Unitary) else (Work(), Work())
    return StepCost(
        kind=kind,
        qubits=own,
        place_before=step.before.place,
        place_after=step.after.place,
        matrix=matrix_shape(step) if isinstance(step, MatrixStep) else None,
        content=setting.content(*operations) if operations else "constant" if own else "",
        tensor_bytes=parts.numbers * setting.itemsize,
        forward=parts.apply + built[0],
        reverse=full.apply + again[setting.reverse] + full.cotangents + built[1],
    )


def _unitary_work(unitary: Unitary, setting: Setting) -> tuple[Work, Work]:
    """Returns the work of simulating a unitary on the basis states, both ways: it is no pass over the batch."""
    plan = _plan_of_unitary(unitary)
    columns = Setting(2**plan.num_qubits, setting.itemsize, frozenset(), "store")
    inner = plan_costs(plan, columns)
    forward, reverse = total([c.forward for c in inner]), total([c.reverse for c in inner])
    return replace(forward, passes=0), replace(forward + reverse, passes=0)


def unitaries_of(sources: Sequence[Any]) -> list[Unitary]:
    """Returns the unitaries among the sources of a plan's steps, those of loops once."""
    found = []
    for source in sources:
        found += [source] if isinstance(source, Unitary) else unitaries_of(getattr(source, "sources", ()))
    return found


def _plan_of_unitary(unitary: Unitary) -> Plan:
    from qjax.quantum.engines.xla.old_engine import plan_of

    return plan_of(unitary.circuit, 1, frozenset(), 2**unitary.circuit.num_qubits)


def _loop_cost(step: LoopStep, body: tuple[StepCost, ...]) -> StepCost:
    contents = {cost.content for cost in body} - {""}
    strongest = next((c for c in ("per example", "shared", "constant") if c in contents), "")
    slices = step.reps if step.sliced else 1
    return StepCost(
        kind="repeat",
        qubits=(),
        place_before=step.before.place,
        place_after=step.after.place,
        matrix=None,
        content=strongest,
        tensor_bytes=slices * sum(cost.tensor_bytes for cost in body),
        forward=total([cost.forward for cost in body]).times(step.reps),
        reverse=total([cost.reverse for cost in body]).times(step.reps),
        reps=step.reps,
        slices=slices,
        body=body,
    )


def _in_fewer_passes(cost: StepCost) -> StepCost:
    """Returns the cost of a loop of Grover iterations: `MAX_FUSED` of them take two sums and one pass of updates."""
    share = 2 * -(-cost.reps // MAX_FUSED) / cost.forward.passes

    def fewer(work: Work) -> Work:
        return Work(round(work.passes * share, 6), round(work.num_bytes * share), work.flops)

    return replace(cost, forward=fewer(cost.forward), reverse=fewer(cost.reverse))


def start_width(start: ProductState | None, setting: Setting) -> int:
    """Returns the number of examples in the first state."""
    return 1 if start is None else setting.width(*(op for run in start.runs for op in run))


def plan_width(plan: Plan, setting: Setting) -> int:
    """Returns the number of examples in the last state: 1 where nothing differs between them."""
    own = [_own_width(*pair, setting) for pair in zip(plan.steps, plan.sources, strict=True)]
    return max([start_width(plan.start, setting), *own])


def start_cost(plan: Plan, final_width: int, setting: Setting) -> StepCost | None:
    """Returns the cost of preparing the first state; None where it is given."""
    if plan.start is None:
        return None
    operations = tuple(op for run in plan.start.runs for op in run)
    width = start_width(plan.start, setting)
    per_number = 1 if plan.before.is_real else 3
    bytes_of = layout_bytes(plan.before, 1, setting.itemsize)
    flops = per_number * 2**plan.before.num_bits
    forward = Work(0.5, bytes_of * width, flops * width)  # written once
    reverse = Work(1.0, 2 * bytes_of * final_width, 2 * flops * final_width)  # read for each of its two halves
    return StepCost(
        kind="product state",
        qubits=(),
        place_before=None,
        place_after=plan.before.place,
        matrix=None,
        content=setting.content(*operations),
        tensor_bytes=0,
        forward=forward,
        reverse=reverse + (forward if setting.reverse == "rerun" else Work()),
    )


def plan_costs(plan: Plan, setting: Setting) -> tuple[StepCost, ...]:
    """Returns the cost of preparing the first state, where the plan does, and of each step."""
    final_width = reverse_width(plan, setting)
    start = start_cost(plan, final_width, setting)
    steps = step_costs(plan.steps, plan.sources, start_width(plan.start, setting), final_width, setting)
    return steps if start is None else (start, *steps)


def reverse_width(plan: Plan, setting: Setting) -> int:
    """Returns the number of examples in the states of the reverse pass: what is saved is kept for each example."""
    return plan_width(plan, setting) if setting.reverse == "rerun" else setting.batch


def readout_cost(plan: Plan, observables: Sequence[Observable], setting: Setting) -> StepCost:
    """Returns the cost of reading the expectation values of the observables, or the amplitudes where there are none.

    Pauli strings with their X and Y on the same qubits are read together, after a change of basis of one pass a
    qubit; any other observable is applied to the state and their overlap is taken.
    """
    strings = {o.paulis.replace("Z", "I") for o in observables if isinstance(o, PauliString)}
    turned = sum(len(basis) - basis.count("I") for basis in strings)
    others = [o for o in observables if not isinstance(o, PauliString)]
    terms = sum(len(o.terms) if isinstance(o, PauliSum) else 2 ** len(o.qubits) for o in others)
    passes = turned + len(strings) + 2 * len(others) if observables else 1
    flops = 16 * turned + 6 * len(strings) + 8 * terms + 4 * len(others)  # of each amplitude

    def work(width: int) -> Work:
        amplitudes = 2**plan.num_qubits * width
        return Work(passes, round(4 * passes * amplitudes * setting.itemsize), flops * amplitudes)

    return StepCost(
        kind="readout",
        qubits=(),
        place_before=plan.after.place,
        place_after=plan.after.place,
        matrix=None,
        content="",
        tensor_bytes=0,
        forward=work(plan_width(plan, setting)),
        reverse=work(reverse_width(plan, setting)),
    )


def layout_bytes(layout: Layout, width: int, itemsize: int) -> int:
    """Returns the size of a state in a layout."""
    return int(2**layout.num_bits * width * itemsize)


def in_parts(cost: StepCost, count: int) -> StepCost:
    """Returns the cost of a step done for each of `count` parts of the batch."""
    body = tuple(in_parts(inner, count) for inner in cost.body)
    return replace(cost, forward=cost.forward.split(count), reverse=cost.reverse.split(count), body=body)


# Memory. ----------------------------------------------------------------------------------------------------

# States at once, beside what the reverse pass keeps: the old one, the new one, a part in work; backwards the same of
# the cotangent, and one more where the states are computed again.
FORWARD_STATES = 3
GRADIENT_STATES = 6
# Backwards, what a matrix for each example adds: the products of which its cotangent is the sum.
OWN_MATRIX_STATES = 2
# How much room the steps' numbers take, for each byte of theirs: as they are built and as they are used, backwards
# their cotangents too. All of these, and that a run holds half of its tables of cosines and sines, were found by
# comparison with XLA's own account of compiled programs.
SHARED_NUMBERS = {"run": 2, "gradient": 3}
OWN_NUMBERS = {"run": 1, "gradient": 2}


def peak_bytes(
    what: Plan | Circuit, batch: int, dtype: Any, gradient: bool, reverse_pass: ReversePass = "auto"
) -> int:
    """Returns an estimate of the bytes that a run holds at its peak, its arguments and results left out.

    Args:
      what: a plan, or a circuit that starts from |0...0>, of which each example has inputs of its own.
      batch: number of examples.
      dtype: real dtype of the simulation.
      gradient: whether the reverse pass follows.
      reverse_pass: see `simulate.py`.
    """
    from qjax.quantum.engines.xla.old_engine import plan_of

    batched = frozenset({"inputs"} if batch > 1 else ())
    plan = plan_of(what, 0, batched, batch) if isinstance(what, Circuit) else what
    itemsize = int(jnp.dtype(dtype).itemsize)
    part = part_size(plan.num_qubits, batch, reverse_pass)
    reverse = settle(plan, batch, dtype, reverse_pass) if gradient else "rerun"
    state, shared, own, matrices, tables = _sizes(plan, batch, part, itemsize, reverse)
    kind = "gradient" if gradient else "run"
    held = SHARED_NUMBERS[kind] * shared + OWN_NUMBERS[kind] * own
    plans = map(_plan_of_unitary, unitaries_of(plan.sources))
    inner = [peak_bytes(plan, 2**plan.num_qubits, dtype, gradient) for plan in plans]
    if not gradient:  # a unitary is there before the states of the batch are
        states = FORWARD_STATES - (len(plan.steps) == 1)  # one step has no part in work beside its two states
        return max(states * state + held + tables // 2, *inner, 0)
    held += sum(inner)
    kept = 1 if reverse == "recompute" else plan.num_saved_states
    return (GRADIENT_STATES + kept + OWN_MATRIX_STATES * matrices) * state + held + tables


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _sizes(plan: Plan, batch: int, part: int, itemsize: int, reverse: Reverse) -> tuple[int, int, int, int, int]:
    """Returns the bytes of a part's states and of the steps' numbers, shared and each example's; how many matrices of
    an example's own there are, those of a loop once; and the bytes of all cosines and sines of phases.
    """
    setting = Setting(batch, itemsize, frozenset({"inputs"} if batch > 1 else ()), reverse)
    layouts = [plan.before, *(step.after for step in plan.steps)]
    state = max(layout_bytes(layout, min(part, reverse_width(plan, setting)), itemsize) for layout in layouts)
    costs = _written_out(plan_costs(plan, setting))
    own = [cost for cost in costs if cost.content == "per example"]
    own_bytes = sum(cost.tensor_bytes for cost in own)
    shared_bytes = sum(cost.tensor_bytes for cost in costs) - own_bytes
    widths = [min(part, batch) if cost.content == "per example" else 1 for cost in costs if cost.kind == "phases"]
    tables = 2 * 2**plan.num_qubits * itemsize * sum(widths)
    return state, shared_bytes, own_bytes, sum(cost.matrix is not None for cost in own), tables


def _written_out(costs: Sequence[StepCost]) -> list[StepCost]:
    """Returns the steps with those of loops in place of these; what each repetition has of its own is counted so."""
    found: list[StepCost] = []
    for cost in costs:
        inner = [replace(c, tensor_bytes=c.tensor_bytes * cost.slices) for c in _written_out(cost.body)]
        found += inner if cost.body else [cost]
    return found


def part_size(num_qubits: int, batch: int, reverse_pass: ReversePass) -> int:
    """Returns how many examples are run at once: all, or those of a part that fits the cache."""
    size = chunk_size(num_qubits, batch) if reverse_pass in ("auto", "rerun") else 0
    return -(-batch // -(-batch // size)) if size else batch


def settle(plan: Plan, batch: int, dtype: Any, reverse_pass: ReversePass) -> Reverse:
    """Returns what 'auto' stands for, as `Simulation.settled` decides it."""
    if reverse_pass != "auto":
        return reverse_pass
    if chunk_size(plan.num_qubits, batch):
        return "rerun"
    return "store" if saves_states(plan.num_saved_states, plan.num_qubits, batch, dtype) else "recompute"


def check_memory(
    what: Plan | Circuit, batch: int, dtype: Any, gradient: bool, reverse_pass: ReversePass = "auto"
) -> None:
    """Raises a `UserError` where a run cannot be in the device's memory; see `peak_bytes` for the arguments."""
    before = "reverse_pass='recompute' or " if gradient and reverse_pass == "store" else ""
    check_bytes(peak_bytes(what, batch, dtype, gradient, reverse_pass), what.num_qubits, batch, gradient, before)
