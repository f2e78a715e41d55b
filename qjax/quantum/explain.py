"""What a simulation will do, before it is run: the engine, what it does to the states, its cost and its memory.

All figures are a count by the engine's model, not a measurement.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.arguments import without_reverse_pass
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.engines.base import Task, Work, platform_here
from qjax.quantum.engines.choose import choose, refusals
from qjax.quantum.engines.memory import device_bytes, show_bytes, state_bytes
from qjax.quantum.engines.readouts import ExpectationReadout, Readout, StateReadout
from qjax.quantum.measure.observables import Observables, check_observables
from qjax.untrusted import parse_json

DTYPES = ("float32", "float64")
FORMAT = "qjax.explanation.2"


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
      dtype: real dtype of the simulation.
      engine: name of the engine that runs.
      refused: the engines that come before it, each with the reason why it does not run.
      stages: what the engine does to the states, in plain words, in order.
      forward: the work of a run, the whole batch together.
      reverse: the work of its reverse pass, the run's own not counted.
      state_bytes: of the states of the whole batch.
      forward_bytes: estimate of the most that is held at once in a run.
      gradient_bytes: the same for a run and its reverse pass.
      device_bytes: memory of the device.
    """

    num_qubits: int
    num_gates: int
    depth: int
    num_parameters: int
    num_inputs: int
    num_observables: int
    batch: int
    dtype: str
    engine: str
    refused: tuple[tuple[str, str], ...]
    stages: tuple[str, ...]
    forward: Work
    reverse: Work
    state_bytes: int
    forward_bytes: int
    gradient_bytes: int
    device_bytes: int

    def to_json(self) -> str:
        """Returns all of it as JSON."""
        note = "counted by a model, not measured"
        return json.dumps({"format": FORMAT, "note": note, **asdict(self)}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> "Explanation":
        """Returns the explanation that `to_json` wrote.

        Raises:
          UserError: the text is not such JSON.
        """
        data = parse_json(text, "text", "the JSON of an explanation")
        check(data.pop("format", None) == FORMAT, "text", f"be JSON of format '{FORMAT}'", repr(text[:60]))
        try:
            del data["note"]
            data |= {name: Work(**data[name]) for name in ("forward", "reverse")}
            data |= {"refused": tuple((str(name), str(reason)) for name, reason in data["refused"])}
            explanation = Explanation(**{**data, "stages": tuple(data["stages"])})
            str(explanation)  # this reads every field, so that a wrong one shows here
            return explanation
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            fail("text", "be the JSON of an explanation", f"{type(error).__name__}: {error}")

    def __str__(self) -> str:
        read = f"{self.num_observables} observables" if self.num_observables else "the state itself"
        return "\n".join(
            [
                f"circuit   {self.num_qubits} qubits, {self.num_gates} gates, depth {self.depth}, "
                f"{self.num_parameters} parameters, {self.num_inputs} inputs; read: {read}",
                f"batch     {self.batch} examples in {self.dtype}; states {show_bytes(self.state_bytes)}",
                f"engine    {self.engine}",
                *(f"          not {name}: {reason}" for name, reason in self.refused),
                "",
                "stages",
                *(f"  {line}" for stage in self.stages for line in stage.splitlines()),
                "",
                "          passes  MB moved   Mflop",
                *(
                    f"{name:9} {work.passes:6,.4g}  {work.num_bytes / 1e6:8,.4g}  {work.flops / 1e6:6,.4g}"
                    for name, work in (("run", self.forward), ("reverse", self.reverse))
                ),
                "",
                f"memory    a run {show_bytes(self.forward_bytes)}, a gradient {show_bytes(self.gradient_bytes)}, "
                f"the device has {show_bytes(self.device_bytes)}",
                "",
                "All figures are counted by a model, not measured. A pass is one read and one write of all states in",
                "the device's memory; MB are 10**6 bytes, Mflop 10**6 floating-point operations.",
            ]
        )


@without_reverse_pass
def explain(
    circuit: Circuit, *, batch: int = 1, observables: Observables = (), dtype: Any = "float32"
) -> Explanation:
    """Returns which engine runs the circuit and its reverse pass, what it does, and what that costs.

    Args:
      circuit: what would be run, on |0...0>.
      batch: number of examples, each with inputs of its own.
      observables: what would be measured; () reads the state.
      dtype: real dtype of the simulation, 'float32' or 'float64'.

    Raises:
      UserError: an argument is of another kind.

    >>> explain(Circuit(2).append("h", 0).append("cx", (0, 1))).num_gates
    2
    """
    as_circuit(circuit)
    batch = as_index("batch", batch, 1)
    check_choice("dtype", _name_of(dtype), DTYPES)
    measured = check_observables(observables, circuit.num_qubits) if observables else ()
    readout: Readout = ExpectationReadout(measured) if measured else StateReadout()
    real: np.dtype[Any] = np.dtype(jnp.dtype(dtype))
    batched = frozenset({"inputs"} if batch > 1 else ())
    task = Task(circuit, readout, 0, batched, batch, real, platform_here())
    engine = choose(task)
    description = engine.describe(task)
    return Explanation(
        num_qubits=circuit.num_qubits,
        num_gates=sum(circuit.counts().values()),
        depth=circuit.depth(),
        num_parameters=circuit.num_parameters,
        num_inputs=circuit.num_inputs,
        num_observables=len(measured),
        batch=batch,
        dtype=real.name,
        engine=engine.name,
        refused=refusals(task),
        stages=description.stages,
        forward=description.forward,
        reverse=description.reverse,
        state_bytes=state_bytes(circuit.num_qubits, batch, real),
        forward_bytes=engine.bytes_held(task, False),
        gradient_bytes=engine.bytes_held(task, True),
        device_bytes=device_bytes(),
    )


def _name_of(dtype: Any) -> str:
    try:
        return str(jnp.dtype(dtype).name)
    except TypeError:
        return str(dtype)
