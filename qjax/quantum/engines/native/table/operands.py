"""Where the native code finds the numbers of each gate: in what it is handed, or makes itself.

JAX hands over two arrays, `[., 1]` of what all examples share and `[., batch]` of what each has. For a CPU these are
parameters and inputs as they are, and gates point to their entries: so the program that XLA compiles does not grow
with the circuit. Behind them come angles that are more than an entry of an array, and numbers of gates that the
native code cannot make; those of one form are made together (`coefficients.py`). A GPU is handed such alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qjax.quantum.circuits.angle import Angle, Parameter, Reference
from qjax.quantum.engines.native.table.factor_recipes import constants_of, is_entry, numbers_of, recipe_of
from qjax.quantum.engines.native.table.layout import NUM_SCALES, Form
from qjax.quantum.engines.native.table.native_gates import NativeGate, rotation_constants
from qjax.quantum.states.matrices import constant_matrices, fixed_block

# Positions on the leading axes of parameters, in the loops around a gate.
Leading = tuple[int, ...]
# Which numbers, and the place among them: 0 and 1 are the `Sources`.
Place = tuple[Hashable, int]
_NOWHERE = "nowhere", -1
_INPUTS = ""  # stands for the inputs: no parameter has that name


class Sources:
    """Parameters and inputs, flattened and side by side: those that all examples share (0), and the others (1).

    Attributes:
      names: of the arrays in each, '' for the inputs.
      counts: numbers in each.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], num_inputs: int, batched: frozenset[str]) -> None:
        self.names: tuple[list[str], list[str]] = ([], [])
        self.counts = [0, 0]
        self._arrays: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        for name, shape in (*shapes.items(), (_INPUTS, (num_inputs,))):
            per_example = int((name or "inputs") in batched)
            strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
            self._arrays[name] = per_example, self.counts[per_example], strides
            self.names[per_example].append(name)
            self.counts[per_example] += int(np.prod(shape))

    def find(self, reference: Reference, leading: Leading) -> tuple[int, int]:
        """Returns which of the two a reference is in, and its place there."""
        if isinstance(reference, Parameter):
            per_example, place, strides = self._arrays[reference.name]
            index = (*leading, *reference.index)
        else:
            per_example, place, strides = self._arrays[_INPUTS]
            index = (reference.index,)
        for i, stride in zip(index, strides, strict=True):
            place += i * stride
        return per_example, place


class AngleForm(NamedTuple):
    """What angles have in common that are computed together.

    Attributes:
      per_example: whether they differ between examples.
      shift: see `Angle`.
      scale: of an entry of an array, or of one that was doubled or negated, which are exact; 0 of any other angle.
      sources: of each reference of each term, which of the `Sources` it is in.
    """

    per_example: int
    shift: float
    scale: float
    sources: tuple[tuple[int, ...], ...]


