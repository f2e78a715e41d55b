"""A circuit that is repeated, as a part of another one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.operation import Operation

# A `Circuit`: that module imports this one, and the views of a circuit, so none of them can import it.
CircuitLike = Any


@dataclass(frozen=True)
class Repeat:
    """A circuit applied `reps` times.

    Each repetition has parameters of its own: outside, each parameter of the body has a leading axis, shape [...] in
    the body is [reps, ...] here. With `shared` all repetitions have the same ones and no axis is added. Inputs are
    the same for all repetitions. With `reverse` the last entry comes first, as the inverse of a Repeat needs it.
    """

    body: CircuitLike
    reps: int
    reverse: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        check(hasattr(self.body, "iter_operations"), "body", "be a Circuit", self.body)
        object.__setattr__(self, "reps", as_index("reps", self.reps))
        check(self.reps >= 1, "reps", "be an integer of at least 1", self.reps)
        object.__setattr__(self, "shared", bool(self.shared))
        object.__setattr__(self, "reverse", bool(self.reverse) and not self.shared)  # equal steps have no order

    @property
    def order(self) -> range:
        """Positions on the leading axis, in the order of application."""
        return range(self.reps)[::-1] if self.reverse else range(self.reps)

    def expand(self) -> Iterator[Operation]:
        """Yields the operations of all repetitions: theta[q] of repetition r becomes theta[r, q]."""
        body = tuple(self.body.iter_operations())
        for r in self.order:
            for op in body:
                yield op if self.shared else op.with_leading_index(r)

    def inverse(self) -> "Repeat":
        """Returns the Repeat that undoes this one."""
        return Repeat(self.body.inverse(), self.reps, not self.reverse, self.shared)

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.body.operations))
        return f"{self.reps} x [{inner}]" + " reversed" * self.reverse + " shared" * self.shared
