"""What is read from the final state: hashable functions, complex `[2**n, batch]` -> real arrays `[..., batch]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qjax.quantum.measurement import marginal, observable_values, squared
from qjax.quantum.observables import Observable
from qjax.quantum.operation import Operation
from qjax.quantum.pauli import PauliString, PauliSum
from qjax.types import Array

# Permutations that add bits to bits, modulo 2, or turn one over: they take each string of I and Z to another one.
_LINEAR = ("x", "cx", "swap")


@runtime_checkable
class Readout(Protocol):
    """What is read from the final state."""

    def __call__(self, state: Array) -> tuple[Array, ...]:
        """Returns real arrays `[..., batch]`."""

    @property
    def folds(self) -> bool:
        """Whether a linear permutation at the end of the circuit can go into the readout."""

    def before(self, operations: Sequence[Operation]) -> "Readout":
        """Returns what reads from the state before these operations what this reads after them; see `is_linear`."""


@dataclass(frozen=True)
class StateReadout:
    """The amplitudes themselves, as real and imaginary parts."""

    folds = False

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return state.real, state.imag

    def before(self, operations: Sequence[Operation]) -> Readout:
        raise NotImplementedError


@dataclass(frozen=True)
class ProbabilityReadout:
    """The probability of each outcome of some qubits, `[2**k, batch]`."""

    kept: tuple[int, ...]
    folds = False

    def __call__(self, state: Array) -> tuple[Array, ...]:
        n = int(state.shape[0]).bit_length() - 1
        return (marginal(squared(state), self.kept, n),)

    def before(self, operations: Sequence[Operation]) -> Readout:
        raise NotImplementedError


@dataclass(frozen=True)
class ExpectationReadout:
    """The expectation values `[observables, batch]`."""

    observables: tuple[Observable, ...]

    @property
    def folds(self) -> bool:
        return all(
            isinstance(item, PauliString | PauliSum)
            and all(set(s.paulis) <= {"I", "Z"} for _, s in item.to_sum().terms)
            for item in self.observables
        )

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return (observable_values(state, self.observables),)

    def before(self, operations: Sequence[Operation]) -> Readout:
        n = self.observables[0].num_qubits
        masks, turned = linear_map(operations, n)
        return ExpectationReadout(tuple(_sum_before(item.to_sum(), masks, turned) for item in self.observables))  # type: ignore[union-attr]


def is_linear(operations: Sequence[Operation]) -> bool:
    """Whether a permutation is made of X, CX and SWAP alone."""
    return all(op.gate.name in _LINEAR and not op.controls for op in operations)


def linear_map(operations: Sequence[Operation], num_qubits: int) -> tuple[list[int], list[int]]:
    """Returns for each qubit the qubits before, as a mask, whose bits add up to its bit after, and what is added.

    >>> from qjax.quantum import operation
    >>> linear_map([operation("cx", (0, 1)), operation("x", 1)], 2)
    ([1, 3], [0, 1])

    Args:
      operations: of X, CX and SWAP.
      num_qubits: n; bit q of a mask stands for qubit q.
    """
    masks, turned = [1 << q for q in range(num_qubits)], [0] * num_qubits
    for op in operations:
        first, last = op.qubits[0], op.qubits[-1]
        if op.gate.name == "x":
            turned[first] ^= 1
        elif op.gate.name == "cx":
            masks[last] ^= masks[first]
            turned[last] ^= turned[first]
        else:
            masks[first], masks[last] = masks[last], masks[first]
            turned[first], turned[last] = turned[last], turned[first]
    return masks, turned


def _sum_before(total: PauliSum, masks: Sequence[int], turned: Sequence[int]) -> PauliSum:
    """Returns the sum of strings of I and Z that has the same values before a linear permutation."""
    terms = []
    for coefficient, string in total.terms:
        mask, sign = 0, 1.0
        for q, letter in enumerate(string.paulis):
            if letter == "Z":
                mask, sign = mask ^ masks[q], sign * (-1.0) ** turned[q]
        letters = "".join("Z" if mask >> q & 1 else "I" for q in range(len(masks)))
        terms.append((sign * coefficient, PauliString(letters)))
    return PauliSum(tuple(terms))
