"""Circuits as frozen, hashable data: Operation, Repeat and Circuit.

Everything that can be wrong with a circuit is found here, while it is built. What a circuit does to a state stands in
`program.py`, and what a person asks of it in `simulate.py`.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from qjax.checks import check, fail
from qjax.quantum.angle import Angle, AngleLike, Input, Parameter, as_angle, as_index
from qjax.quantum.gates import Gate
from qjax.quantum.gates import gate as gate_by_name
from qjax.types import CircuitParams

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Operation:
    """A gate on qubits; `operation` builds one from names and plain numbers."""

    gate: Gate
    qubits: tuple[int, ...]
    angles: tuple[Angle, ...] = ()

    def __post_init__(self) -> None:
        name, qubits = self.gate.name, tuple(as_index("qubits", q) for q in self.qubits)
        check(
            len(qubits) == self.gate.num_qubits,
            "qubits",
            f"hold {self.gate.num_qubits} qubit(s) for gate '{name}'",
            qubits,
        )
        check(len(set(qubits)) == len(qubits), "qubits", f"hold distinct integers for gate '{name}'", qubits)
        angles = tuple(as_angle(angle) for angle in self.angles)
        check(
            len(angles) == self.gate.num_angles,
            "angles",
            f"hold {self.gate.num_angles} angle(s) for gate '{name}'",
            angles,
        )
        object.__setattr__(self, "qubits", qubits)
        object.__setattr__(self, "angles", angles)

    def inverse(self) -> tuple["Operation", ...]:
        """Returns the operations that undo this one, in the order of application."""
        angles = tuple(-angle for angle in self.angles)
        return tuple(
            Operation(gate_by_name(name), tuple(self.qubits[i] for i in places), angles)
            for name, places in self.gate.inverse
        )

    def __repr__(self) -> str:
        angles = f"({', '.join(map(repr, self.angles))})" if self.angles else ""
        return f"{self.gate.name}{angles} {' '.join(map(str, self.qubits))}"


def operation(name: str, qubits: int | Sequence[int], *angles: AngleLike) -> Operation:
    """Returns the gate called `name` on `qubits`: operation('ry', 0, parameter('theta')), operation('cx', (0, 1))."""
    return Operation(gate_by_name(name), _as_tuple(qubits), tuple(as_angle(a) for a in angles))


@dataclass(frozen=True)
class Repeat:
    """A circuit applied `reps` times, with parameters of its own each time.

    Outside, each parameter of the body has a leading axis: shape [...] in the body is [reps, ...] here. Inputs are
    shared by all repetitions. With `reverse` the last entry comes first, as the inverse of a Repeat needs it.
    """

    body: "Circuit"
    reps: int
    reverse: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "reps", as_index("reps", self.reps))
        check(self.reps >= 1, "reps", "be an integer of at least 1", self.reps)

    @property
    def order(self) -> range:
        """Positions on the leading axis, in the order of application."""
        return range(self.reps)[::-1] if self.reverse else range(self.reps)

    def expand(self) -> Iterator[Operation]:
        """Yields the operations of all repetitions: theta[q] of repetition r becomes theta[r, q]."""
        body = tuple(self.body.iter_operations())
        for r in self.order:
            for op in body:
                yield Operation(op.gate, op.qubits, tuple(a.with_leading_index(r) for a in op.angles))

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.body.operations))
        return f"{self.reps} x [{inner}]" + (" reversed" if self.reverse else "")


@dataclass(frozen=True)
class Circuit:
    """Operations on `num_qubits` qubits, applied from first to last to |0...0>.

    Frozen and hashable: every method that changes something returns a new circuit.
    """

    num_qubits: int
    operations: tuple[Operation | Repeat, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_qubits", as_index("num_qubits", self.num_qubits))
        object.__setattr__(self, "operations", tuple(self.operations))
        check(self.num_qubits >= 1, "num_qubits", "be an integer of at least 1", self.num_qubits)
        for op in self.operations:
            if isinstance(op, Repeat):
                width = op.body.num_qubits
                check(width == self.num_qubits, "body", f"have {self.num_qubits} qubits like the circuit", width)
            elif isinstance(op, Operation):
                inside = max(op.qubits) < self.num_qubits
                check(inside, "qubits", f"hold distinct integers in 0..{self.num_qubits - 1}", op.qubits)
            else:
                fail("operations", "hold Operation and Repeat", op)
        _ = self._shapes  # found now, so that mistakes in them are too

    # Building ----------------------------------------------------------------------------------------------------

    def append(self, name: str, qubits: int | Sequence[int], *angles: AngleLike) -> "Circuit":
        """Returns this circuit followed by one gate: Circuit(2).append('h', 0).append('cx', (0, 1))."""
        return Circuit(self.num_qubits, (*self.operations, operation(name, qubits, *angles)))

    def __add__(self, other: "Circuit") -> "Circuit":
        check(isinstance(other, Circuit), "other", "be a Circuit", other)
        same = self.num_qubits == other.num_qubits
        check(same, "other", f"have {self.num_qubits} qubits like the circuit before it", other.num_qubits)
        return Circuit(self.num_qubits, self.operations + other.operations)

    def expand(self) -> "Circuit":
        """Returns the same circuit with every Repeat written out."""
        return Circuit(self.num_qubits, tuple(self.iter_operations()))

    def iter_operations(self) -> Iterator[Operation]:
        """Yields every operation in the order of application, those of a Repeat written out."""
        for op in self.operations:
            if isinstance(op, Repeat):
                yield from op.expand()
            else:
                yield op

    def inverse(self) -> "Circuit":
        """Returns the circuit that undoes this one, with the same parameters and inputs."""
        undone: list[Operation | Repeat] = []
        for op in reversed(self.operations):
            if isinstance(op, Repeat):
                undone.append(Repeat(op.body.inverse(), op.reps, not op.reverse))
            else:
                undone.extend(op.inverse())
        return Circuit(self.num_qubits, tuple(undone))

    # Parameters and inputs ---------------------------------------------------------------------------------------

    @property
    def parameter_shapes(self) -> Shapes:
        """Name -> shape of each parameter, in the order of first use; the largest index says how long an axis is."""
        return dict(self._shapes)

    @cached_property
    def num_inputs(self) -> int:
        """Length of an example's `inputs`: the largest index in use, plus one."""
        return max((_count_inputs(op) for op in self.operations), default=0)

    @property
    def num_parameters(self) -> int:
        """Number of trainable values."""
        return sum(prod(shape) for shape in self._shapes.values())

    def bind(self, params: CircuitParams | None = None, inputs: Any = None) -> "Circuit":
        """Returns the expanded circuit with every angle a number, computed in float64.

        Args:
          params: name -> array of the shape that `parameter_shapes` states, in radians.
          inputs: one example, `[num_inputs]`.

        Raises:
          UserError: names or shapes are wrong, or a value is not finite.
        """
        from qjax.quantum.binding import bind

        return bind(self, params, inputs)

    @property
    def is_bound(self) -> bool:
        """Whether every angle is a number."""
        return not self._shapes and self.num_inputs == 0

    # Counts ------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Returns how often each gate occurs, repetitions counted."""
        total: Counter[str] = Counter()
        for op in self.operations:
            if isinstance(op, Repeat):
                total.update({name: count * op.reps for name, count in op.body.counts().items()})
            else:
                total[op.gate.name] += 1
        return dict(total)

    def depth(self) -> int:
        """Returns the length of the longest chain of gates that wait for one another."""
        return _longest_chain(self.iter_operations(), min_qubits=1)

    def two_qubit_depth(self) -> int:
        """Returns the depth when only gates on two or more qubits take time."""
        return _longest_chain(self.iter_operations(), min_qubits=2)

    # Forms -------------------------------------------------------------------------------------------------------

    def draw(self, width: int = 80) -> str:
        """Returns a drawing in text, one line a qubit, folded at `width` columns."""
        from qjax.quantum.drawing import draw

        return draw(self, width=width)

    def to_json(self) -> str:
        """Returns the circuit as one line of JSON."""
        from qjax.quantum.json_format import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "Circuit":
        """Returns the circuit that `to_json` wrote."""
        from qjax.quantum.json_format import from_json

        return from_json(text)

    def __repr__(self) -> str:
        return f"Circuit({self.num_qubits} qubits: {', '.join(map(repr, self.operations)) or 'empty'})"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # circuits are keys of the compiler's cache; hashing one walks all of it
        return hash((self.num_qubits, self.operations))

    @cached_property
    def _shapes(self) -> Shapes:
        shapes: Shapes = {}
        for op in self.operations:
            for name, shape in _shapes_of(op).items():
                shapes[name] = _merge_shapes(name, shapes.get(name, shape), shape)
        for op in self.operations:
            if isinstance(op, Repeat):
                for name, inner in op.body.parameter_shapes.items():
                    _check_same_shape(name, inside=(op.reps, *inner), outside=shapes[name])
        return shapes


