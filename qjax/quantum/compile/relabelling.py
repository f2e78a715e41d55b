"""Relabelling of a state's rows, so that X, CX and SWAP need not move any amplitude.

These gates add bits to bits, modulo 2. Instead of moving amplitudes they change what a row of the state stands for:
qubit q of row r is the parity of r & weights[q], flipped if flips[q] is 1. The row that differs from r only in qubit
q is r ^ masks[q].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Relabelling:
    """What the rows of a state stand for; at first qubit q is bit q of the row.

    >>> relabelling = Relabelling(2)
    >>> relabelling.cx(0, 1)
    >>> relabelling.x(1)
    >>> relabelling.weights, relabelling.flips
    ([1, 3], [0, 1])

    Attributes:
      num_qubits: n.
      masks: for each qubit the bits of the row to change in order to flip this qubit alone.
      weights: for each qubit the bits of the row whose parity it is.
      flips: for each qubit 1 if it is the opposite of that parity, else 0.
    """

    num_qubits: int
    masks: list[int] = field(init=False)
    weights: list[int] = field(init=False)
    flips: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.masks = [1 << q for q in range(self.num_qubits)]
        self.weights, self.flips = list(self.masks), [0] * self.num_qubits

    def x(self, qubit: int) -> None:
        """Flips a qubit: X."""
        self.flips[qubit] ^= 1

    def cx(self, control: int, target: int) -> None:
        """Adds the control to the target, modulo 2: CX."""
        self.weights[target] ^= self.weights[control]
        self.flips[target] ^= self.flips[control]
        self.masks[control] ^= self.masks[target]

    def swap(self, first: int, second: int) -> None:
        """Exchanges two qubits: SWAP."""
        for values in (self.masks, self.weights, self.flips):
            values[first], values[second] = values[second], values[first]

    def string(self, paulis: str) -> tuple[int, int]:
        """Returns the bits of a row whose parity is that of the qubits with a Z, and 1 if that parity is flipped."""
        mask = flip = 0
        for letter, weights, flipped in zip(paulis, self.weights, self.flips, strict=True):
            if letter == "Z":
                mask, flip = mask ^ weights, flip ^ flipped
        return mask, flip

    def rows(self) -> np.ndarray:
        """Returns for each basis index the row where its amplitude lies, int32 `[2**n]`."""
        index = np.arange(2**self.num_qubits)
        first = 0  # the row of basis index 0: it undoes all flips
        for mask, flip in zip(self.masks, self.flips, strict=True):
            first ^= mask * flip
        rows = np.full(len(index), first)
        for q, mask in enumerate(self.masks):
            rows ^= mask * (index >> (self.num_qubits - 1 - q) & 1)
        return rows.astype(np.int32)


def pivots(masks: Sequence[int]) -> list[int]:
    """Returns one pivot bit per mask, ascending; each coset has exactly one row where all pivots are 0.

    The cosets are those of the span of the masks, which must be independent, as those of different qubits are.
    """
    reduced: list[int] = []
    bits: list[int] = []
    for mask in masks:
        for other, bit in zip(reduced, bits, strict=True):
            mask ^= other if mask >> bit & 1 else 0
        top = mask.bit_length() - 1
        reduced = [other ^ mask if other >> top & 1 else other for other in reduced]
        reduced.append(mask)
        bits.append(top)
    return sorted(bits)
