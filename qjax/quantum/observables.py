"""Observables: Pauli strings and real sums of them, as frozen, hashable data."""

import math
import re
from dataclasses import dataclass

from qjax.checks import check, fail

LETTERS = "IXYZ"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"\s*(?P<sign>[+-]?)\s*(?P<coefficient>{_NUMBER})?\s*\*?\s*(?P<paulis>[A-Za-z]+)\s*")


@dataclass(frozen=True)
class PauliString:
    """A product of Pauli matrices, one letter of I, X, Y, Z a qubit, qubit 0 first: 'ZIX' is Z on qubit 0."""

    paulis: str

    def __post_init__(self) -> None:
        valid = isinstance(self.paulis, str) and self.paulis != "" and set(self.paulis) <= set(LETTERS)
        check(valid, "paulis", "be text with one letter of I, X, Y, Z a qubit", repr(self.paulis))

    @property
    def num_qubits(self) -> int:
        """Number of letters."""
        return len(self.paulis)

    def __str__(self) -> str:
        return self.paulis


@dataclass(frozen=True)
class PauliSum:
    """A real combination of Pauli strings: ((coefficient, string), ...), all on one number of qubits."""

    terms: tuple[tuple[float | int, PauliString], ...]

    def __post_init__(self) -> None:
        check(len(self.terms) > 0, "terms", "hold at least one (coefficient, PauliString)", self.terms)
        for coefficient, string in self.terms:
            check(math.isfinite(coefficient), "terms", "have finite coefficients", coefficient)
            same = string.num_qubits == self.num_qubits
            check(same, "terms", f"have {self.num_qubits} letters each, like the first", repr(string.paulis))

    @property
    def num_qubits(self) -> int:
        """Number of letters of each string."""
        return self.terms[0][1].num_qubits

    @staticmethod
    def from_text(text: str) -> "PauliSum":
        """Reads a sum such as "0.5 XZI - ZZI": terms joined by + and -, a coefficient left out is 1.

        Raises:
          UserError: the text is something else; it says from where on.
        """
        terms: list[tuple[float | int, PauliString]] = []
        position = 0
        while position < len(text) or not terms:
            match = _TERM.match(text, position)
            if match is None or (terms and not match["sign"]):
                fail("text", "be a sum of Pauli strings such as '0.5 XZI - ZZI'", repr(text[position:]))
            coefficient = float(match["coefficient"] or 1.0) * (-1.0 if match["sign"] == "-" else 1.0)
            terms.append((coefficient, PauliString(match["paulis"])))
            position = match.end()
        return PauliSum(tuple(terms))

    def __str__(self) -> str:
        parts = [f"{'-' if c < 0 else '+'} {abs(c)!r} {string}" for c, string in self.terms]
        return " ".join(parts).removeprefix("+ ")


Observable = PauliString | PauliSum


def z_observables(num_qubits: int) -> tuple[PauliString, ...]:
    """Returns Z on each qubit in turn: ZII, IZI, IIZ for 3 qubits."""
    check(num_qubits >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    return tuple(PauliString("I" * q + "Z" + "I" * (num_qubits - q - 1)) for q in range(num_qubits))
