"""What every peer's file hands to the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from benchmarks.case import Case, Op, Ref

Result = dict[str, np.ndarray]


class Unsupported(Exception):
    """The peer has no way to do what the case asks for; the message says what is missing."""


@dataclass
class Run:
    """A case made ready: whatever can be done once (tracing, compiling, building) is done.

    Attributes:
      call: runs to its end and returns what the framework returns; this is what is timed.
      result: turns that into named float or complex arrays, untimed.
      also: further calls to time beside it, by name.
      notes: facts to report, such as the compiler's own count of memory.
    """

    call: Callable[[], Any]
    result: Callable[[Any], Result]
    also: dict[str, Callable[[], Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


Form = Callable[[Case], Run]


def versions_of(*packages: str) -> dict[str, str]:
    """Returns the installed version of each package."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def values_of(op: Op, weights: Any, row: Any) -> list[Any]:
    """Returns the operation's angles, looked up in weights `[num_weights]` and one example's inputs `[num_inputs]`.

    Works on NumPy arrays and on traced JAX arrays.
    """
    out = []
    for angle in op.angles:
        if not isinstance(angle, Ref):
            out.append(angle)
            continue
        value = weights[angle.index] if angle.kind == "w" else row[angle.index]
        out.append(value if angle.scale == 1.0 else angle.scale * value)
    return out


def gradient_result(case: Case, value: Any, angles: Any) -> Result:
    """Returns the result of peers that differentiate every angle of every example by itself.

    Args:
      case: what was run.
      value: `[batch]`, the weighted sum of the observables, for each example.
      angles: `[batch, angles]`, its derivative for every angle that is a `Ref`, in the order of the operations.
    """
    value, angles = np.atleast_1d(np.asarray(value, np.float64)), np.atleast_2d(np.asarray(angles, np.float64))
    refs = [angle for op in case.operations for angle in op.angles if isinstance(angle, Ref)]
    weights = np.zeros(len(case.weights))
    inputs = np.zeros((len(value), case.num_inputs))
    for place, ref in enumerate(refs):
        if ref.kind == "w":
            weights[ref.index] += ref.scale * angles[:, place].mean()
        else:
            inputs[:, ref.index] += ref.scale * angles[:, place] / len(value)
    result = {"value": np.asarray(value.mean()), "weights": weights}
    return result | ({"inputs": inputs} if case.kind == "gradient_inputs" else {})


def rows_of(case: Case) -> list[Any]:
    """Returns the examples' inputs one by one; [None] for a circuit without inputs."""
    return [None] if case.inputs is None else list(case.inputs)
