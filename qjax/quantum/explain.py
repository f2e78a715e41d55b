"""What a simulation will do, before it is run: the steps of a circuit with the cost of each, and the memory.

All figures are a count by the model of `costs.py`, not a measurement.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.compile.stages import Dense, Flip, Permutation, Phase, ProductState, Reflection, Single, Unitary
from qjax.quantum.engines.choices import MAX_SAVED_BYTES, MAX_SAVED_SHARE, chunk_bytes, native_platform
from qjax.quantum.engines.memory import device_bytes, show_bytes, state_bytes
from qjax.quantum.engines.readouts import ExpectationReadout, StateReadout
from qjax.quantum.engines.simulation import REVERSE_PASSES, Simulation, plan_of
from qjax.quantum.engines.xla.costs import StepCost, in_parts, part_size, peak_bytes, plan_costs, readout_cost, settle
from qjax.quantum.engines.xla.loop_step import LoopStep
from qjax.quantum.engines.xla.plan import LoopSource, Plan
from qjax.quantum.engines.xla.step_work import ReversePass, Setting, Work, total
from qjax.quantum.measure.observables import Observable, Observables, check_observables
from qjax.untrusted import parse_json

DTYPES = ("float32", "float64")
FORMAT = "qjax.explanation"


@dataclass(frozen=True)
class Explanation:
    """What a simulation will do; `print` shows it. Figures are a count by a model, not a measurement.

    Attributes:
      num_qubits: of the circuit, as for the next four.
      num_gates: repetitions counted.
      depth: longest chain of gates.
      num_parameters: trained angles.
      num_inputs: angles of each example.
      num_observables: measured; 0 where the state itself is read.
      batch: number of examples.
      part: examples that are run at once: fewer than the batch where it is run in parts.
      dtype: real dtype of the simulation.
      stages: what the circuit compiles to, in plain words, in order.
      steps: first state, steps, readout, each with its cost for the whole batch.
      reverse_pass: 'store', 'recompute' or 'rerun'.
      reason: what chose it.
      num_saved_states: states that 'store' and 'rerun' keep; of a part of the batch in 'rerun'.
      state_bytes: of the states of the whole batch.
      forward_bytes: estimate of the most that is held at once in a run.
      gradient_bytes: the same for a run and its reverse pass.
      device_bytes: memory of the device.
      native: what the native code does, where it runs in place of all of the above; '' where it does not.
    """

    num_qubits: int
    num_gates: int
    depth: int
    num_parameters: int
    num_inputs: int
    num_observables: int
    batch: int
    part: int
    dtype: str
    stages: tuple[str, ...]
    steps: tuple[StepCost, ...]
    reverse_pass: str
    reason: str
    num_saved_states: int
    state_bytes: int
    forward_bytes: int
    gradient_bytes: int
    device_bytes: int
    native: str = ""

    @property
    def forward(self) -> Work:
        """The work of a run."""
        return total([step.forward for step in self.steps])

    @property
    def reverse(self) -> Work:
        """The work of the reverse pass, a run's own not counted."""
        return total([step.reverse for step in self.steps])

    def to_json(self) -> str:
        """Returns all of it as JSON, with the totals."""
        totals = {"forward": asdict(self.forward), "reverse": asdict(self.reverse)}
        note = "counted by a model, not measured"
        return json.dumps({"format": FORMAT, "note": note, **asdict(self), "total": totals}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> "Explanation":
        """Returns the explanation that `to_json` wrote.

        Raises:
          UserError: the text is not such JSON.
        """
        data = parse_json(text, "text", "the JSON of an explanation")
        check(data.pop("format", None) == FORMAT, "text", f"be JSON of format '{FORMAT}'", repr(text[:60]))
        try:
            del data["note"], data["total"]
            steps = tuple(map(_step_from_data, data.pop("steps")))
            found = Explanation(**{**data, "stages": tuple(data["stages"])}, steps=steps)
            str(found)  # this reads every field, so that a wrong one shows here
            return found
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            fail("text", "be the JSON of an explanation", f"{type(error).__name__}: {error}")

    def __str__(self) -> str:
        parts = -(-self.batch // self.part)
        chunks = "all at once" if parts == 1 else f"{parts} parts of {self.part}, one after the other"
        kept = show_bytes(self.num_saved_states * self.state_bytes * self.part // self.batch)
        keeps = {
            "store": f"keeps {self.num_saved_states} states of the run, {kept}",
            "recompute": "keeps the last state and computes the earlier ones again from it",
            "rerun": f"keeps nothing; runs each part again and keeps its {self.num_saved_states} states, {kept}",
        }
        native = [f"native    {self.native}", "          What follows is XLA's code, which runs elsewhere."]
        read = f"{self.num_observables} observables" if self.num_observables else "the state itself"
        return "\n".join(
            [
                f"circuit   {self.num_qubits} qubits, {self.num_gates} gates, depth {self.depth}, "
                f"{self.num_parameters} parameters, {self.num_inputs} inputs; read: {read}",
                f"batch     {self.batch} examples in {self.dtype}: {chunks}; states {show_bytes(self.state_bytes)}",
                *(native if self.native else ()),
                "",
                "stages",
                *(f"  {line}" for stage in self.stages for line in stage.splitlines()),
                "",
                "steps     re/im: qubits before the bit that tells real from imaginary parts; - for a real state",
                *_table(self),
                "",
                f"reverse   {self.reverse_pass}: {keeps[self.reverse_pass]}",
                f"          because {self.reason}",
                f"memory    a run {show_bytes(self.forward_bytes)}, a gradient {show_bytes(self.gradient_bytes)}, "
                f"the device has {show_bytes(self.device_bytes)}",
                "",
                "All figures are counted by a model (qjax/quantum/costs.py), not measured. A pass is one read and",
                "one write of the whole state; MB are 10**6 bytes, Mflop 10**6 floating-point operations.",
            ]
        )


def explain(
    circuit: Circuit,
    *,
    batch: int = 1,
    observables: Observables = (),
    dtype: Any = "float32",
    reverse_pass: ReversePass = "auto",
) -> Explanation:
    """Returns what a run of the circuit and its reverse pass do, step by step, and what they cost.

    Args:
      circuit: what would be run, on |0...0>.
      batch: number of examples, each with inputs of its own.
      observables: what would be measured; () reads the state.
      dtype: real dtype of the simulation, 'float32' or 'float64'.
      reverse_pass: see `simulate.py`.

    Raises:
      UserError: an argument is of another kind.

    >>> explain(Circuit(2).append("h", 0).append("cx", (0, 1))).forward.passes
    2.5
    """
    as_circuit(circuit)
    batch = as_index("batch", batch)
    check(batch >= 1, "batch", "be an integer of at least 1", batch)
    check_choice("dtype", _name_of(dtype), DTYPES)
    check_choice("reverse_pass", reverse_pass, REVERSE_PASSES)
    measured = check_observables(observables, circuit.num_qubits) if observables else ()
    real, n = jnp.dtype(dtype), circuit.num_qubits
    batched = frozenset({"inputs"} if batch > 1 else ())
    plan = plan_of(circuit, 0, batched, batch, bool(measured) and ExpectationReadout(measured).folds)
    part, reverse = part_size(n, batch, reverse_pass), settle(plan, batch, real, reverse_pass)
    setting = Setting(part, real.itemsize, batched, reverse)
    steps = (*plan_costs(plan, setting), readout_cost(plan, measured, setting))
    return Explanation(
        num_qubits=n,
        num_gates=sum(circuit.counts().values()),
        depth=circuit.depth(),
        num_parameters=circuit.num_parameters,
        num_inputs=circuit.num_inputs,
        num_observables=len(measured),
        batch=batch,
        part=part,
        dtype=real.name,
        stages=describe_stages(plan),
        steps=tuple(in_parts(step, -(-batch // part)) for step in steps),
        reverse_pass=reverse,
        reason=_reason(plan, batch, real, reverse_pass, reverse),
        num_saved_states=plan.num_saved_states,
        state_bytes=state_bytes(n, batch, real),
        forward_bytes=peak_bytes(plan, batch, real, False, reverse_pass),
        gradient_bytes=peak_bytes(plan, batch, real, True, reverse_pass),
        device_bytes=device_bytes(),
        native=_describe_native(circuit, measured, batch, real, reverse_pass),
    )


def _describe_native(
    circuit: Circuit, measured: tuple[Observable, ...], batch: int, real: Any, reverse_pass: ReversePass
) -> str:
    """Returns what the native code does, '' where it does not run."""
    readout: Any = ExpectationReadout(measured) if measured else StateReadout()
    simulation = Simulation(circuit=circuit, readout=readout, reverse_pass=reverse_pass)
    shapes = [((*shape, 1), real) for shape in circuit.parameter_shapes.values()]
    platform = native_platform()
    whole = (*shapes, ((circuit.num_inputs, batch), real))
    if platform is None:
        return ""
    found = simulation.any_native_form(platform, whole)
    if found is None:
        return ""
    run, gradient = (show_bytes(found.bytes_held(gradient)) for gradient in (False, True))
    return f"{found}; memory: a run {run}, a gradient {gradient}"


def _name_of(dtype: Any) -> str:
    try:
        return str(jnp.dtype(dtype).name)
    except TypeError:
        return str(dtype)


def _reason(plan: Plan, batch: int, dtype: Any, asked: ReversePass, reverse: str) -> str:
    """Returns the rule of `choices.py` that chose the reverse pass, in words."""
    if asked != "auto":
        return f"reverse_pass='{asked}' asks for it"
    if reverse == "rerun":
        limit = show_bytes(chunk_bytes(plan.num_qubits))
        return f"the states of the batch take at least twice the {limit} of a part (CHUNK_BYTES)"
    kept = show_bytes(plan.num_saved_states * state_bytes(plan.num_qubits, batch, dtype))
    limit = show_bytes(int(min(MAX_SAVED_BYTES, MAX_SAVED_SHARE * device_bytes())))
    relation = "at most" if reverse == "store" else "more than"
    return (
        f"all states take {kept}, {relation} the {limit} that may be kept "
        f"(MAX_SAVED_BYTES, or MAX_SAVED_SHARE of the memory)"
    )


# In words. --------------------------------------------------------------------------------------------------


def describe_stages(plan: Plan) -> tuple[str, ...]:
    """Returns what each stage does, in plain words; the body of a repetition stands below it, indented."""
    first = [] if plan.start is None else [_describe(plan.start)]
    return (*first, *_describe_all(plan.steps, plan.sources))


def _describe_all(steps: Sequence[Any], sources: Sequence[Any]) -> list[str]:
    found = []
    for step, source in zip(steps, sources, strict=True):
        if isinstance(source, LoopSource):
            assert isinstance(step, LoopStep)
            body = [f"  {line}" for text in _describe_all(step.body, source.sources) for line in text.splitlines()]
            found.append("\n".join([f"repeat {step.reps} times:", *body]))
        elif source is not None:
            found.append(_describe(source))
    return found


def _describe(stage: Any) -> str:
    """Returns what a stage does in plain words."""
    if isinstance(stage, ProductState):
        gates = [op for run in stage.runs for op in run]
        return f"product state: {_count(gates)} on fresh qubits, one outer product"
    if isinstance(stage, Single):
        return f"single gate: {stage.operation.gate.name} on {show_qubits(stage.operation.all_qubits)}"
    if isinstance(stage, Reflection):
        return f"reflection about the even superposition of {show_qubits(stage.qubits)}"
    if isinstance(stage, Unitary):
        gates = list(stage.circuit.iter_operations())
        return f"one matrix on all qubits: {_count(gates)}, simulated on the basis states"
    gates = list(stage.operations)
    if isinstance(stage, Dense):
        return f"dense block on {show_qubits(stage.qubits)}: {_count(gates)}, multiplied together first"
    words = {
        Phase: "phase: {}, one elementwise multiplication",
        Flip: "signs: {}, one elementwise change of signs",
        Permutation: "permutation: {}, a rearrangement of amplitudes",
    }
    return words[type(stage)].format(_count(gates))


def _count(operations: Sequence[Any]) -> str:
    """Returns how many operations there are of each kind, '5 gates (2 cx, 3 ry)'."""
    names = Counter("c-" * len(op.controls) + op.gate.name for op in operations)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    return f"{len(operations)} gate{'s' * (len(operations) != 1)}" + (f" ({listed})" if listed else "")


def show_qubits(qubits: Sequence[int]) -> str:
    """Returns the qubits with runs shortened.

    >>> show_qubits((0, 1, 2, 5))
    '0-2,5'
    """
    runs: list[list[int]] = []
    for q in sorted(qubits):
        if runs and q == runs[-1][-1] + 1:
            runs[-1].append(q)
        else:
            runs.append([q])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _table(explanation: Explanation) -> list[str]:
    """Returns the table of the steps, with a line of totals."""
    both = ["passes", "MB", "Mflop"]
    rows = [["", "", "", "", "", "forward", "", "", "reverse", "", ""]]
    rows.append(["step", "qubits", "re/im", "matrix", "numbers", *both, *both])
    rows += [row for step in explanation.steps for row in _rows(step)]
    totals = [*_figures(explanation.forward), *_figures(explanation.reverse)]
    rows.append(["total", "", "", "", "", *totals])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i < 5 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _rows(step: StepCost, indent: str = "") -> list[list[str]]:
    """Returns a step's line of the table; for a loop also those of one repetition, indented."""
    places = ["-" if place is None else str(place) for place in (step.place_before, step.place_after)]
    place = places[0] if places[0] == places[1] else " > ".join(places)
    matrix = f"{step.matrix[0]} x {step.matrix[1]}" if step.matrix else ""
    kind = f"{step.kind} {step.reps} x" if step.body else step.kind
    own = [indent + kind, show_qubits(step.qubits) if step.qubits else "all", place, matrix, step.content]
    rows = [[*own, *_figures(step.forward), *_figures(step.reverse)]]
    return rows + [row for inner in step.body for row in _rows(inner, indent + "  ")]


def _figures(work: Work) -> list[str]:
    return [f"{work.passes:,.4g}", f"{work.num_bytes / 1e6:,.4g}", f"{work.flops / 1e6:,.4g}"]


def _step_from_data(data: dict[str, Any]) -> StepCost:
    """Returns the step that `asdict` made into data, read from JSON."""
    works = {name: Work(**data[name]) for name in ("forward", "reverse")}
    tuples = {"qubits": tuple(data["qubits"]), "body": tuple(map(_step_from_data, data["body"]))}
    matrix = None if data["matrix"] is None else tuple(data["matrix"])
    return StepCost(**{**data, **works, **tuples, "matrix": matrix})
