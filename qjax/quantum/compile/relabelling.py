"""Where the amplitudes of a state lie, so that X, CX and SWAP need not move any of them.

Such gates add bits to bits, modulo 2. In place of the amplitudes they change what a row of the state stands for:
qubit q of row r is the parity of r & weights[q], turned over where flips[q] is 1; and the row that differs from r in
qubit q alone is r ^ masks[q].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Frame:
    """What the rows of a state stand for; at first qubit q is bit q of the row.

    >>> frame = Frame(2)
    >>> frame.cx(0, 1)
    >>> frame.x(1)
    >>> frame.weights, frame.flips
    ([1, 3], [0, 1])

    Attributes:
      num_qubits: n.
      masks: for each qubit the change of row that turns it over.
      weights: for each qubit the bits of the row whose parity it is.
      flips: for each qubit whether it is the opposite of that parity.
    """

    num_qubits: int
    masks: list[int] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    flips: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.masks:
            self.masks = [1 << q for q in range(self.num_qubits)]
            self.weights, self.flips = list(self.masks), [0] * self.num_qubits

    def x(self, qubit: int) -> None:
        """Turns a qubit over."""
        self.flips[qubit] ^= 1

    def cx(self, control: int, target: int) -> None:
        """Adds the control to the target."""
        self.weights[target] ^= self.weights[control]
        self.flips[target] ^= self.flips[control]
        self.masks[control] ^= self.masks[target]

    def swap(self, first: int, second: int) -> None:
        """Exchanges two qubits."""
        for own in (self.masks, self.weights, self.flips):
            own[first], own[second] = own[second], own[first]

    def string(self, paulis: str) -> tuple[int, int]:
        """Returns the bits of the row whose parity is that of the qubits with a Z, and whether it is turned over."""
        mask = flip = 0
        for letter, weights, turned in zip(paulis, self.weights, self.flips, strict=True):
            if letter == "Z":
                mask, flip = mask ^ weights, flip ^ turned
        return mask, flip

    def rows(self) -> np.ndarray:
        """Returns for each basis index the row where its amplitude lies, int32 `[2**n]`."""
        index = np.arange(2**self.num_qubits)
        first = 0  # of basis index 0: every qubit that is turned over is turned back
        for mask, flip in zip(self.masks, self.flips, strict=True):
            first ^= mask * flip
        found = np.full(len(index), first)
        for q, mask in enumerate(self.masks):
            found ^= mask * (index >> (self.num_qubits - 1 - q) & 1)
        return found.astype(np.int32)


def pivots(masks: Sequence[int]) -> list[int]:
    """Returns as many bits as there are masks, ascending; each coset of their span has one row without any of these.

    The masks must be independent, as those of different qubits are.
    """
    reduced: list[int] = []
    found: list[int] = []
    for mask in masks:
        for other, bit in zip(reduced, found, strict=True):
            mask ^= other if mask >> bit & 1 else 0
        top = mask.bit_length() - 1
        reduced = [other ^ mask if other >> top & 1 else other for other in reduced]
        reduced.append(mask)
        found.append(top)
    return sorted(found)
