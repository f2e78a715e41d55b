"""Circuits as frozen, hashable data: Circuit and Repeat, made of operations.

Everything that can be wrong with a circuit is found here, while it is built. What a circuit does to a state stands in
`compiler.py`, and what a person asks of it in `simulate.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, SupportsFloat

from qjax.checks import check, fail
from qjax.quantum.circuits.angle import AngleLike, Input, Parameter, as_index, as_tuple
from qjax.quantum.circuits.binding import bind
from qjax.quantum.circuits.drawing import draw
from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.json_format import from_json, to_json
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.powers import power
from qjax.quantum.circuits.repeat import Repeat
from qjax.types import CircuitParams
from qjax.untrusted import MAX_CIRCUIT_QUBITS

Shapes = dict[str, tuple[int, ...]]


def as_circuit(value: object, argument: str = "circuit") -> "Circuit":
    """Returns the value, or raises unless it is a circuit."""
    check(isinstance(value, Circuit), argument, "be a Circuit", value)
    return value  # type: ignore[return-value]


@dataclass(frozen=True)
class Circuit:
    """Operations on `num_qubits` qubits, applied from first to last to |0...0>.

    Frozen and hashable: every method that changes something returns a new circuit.

    >>> Circuit(2).append("h", 0).append("cx", (0, 1))
    Circuit(2 qubits: h 0, cx 0 1)
    """

    num_qubits: int
    operations: tuple[Operation | Repeat, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_qubits", as_index("num_qubits", self.num_qubits))
        several = isinstance(self.operations, Iterable)
        check(several, "operations", "be a sequence of Operation and Repeat", self.operations)
        object.__setattr__(self, "operations", tuple(self.operations))
        expectation = f"be an integer in 1..{MAX_CIRCUIT_QUBITS}"
        check(1 <= self.num_qubits <= MAX_CIRCUIT_QUBITS, "num_qubits", expectation, self.num_qubits)
        for op in self.operations:
            if isinstance(op, Repeat):
                width = op.body.num_qubits
                check(width == self.num_qubits, "body", f"have {self.num_qubits} qubits like the circuit", width)
            elif isinstance(op, Operation):
                expectation = f"hold distinct integers in 0..{self.num_qubits - 1}"
                for argument, places in (("qubits", op.qubits), ("controls", op.controls)):
                    check(max(places, default=0) < self.num_qubits, argument, expectation, places)
            else:
                fail("operations", "hold Operation and Repeat", op)
        _ = self._shapes  # computed now, so that mistakes in them raise here

    # Building ----------------------------------------------------------------------------------------------------

    def append(
        self,
        gate: str | Gate,
        qubits: int | Sequence[int],
        *angles: AngleLike,
        controls: int | Sequence[int] = (),
        control_values: int | Sequence[int] | None = None,
    ) -> "Circuit":
        """Returns this circuit followed by one gate; `operation` states the arguments."""
        added = operation(gate, qubits, *angles, controls=controls, control_values=control_values)
        return self + Circuit(self.num_qubits, (added,))

    def __add__(self, other: "Circuit") -> "Circuit":
        as_circuit(other, "other")
        same = self.num_qubits == other.num_qubits
        check(same, "other", f"have {self.num_qubits} qubits like the circuit before it", other.num_qubits)
        # Both are checked: looking at all operations again would make building gate by gate quadratic.
        joined = object.__new__(Circuit)
        object.__setattr__(joined, "num_qubits", self.num_qubits)
        object.__setattr__(joined, "operations", self.operations + other.operations)
        shapes = _join_shapes((self._shapes, other._shapes), (self._sliced, other._sliced))
        object.__setattr__(joined, "_shapes", shapes)
        object.__setattr__(joined, "_sliced", self._sliced | other._sliced)
        return joined

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

    def map_operations(self, change: Callable[[Operation], Operation], num_qubits: int | None = None) -> "Circuit":
        """Returns the circuit with change(operation) in place of every operation, Repeats kept.

        Args:
          change: from old to new.
          num_qubits: of the new circuit; None where it stays.
        """
        n = self.num_qubits if num_qubits is None else num_qubits
        changed = [
            replace(op, body=op.body.map_operations(change, n)) if isinstance(op, Repeat) else change(op)
            for op in self.operations
        ]
        return Circuit(n, tuple(changed))

    def inverse(self) -> "Circuit":
        """Returns the circuit that undoes this one, with the same parameters and inputs."""
        undone: list[Operation | Repeat] = []
        for op in reversed(self.operations):
            undone.extend((op.inverse(),) if isinstance(op, Repeat) else op.inverse())
        return Circuit(self.num_qubits, tuple(undone))

    def remap(self, qubits: Sequence[int], num_qubits: int | None = None) -> "Circuit":
        """Returns the circuit with qubit q moved to qubits[q].

        Args:
          qubits: the new place of each qubit, `num_qubits` of them.
          num_qubits: of the new circuit; None for as many as before.

        Raises:
          UserError: the places are not distinct, out of range, or not one for each qubit.

        >>> Circuit(2).append("cx", (0, 1)).remap((3, 1), num_qubits=4)
        Circuit(4 qubits: cx 3 1)
        """
        wide = self.num_qubits if num_qubits is None else as_index("num_qubits", num_qubits)
        places = tuple(as_index("qubits", q) for q in as_tuple("qubits", qubits))
        valid = len(places) == len(set(places)) == self.num_qubits and max(places) < wide
        check(valid, "qubits", f"hold {self.num_qubits} distinct integers in 0..{wide - 1}", places)
        return self.map_operations(lambda op: op.remap(places), wide)

    def controlled(self, num_controls: int = 1, control_values: int | Sequence[int] | None = None) -> "Circuit":
        """Returns the circuit under controls, which become qubits 0..num_controls-1; the circuit's own follow.

        Args:
          num_controls: at least 1.
          control_values: 0 or 1 for each; all 1 where it is None.
        """
        count = as_index("num_controls", num_controls)
        check(count >= 1, "num_controls", "be an integer of at least 1", num_controls)
        given = control_values if isinstance(control_values, Iterable | None) else (control_values,)
        values = (1,) * count if given is None else tuple(given)
        valid = len(values) == count and all(v in (0, 1) for v in values)
        check(valid, "control_values", f"hold 0 or 1 for each of {count} control(s)", values)
        moved = self.remap(range(count, count + self.num_qubits), count + self.num_qubits)
        return moved.map_operations(lambda op: op.controlled(range(count), values))

    def power(self, exponent: SupportsFloat) -> "Circuit":
        """Returns the circuit done `exponent` times; a negative number undoes it, a fraction is a root.

        A whole number gives a Repeat with shared parameters. A fraction gives the principal power of the circuit's
        unitary as one gate on all qubits; of a circuit of one operation, `Operation.power`.

        Raises:
          UserError: a fraction of a circuit that is not bound, or of more than 8 qubits.
        """
        made: Circuit = power(self, float(exponent))
        return made

    def rename(self, names: Mapping[str, str]) -> "Circuit":
        """Returns the circuit with names[name] in place of parameters' names: a template can be used twice.

        Raises:
          UserError: a name is not a parameter of the circuit, or two would become one.
        """
        shapes = self.parameter_shapes
        for name in names:
            check(name in shapes, "names", "name parameters of the circuit", str(name), shapes or ("(none)",))
        after = [names.get(name, name) for name in shapes]
        check(len(set(after)) == len(after), "names", "keep the parameters apart", str(dict(names)))
        return self.map_operations(lambda op: op.rename(names))

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
          UserError: names or shapes are wrong, or a value is traced or not finite.
        """
        made: Circuit = bind(self, params, inputs)
        return made

    @property
    def is_bound(self) -> bool:
        """Whether every angle is a number."""
        return not self._shapes and self.num_inputs == 0

    # Counts ------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Returns how often each gate occurs, repetitions counted; 'c3-x' is x under three controls."""
        total: Counter[str] = Counter()
        for op in self.operations:
            if isinstance(op, Repeat):
                total.update({name: count * op.reps for name, count in op.body.counts().items()})
            elif not op.is_barrier:
                prefix = f"c{len(op.controls) if len(op.controls) > 1 else ''}-" if op.controls else ""
                total[prefix + op.gate.name] += 1
        return dict(total)

    def depth(self) -> int:
        """Returns the length of the longest chain of gates that wait for one another; gates wait at a barrier."""
        return _longest_chain(self.iter_operations(), min_qubits=1)

    def two_qubit_depth(self) -> int:
        """Returns the depth when only gates on two or more qubits take time."""
        return _longest_chain(self.iter_operations(), min_qubits=2)

    def connectivity(self) -> tuple[tuple[int, int], ...]:
        """Returns the pairs of qubits, sorted, that some gate joins: what a device must connect."""
        pairs: set[tuple[int, int]] = set()
        for op in self.operations:
            if isinstance(op, Repeat):
                pairs.update(op.body.connectivity())
            elif not op.is_barrier:
                pairs.update((a, b) for a in op.all_qubits for b in op.all_qubits if a < b)
        return tuple(sorted(pairs))

    # Forms -------------------------------------------------------------------------------------------------------

    def draw(self, width: int = 80) -> str:
        """Returns a drawing in text, one line a qubit, folded at `width` columns."""
        return draw(self, width=width)

    def to_json(self) -> str:
        """Returns the circuit as one line of JSON."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "Circuit":
        """Returns the circuit that `to_json` wrote."""
        made: Circuit = from_json(text, Circuit)
        return made

    def __repr__(self) -> str:
        return f"Circuit({self.num_qubits} qubits: {', '.join(map(repr, self.operations)) or 'empty'})"

    def __reduce__(self) -> tuple[Any, ...]:  # without cached values: hashes differ between processes
        return Circuit, (self.num_qubits, self.operations)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # circuits are keys of the compiler's cache; hashing one walks all of it
        return hash((self.num_qubits, self.operations))

    @cached_property
    def _shapes(self) -> Shapes:
        return _join_shapes(map(_shapes_of, self.operations), map(_sliced_shapes, self.operations))

    @cached_property
    def _sliced(self) -> Shapes:
        """Shapes of the parameters that some Repeat slices; `_shapes` has checked that each has one shape."""
        return {name: shape for op in self.operations for name, shape in _sliced_shapes(op).items()}


def _join_shapes(parts: Iterable[Shapes], sliced: Iterable[Shapes]) -> Shapes:
    """Returns the shapes that fit all parts; raises where a part slices a parameter and another shape is due.

    A Repeat hands each repetition its slice: the same name elsewhere must not ask for another shape.
    """
    shapes: Shapes = {}
    for part in parts:
        for name, shape in part.items():
            shapes[name] = _merge_shapes(name, shapes.get(name, shape), shape)
    for part in sliced:
        for name, inside in part.items():
            expectation = f"have one shape wherever '{name}' is used, {list(inside)} as in the Repeat"
            check(inside == shapes[name], "parameter", expectation, str(list(shapes[name])))
    return shapes


def _shapes_of(op: Operation | Repeat) -> Shapes:
    if isinstance(op, Repeat):
        leading = () if op.shared else (op.reps,)
        return {name: (*leading, *shape) for name, shape in op.body.parameter_shapes.items()}
    shapes: Shapes = {}
    for angle in op.angles:
        for ref in angle.references:
            if isinstance(ref, Parameter):
                shape = tuple(i + 1 for i in ref.index)
                shapes[ref.name] = _merge_shapes(ref.name, shapes.get(ref.name, shape), shape)
    return shapes


def _merge_shapes(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    finding = f"{len(first)} and {len(second)}"
    check(len(first) == len(second), "parameter", f"have one number of indices wherever '{name}' is used", finding)
    return tuple(map(max, first, second))


def _sliced_shapes(op: Operation | Repeat) -> Shapes:
    """Returns shapes of the parameters that a Repeat slices along their leading axis."""
    if isinstance(op, Operation):
        return {}
    return op.body._sliced if op.shared else _shapes_of(op)


def _count_inputs(op: Operation | Repeat) -> int:
    if isinstance(op, Repeat):
        return int(op.body.num_inputs)
    used = (ref.index + 1 for angle in op.angles for ref in angle.references if isinstance(ref, Input))
    return max(used, default=0)


def _longest_chain(operations: Iterable[Operation], *, min_qubits: int) -> int:
    ends: Counter[int] = Counter()
    for op in operations:
        qubits = op.all_qubits
        counted = len(qubits) >= min_qubits and not op.is_barrier
        end = max((ends[q] for q in qubits), default=0) + counted
        ends.update({q: end - ends[q] for q in qubits})
    return max(ends.values(), default=0)