class Angles:
    """Angles that JAX makes, by their form: of each the scales of its terms and the places of their references."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.forms: dict[AngleForm, dict[tuple[tuple[float, ...], tuple[int, ...]], int]] = {}

    def add(self, angle: Angle, leading: Leading) -> tuple[AngleForm, int]:
        """Returns the form of an angle and its place among those of this form, which it has from now on."""
        found = [[self.sources.find(ref, leading) for ref in refs] for _, refs in angle.terms]
        sources = tuple([tuple([per_example for per_example, _ in term]) for term in found])
        scales = tuple([scale for scale, _ in angle.terms])
        is_exact = not angle.shift and [len(term) for term in found] == [1] and abs(scales[0]) in (1.0, 2.0)
        form = AngleForm(
            max(map(max, sources), default=0), angle.shift, scales[0] * is_exact if scales else 0.0, sources
        )
        members = self.forms.setdefault(form, {})
        key = scales, tuple([place for term in found for _, place in term])
        return form, members.setdefault(key, len(members))

    def starts(self) -> dict[AngleForm, int]:
        """Returns where each form begins, among those that examples share or among the others."""
        counts, found = [0, 0], {}
        for form, members in self.forms.items():
            found[form] = counts[form.per_example]
            counts[form.per_example] += len(members)
        return found

    def count(self, per_example: int) -> int:
        """Returns how many there are that examples share (0), or that each has (1)."""
        return sum(len(members) for form, members in self.forms.items() if form.per_example == per_example)


class Group(NamedTuple):
    """Gates of one kind, whose numbers JAX makes.

    Attributes:
      item: one of them.
      angles: of each gate the angles of its operations, one after the other: form and place in `Angles`.
    """

    item: NativeGate
    angles: list[tuple[tuple[AngleForm, int], ...]]


class Counts(NamedTuple):
    """How many numbers there are, in the order in which they lie.

    Attributes:
      shared: handed over, of all examples.
      constants: the same in every call.
      composed: made of the former by the native code of a CPU.
      per_example: handed over, of each example.
      made: made of these by the native code.
    """

    shared: int
    constants: int
    composed: int
    per_example: int
    made: int

    @property
    def num_shared(self) -> int:
        """Number of those that are the same for all examples; they come first."""
        return self.shared + self.constants + self.composed


class Operands:
    """The numbers of gates: what is handed over of all examples, constants, what the native code of a CPU composes;
    and what is handed over of each example, and made of that.

    Attributes:
      sources: parameters and inputs.
      handed: angles that JAX makes and hands over.
      inner: angles of the gates that it makes itself.
      groups: these gates.
      takes_sources: whether parameters and inputs are handed over as they are.
      counts: of numbers.
      constants: float64 `[constants]`.
      recipes: see `recipe_of`.
      signs: of diagonal gates that are 1 and -1 in every call, by the place of their numbers: 1 where it is -1.
      firsts: the place of each gate's first number; of one without numbers -1.
      rotations: where the native code finds constants and angle of a gate, by the place of its first number.
      angles: places of the angles whose sums are phases, by the number of their gate.
    """

    def __init__(self, gates: Sequence[tuple[NativeGate, Leading]], sources: Sources, takes_sources: bool) -> None:
        """Finds a place for the numbers of all gates, in order, with their positions in the loops around them."""
        self.sources, self.takes_sources = sources, takes_sources
        self.handed, self.inner = Angles(sources), Angles(sources)
        self.groups: dict[Hashable, Group] = {}
        self._constants: list[NativeGate] = []  # rotations, a kind each, and gates that are constants
        self._kinds: dict[Hashable, int] = {}  # of rotations, where their constants begin
        self._composed: dict[Hashable, tuple[NativeGate, list[list[Place]]]] = {}
        self._sizes = dict.fromkeys(("constant", "composed", "made"), 0)
        self._rotations: list[tuple[Place, Place, Place]] = []
        # Repetitions that have nothing of their own share their numbers.
        keys = [(id(item), () if item.is_constant else leading) for item, leading in gates]
        places = {key: self._add(*gate) for key, gate in dict(zip(keys, gates, strict=True)).items() if gate[0].size}
        summed = [(k, *gate) for k, gate in enumerate(gates) if gate[0].angles]
        strings = {k: [self.handed.add(angle, leading) for angle in item.angles] for k, item, leading in summed}
        self._lay_out()
        self.firsts = [self._at(places[key]) if key in places else -1 for key in keys]
        self.angles = {k: [self._at(place) for place in places] for k, places in strings.items()}
        self.rotations = {
            self._at(first): (self._at(start), self._at(angle)) for first, start, angle in self._rotations
        }
        self._make_constants()
        self._make_recipes()

    def _add(self, item: NativeGate, leading: Leading) -> Place:
        """Returns the place of a gate's first number, and notes where they come from."""
        if item.is_constant:
            self._constants.append(item)
            return self._next("constant", item.size)
        if item.angle:
            if item.kind not in self._kinds:
                self._constants.append(item)
                self._kinds[item.kind] = self._next("constant", NUM_SCALES + 3 * item.size)[1]
            first = self._next("made", item.num_made)
            start = "constant", self._kinds[item.kind]
            self._rotations.append((first, start, self._angle(item.angle, leading)))
            return first
        if item.factors:
            first = self._next("composed", item.size)
            rows = [_NOWHERE if one.angle is None else self._angle(one.angle, leading) for one in item.factors]
            self._composed.setdefault(item.kind, (item, []))[1].append([first, *rows])
            return first
        group = self.groups.setdefault(item.kind, Group(item, []))
        angles = [self.inner.add(angle, leading) for op in item.operations for angle in op.angles]
        group.angles.append(tuple(angles))
        return item.kind, item.size * (len(group.angles) - 1)

    def _next(self, name: str, size: int) -> Place:
        first = self._sizes[name]
        self._sizes[name] += size
        return name, first

    def _angle(self, angle: Angle, leading: Leading) -> Place:
        """Returns the place of an angle: where it is an entry of an array, that of the entry."""
        if self.takes_sources and is_entry(angle):
            return self.sources.find(angle.terms[0][1][0], leading)
        return self.handed.add(angle, leading)

    def _lay_out(self) -> None:
        """Says where what belongs together begins."""
        counts = self.sources.counts if self.takes_sources else [0, 0]
        ends = list(counts)
        starts: dict[Hashable, tuple[int, int]] = {}
        for form, start in self.handed.starts().items():
            starts[form] = form.per_example, ends[form.per_example] + start
        for per_example in (0, 1):
            ends[per_example] += self.handed.count(per_example)
        for kind, (item, angles) in self.groups.items():
            starts[kind] = int(item.per_example), ends[item.per_example]
            ends[item.per_example] += item.size * len(angles)
        self.counts = Counts(ends[0], self._sizes["constant"], self._sizes["composed"], ends[1], self._sizes["made"])
        num_shared = self.counts.num_shared
        self._starts: dict[Hashable, int] = {
            kind: per_example * num_shared + start for kind, (per_example, start) in starts.items()
        }
        self._starts |= {0: 0, 1: num_shared, "constant": ends[0], "composed": ends[0] + self.counts.constants}
        self._starts |= {"made": num_shared + ends[1], _NOWHERE[0]: 0}

    def _at(self, place: Place) -> int:
        return self._starts[place[0]] + place[1]

    def _make_constants(self) -> None:
        fixed = [item for item in self._constants if item.is_constant]
        matrices = iter(constant_matrices([fixed_block(item.operations, item.qubits) for item in fixed]))
        parts: list[np.ndarray] = [np.zeros(0)]
        self.signs: dict[int, np.ndarray] = {}
        end = self.counts.shared
        for item in self._constants:
            assert item.form is not None
            if item.is_constant:
                numbers = numbers_of(next(matrices), item.form)
                if item.form[0] == "diagonal" and np.all(np.isin(numbers, (1, -1))):
                    self.signs[end] = numbers.real < 0
                parts.append(np.ascontiguousarray(numbers).view(np.float64))
            else:
                parts.append(rotation_constants(item))
            end += len(parts[-1])
        self.constants = np.concatenate(parts)

    def _make_recipes(self) -> None:
        kinds = [(item, item.form, places) for item, places in self._composed.values() if item.form]
        factors = [(factor, item.qubits, _factor_form(form)) for item, form, _ in kinds for factor in item.factors]
        constants = iter(constants_of(factors))
        self.recipes: list[np.ndarray] = []
        for item, form, members in kinds:
            rows = np.array([[self._at(place) for place in places] for places in members], np.int32).T
            self.recipes.append(recipe_of([next(constants) for _ in item.factors], form, rows))


def _factor_form(form: Form) -> Form:
    """Returns the form of the factors of a gate: that which makes a column is a product of matrices."""
    return ("dense", *form[1:]) if form[0] == "start" else form