def _as_tuple(qubits: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(qubits) if isinstance(qubits, Iterable) else (operator.index(qubits),)


def _shapes_of(op: Operation | Repeat) -> Shapes:
    if isinstance(op, Repeat):
        return {name: (op.reps, *shape) for name, shape in op.body.parameter_shapes.items()}
    shapes: Shapes = {}
    for angle in op.angles:
        for ref in angle.references:
            if isinstance(ref, Parameter):
                shape = tuple(i + 1 for i in ref.index)
                shapes[ref.name] = _merge_shapes(ref.name, shapes.get(ref.name, shape), shape)
    return shapes


def _merge_shapes(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    check(
        len(first) == len(second),
        "parameter",
        f"have one number of indices wherever '{name}' is used",
        f"{len(first)} and {len(second)}",
    )
    return tuple(map(max, first, second))


def _check_same_shape(name: str, *, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    """A Repeat hands each repetition its slice: the same name elsewhere must not ask for another shape."""
    expectation = f"have one shape wherever '{name}' is used, {list(inside)} as in the Repeat"
    check(inside == outside, "parameter", expectation, str(list(outside)))


def _count_inputs(op: Operation | Repeat) -> int:
    if isinstance(op, Repeat):
        return op.body.num_inputs
    used = (ref.index + 1 for angle in op.angles for ref in angle.references if isinstance(ref, Input))
    return max(used, default=0)


def _longest_chain(operations: Iterable[Operation], *, min_qubits: int) -> int:
    ends: Counter[int] = Counter()
    for op in operations:
        end = max(ends[q] for q in op.qubits) + (len(op.qubits) >= min_qubits)
        ends.update({q: end - ends[q] for q in op.qubits})
    return max(ends.values(), default=0)
