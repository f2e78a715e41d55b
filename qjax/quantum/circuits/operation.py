"""Operations: a gate on qubits, under any number of controls, as frozen, hashable data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import SupportsFloat

from qjax.checks import check
from qjax.quantum.circuits.angle import Angle, AngleLike, Parameter, as_angle, as_index
from qjax.quantum.circuits.custom_gates import power_gate
from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.gates import gate as gate_by_name


@dataclass(frozen=True)
class Operation:
    """A gate on qubits; `operation` builds one from names and plain numbers.

    Attributes:
      gate: what is done.
      qubits: where, the gate's first qubit first.
      angles: the gate's, in radians.
      controls: further qubits; the gate acts where they have their `control_values` and nothing happens elsewhere.
      control_values: 0 or 1 for each control; all 1 where it is left empty.
    """

    gate: Gate
    qubits: tuple[int, ...]
    angles: tuple[Angle, ...] = ()
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check(isinstance(self.gate, Gate), "gate", "be a Gate; `operation` takes names, too", self.gate)
        name = self.gate.name
        qubits = tuple(as_index("qubits", q) for q in self.qubits)
        controls = tuple(as_index("controls", q) for q in self.controls)
        angles = tuple(as_angle(angle) for angle in self.angles)
        wanted = self.gate.num_qubits
        check(len(qubits) == wanted, "qubits", f"hold {wanted} qubit(s) for gate '{name}'", qubits)
        check(len(set(qubits)) == len(qubits), "qubits", f"hold distinct integers for gate '{name}'", qubits)
        distinct = len({*qubits, *controls}) == len(qubits) + len(controls)
        check(distinct, "controls", f"hold distinct integers that are not among the qubits {qubits}", controls)
        wanted = self.gate.num_angles
        check(len(angles) == wanted, "angles", f"hold {wanted} angle(s) for gate '{name}'", angles)
        plain = not controls or self.gate.structure != "barrier"
        check(plain, "controls", "be left out for a barrier, which does nothing", controls)
        values = tuple(self.control_values) or (1,) * len(controls)
        valid = len(values) == len(controls) and all(v in (0, 1) for v in values)
        check(valid, "control_values", f"hold 0 or 1 for each of {len(controls)} control(s)", values)
        for field, value in (("qubits", qubits), ("angles", angles), ("controls", controls)):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "control_values", tuple(int(v) for v in values))

    @property
    def all_qubits(self) -> tuple[int, ...]:
        """Every qubit that the operation touches: the controls, then the gate's own."""
        return self.controls + self.qubits

    @property
    def is_barrier(self) -> bool:
        """Whether the operation is there for drawings alone."""
        return self.gate.structure == "barrier"

    def inverse(self) -> tuple["Operation", ...]:
        """Returns the operations that undo this one, in the order of application."""
        return tuple(
            replace(self, gate=gate, qubits=tuple(self.qubits[i] for i in places), angles=angles)
            for gate, places, angles in self.gate.inverse(self.angles)
        )

    def power(self, exponent: SupportsFloat) -> tuple["Operation", ...]:
        """Returns operations that amount to this one done `exponent` times, any real number.

        A rotation has its angle multiplied. Any other gate is repeated where `exponent` is a whole number, and
        otherwise becomes the principal power of its matrix, for which its angles must be numbers.

        Raises:
          UserError: a fraction of a gate whose angles are not numbers, and not a rotation.
        """
        if self.is_barrier:
            return (self,)
        scaled, exponent = self.gate.power_angles, float(exponent)
        if scaled is not None:
            angles = tuple(a * exponent if i in scaled else a for i, a in enumerate(self.angles))
            return (replace(self, angles=angles),)
        if exponent.is_integer():
            return (self,) * int(exponent) if exponent >= 0 else self.inverse() * int(-exponent)
        constant = all(angle.is_constant for angle in self.angles)
        check(constant, "exponent", f"be a whole number for gate '{self.gate.name}' of unknown angles", exponent)
        gate = power_gate(self.gate, tuple(a.shift for a in self.angles), exponent)
        return (replace(self, gate=gate, angles=()),)

    def controlled(self, controls: Sequence[int], control_values: Sequence[int]) -> "Operation":
        """Returns the operation under further controls, which come before those that it has."""
        if self.is_barrier:
            return self
        values = (*control_values, *self.control_values)
        return replace(self, controls=(*controls, *self.controls), control_values=values)

    def remap(self, qubits: Sequence[int]) -> "Operation":
        """Returns the operation with qubits[q] in place of every qubit q."""
        targets, controls = (tuple(qubits[q] for q in places) for places in (self.qubits, self.controls))
        return replace(self, qubits=targets, controls=controls)

    def rename(self, names: Mapping[str, str]) -> "Operation":
        """Returns the operation with names[name] in place of a parameter's name."""
        return self._map_parameters(lambda ref: Parameter(names.get(ref.name, ref.name), ref.index))

    def with_leading_index(self, position: int) -> "Operation":
        """Returns the operation with `position` in front of the index of every parameter."""
        return self._map_parameters(lambda ref: Parameter(ref.name, (position, *ref.index)))

    def _map_parameters(self, change: Callable[[Parameter], Parameter]) -> "Operation":
        if not self.angles:
            return self
        return replace(self, angles=tuple(angle.map_parameters(change) for angle in self.angles))

    def __repr__(self) -> str:
        angles = f"({', '.join(map(repr, self.angles))})" if self.angles else ""
        text = " ".join([f"{self.gate.name}{angles}", *map(str, self.qubits)])
        conditions = [f"{q}={v}" for q, v in zip(self.controls, self.control_values, strict=True)]
        return f"{text} if {' '.join(conditions)}" if conditions else text


def operation(
    gate: str | Gate,
    qubits: int | Sequence[int],
    *angles: AngleLike,
    controls: int | Sequence[int] = (),
    control_values: int | Sequence[int] | None = None,
) -> Operation:
    """Returns a gate on qubits.

    Args:
      gate: a name of the gate table, or a gate such as `unitary_gate` makes.
      qubits: one, or as many as the gate has; () for 'gphase'.
      *angles: as many as the gate has, in radians.
      controls: qubits under whose control the gate acts, any number of them.
      control_values: 0 or 1 for each control; 1 where it is None.

    Raises:
      UserError: there is no such gate, or qubits, angles or controls do not fit it.

    >>> operation("ry", 2, parameter("theta", 0), controls=(0, 1), control_values=(1, 0))
    ry(theta[0]) 2 if 0=1 1=0
    """
    if not isinstance(gate, Gate):
        gate = gate_by_name(gate)
    values = () if control_values is None else _as_tuple("control_values", control_values)
    given = _as_tuple("controls", controls)
    complete = bool(values) or control_values is None or not given
    check(complete, "control_values", "hold 0 or 1 for each control", values)
    return Operation(gate, _as_tuple("qubits", qubits), tuple(as_angle(a) for a in angles), given, values)


def _as_tuple(argument: str, qubits: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(qubits) if isinstance(qubits, Iterable) else (as_index(argument, qubits),)
