"""What is read from the final state: hashable functions, complex `[2**n, batch]` -> real arrays `[..., batch]`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.measure.expectation import is_diagonal, observable_values
from qjax.quantum.measure.observables import Observable
from qjax.quantum.measure.pauli import PauliString, PauliSum
from qjax.quantum.states.axes import marginal, squared
from qjax.types import Array


class Readout(ABC):
    """What is read from the final state; subclasses are frozen and hashable."""

    @abstractmethod
    def __call__(self, state: Array) -> tuple[Array, ...]:
        """Returns real arrays `[..., batch]`."""

    @property
    def folds(self) -> bool:
        """Whether X, CX and SWAP at the end of the circuit can go into the readout, by `before`."""
        return False

    def before(self, operations: Sequence[Operation]) -> "Readout":
        """Returns what reads from the state before these X, CX and SWAP what this reads after them."""
        raise NotImplementedError


@dataclass(frozen=True)
class StateReadout(Readout):
    """The amplitudes themselves, as real and imaginary parts."""

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return state.real, state.imag


@dataclass(frozen=True)
class ProbabilityReadout(Readout):
    """The probability of each outcome of some qubits, `[2**k, batch]`."""

    kept: tuple[int, ...]

    def __call__(self, state: Array) -> tuple[Array, ...]:
        n = int(state.shape[0]).bit_length() - 1
        return (marginal(squared(state), self.kept, n),)


@dataclass(frozen=True)
class ExpectationReadout(Readout):
    """The expectation values `[observables, batch]`."""

    observables: tuple[Observable, ...]

    @property
    def folds(self) -> bool:
        return all(map(is_diagonal, self.observables))

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return (observable_values(state, self.observables),)

    def before(self, operations: Sequence[Operation]) -> Readout:
        relabelling = Relabelling(self.observables[0].num_qubits)
        moves: dict[str, Callable[..., None]] = {"x": relabelling.x, "cx": relabelling.cx, "swap": relabelling.swap}
        for op in operations:
            moves[op.gate.name](*op.qubits)
        return ExpectationReadout(tuple(_sum_before(item.to_sum(), relabelling) for item in self.observables))  # type: ignore[union-attr]


def _sum_before(total: PauliSum, relabelling: Relabelling) -> PauliSum:
    """Returns the sum of strings of I and Z that has the same values before a linear permutation."""
    terms = []
    for coefficient, string in total.terms:
        mask, flip = relabelling.string(string.paulis)
        letters = "".join("Z" if mask >> q & 1 else "I" for q in range(relabelling.num_qubits))
        terms.append(((-1.0) ** flip * coefficient, PauliString(letters)))
    return PauliSum(tuple(terms))
