"""Circuits as JSON: the text carries names and numbers, and reading it runs the checks of building one."""

import json
from collections.abc import Callable
from typing import Any

from qjax.checks import UserError, check, fail
from qjax.quantum.circuits.angle import Angle, Input, Parameter, Reference, as_angle
from qjax.quantum.circuits.custom_gates import from_json_data, to_json_data
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.circuits.repeat import CircuitLike, Repeat
from qjax.untrusted import parse_json

FORMAT = "qjax.circuit"
VERSION = 1


def to_json(circuit: CircuitLike) -> str:
    """Returns the circuit as one line of JSON; numbers keep every digit."""
    return json.dumps({"format": FORMAT, "version": VERSION, **_circuit_to_data(circuit)})


def from_json(text: str, make: Callable[..., CircuitLike]) -> CircuitLike:
    """Returns the circuit that `to_json` wrote.

    Args:
      text: one line of JSON.
      make: makes a circuit of its number of qubits and operations.

    Raises:
      UserError: the text is not JSON, not a circuit, of another version, or holds an invalid circuit.
    """
    what = "the JSON of a circuit"
    data = parse_json(text, "text", what)
    check(data.get("format") == FORMAT, "text", f"be JSON of format '{FORMAT}'", repr(text[:60]))
    check(data.get("version") == VERSION, "version", f"be {VERSION}", data.get("version"))
    try:
        return _circuit_from_data(data, make)
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        fail("text", f"be {what}", f"one with a {type(error).__name__}: {error}")


def _circuit_to_data(circuit: CircuitLike) -> dict[str, Any]:
    return {"num_qubits": circuit.num_qubits, "operations": [_operation_to_data(op) for op in circuit.operations]}


def _circuit_from_data(data: dict[str, Any], make: Callable[..., CircuitLike]) -> CircuitLike:
    return make(data["num_qubits"], tuple(_operation_from_data(item, make) for item in data["operations"]))


def _operation_to_data(op: Operation | Repeat) -> dict[str, Any]:
    if isinstance(op, Repeat):
        return {"repeat": _circuit_to_data(op.body), "reps": op.reps, "reverse": op.reverse, "shared": op.shared}
    data: dict[str, Any] = {"gate": op.gate.name, "qubits": list(op.qubits)}
    if op.angles:
        data["angles"] = [_angle_to_data(a) for a in op.angles]
    if op.controls:
        data |= {"controls": list(op.controls), "control_values": list(op.control_values)}
    if op.gate.data:
        data["data"] = to_json_data(op.gate)
    return data


def _operation_from_data(data: dict[str, Any], make: Callable[..., CircuitLike]) -> Operation | Repeat:
    if "repeat" in data:
        body = _circuit_from_data(data["repeat"], make)
        return Repeat(body, data["reps"], data["reverse"], data.get("shared", False))
    kind = from_json_data(data["gate"], data["data"]) if "data" in data else gate(data["gate"])
    return Operation(
        kind,
        tuple(data["qubits"]),
        tuple(map(_angle_from_data, data.get("angles", ()))),
        tuple(data.get("controls", ())),
        tuple(data.get("control_values", ())),
    )


def _angle_to_data(angle: Angle) -> Any:
    if angle.is_constant:
        return angle.shift
    terms = [[scale, [_reference_to_data(ref) for ref in refs]] for scale, refs in angle.terms]
    return {"shift": angle.shift, "terms": terms}


def _angle_from_data(data: Any) -> Angle:
    if not isinstance(data, dict):
        return as_angle(data)
    terms = tuple((float(scale), tuple(map(_reference_from_data, refs))) for scale, refs in data["terms"])
    return Angle(float(data["shift"]), terms)


def _reference_to_data(ref: Reference) -> list[Any]:
    return ["input", ref.index] if isinstance(ref, Input) else ["parameter", ref.name, *ref.index]


def _reference_from_data(data: list[Any]) -> Reference:
    kind, first, *rest = data
    return Input(first) if kind == "input" else Parameter(first, tuple(rest))
