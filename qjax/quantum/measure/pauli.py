"""Pauli strings and real sums of them, as frozen, hashable data."""

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index

LETTERS = "IXYZ"
# The widest observable that `matrix` writes out: 4096 by 4096 complex numbers are 256 MiB.
MAX_MATRIX_QUBITS = 12

# One term of a sum. The groups that start with "?>" give nothing back, so that "1e5" is never read as "1" and "e5".
_NUMBER = r"(?>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_INDEXED = r"[IXYZ]\d+(?:\s*\*?\s*[IXYZ]\d+)*"
_TERM = re.compile(
    rf"\s*(?P<sign>[+-]?)\s*(?:(?:(?P<factor>{_NUMBER})\s*\*?\s*)?(?:(?P<indexed>{_INDEXED})|(?P<letters>[IXYZ]+))"
    rf"|(?P<number>{_NUMBER}))\s*"
)


class _PauliAlgebra:
    """Sums and real multiples of Pauli strings; a number by itself stands for that multiple of the identity."""

    __array_ufunc__ = None  # so that NumPy scalars leave the arithmetic to this class

    def to_sum(self) -> "PauliSum":
        """Returns the same observable as a PauliSum."""
        raise NotImplementedError

    def __add__(self, other: object) -> "PauliSum":
        mine = self.to_sum()
        return PauliSum(mine.terms + _as_terms(other, mine.num_qubits))

    def __radd__(self, other: object) -> "PauliSum":
        mine = self.to_sum()
        return PauliSum(_as_terms(other, mine.num_qubits) + mine.terms)

    def __sub__(self, other: object) -> "PauliSum":
        mine = self.to_sum()
        return PauliSum(mine.terms + tuple((-c, s) for c, s in _as_terms(other, mine.num_qubits)))

    def __rsub__(self, other: object) -> "PauliSum":
        return -self + other

    def __mul__(self, factor: object) -> "PauliSum":
        number = _as_number("factor", factor)
        return PauliSum(tuple((c * number, string) for c, string in self.to_sum().terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "PauliSum":
        number = _as_number("divisor", divisor)
        check(number != 0, "divisor", "be other than 0", divisor)
        return PauliSum(tuple((c / number, string) for c, string in self.to_sum().terms))

    def __neg__(self) -> "PauliSum":
        return self * -1.0

    def matrix(self) -> np.ndarray:
        """Returns the matrix `[2**n, 2**n]` in complex128, for at most `MAX_MATRIX_QUBITS` qubits.

        Raises:
          UserError: there are more.
        """
        terms = self.to_sum()
        check_small(terms.num_qubits)
        columns = np.arange(2**terms.num_qubits)
        total = np.zeros((len(columns), len(columns)), np.complex128)
        for coefficient, string in terms.terms:
            flips, signs, phase = pauli_masks(string.paulis)
            parity = np.bitwise_count(columns & signs) % 2
            total[columns ^ flips, columns] += coefficient * phase * (1.0 - 2.0 * parity)
        return total


@dataclass(frozen=True)
class PauliString(_PauliAlgebra):
    """A product of Pauli matrices, one letter of I, X, Y, Z a qubit, qubit 0 first: 'ZIX' is Z on qubit 0.

    Strings can be added and multiplied by real numbers:

    >>> print(0.5 * PauliString("XZ") - PauliString("ZI") + 2)
    0.5 XZ - 1.0 ZI + 2.0 II
    """

    paulis: str

    def __post_init__(self) -> None:
        valid = isinstance(self.paulis, str) and self.paulis != "" and set(self.paulis) <= set(LETTERS)
        check(valid, "paulis", "be text with one letter of I, X, Y, Z a qubit", repr(self.paulis))

    @staticmethod
    def from_sparse(letters: Mapping[int, str], num_qubits: int) -> "PauliString":
        """Returns the string with the given letters and I on all other qubits.

        >>> PauliString.from_sparse({0: "Z", 3: "X"}, 5)
        PauliString(paulis='ZIIXI')

        Raises:
          UserError: a qubit is out of range, or a letter is none of I, X, Y, Z.
        """
        paulis = ["I"] * as_index("num_qubits", num_qubits, 1)
        for qubit, letter in letters.items():
            inside = as_index("letters", qubit) < num_qubits
            check(inside, "letters", f"be on qubits in 0..{num_qubits - 1}", qubit)
            check(letter in LETTERS and len(letter) == 1, "letters", "hold one of I, X, Y, Z a qubit", repr(letter))
            paulis[qubit] = letter
        return PauliString("".join(paulis))

    @property
    def num_qubits(self) -> int:
        """Number of letters."""
        return len(self.paulis)

    @property
    def qubits(self) -> tuple[int, ...]:
        """The qubits whose letter is not I."""
        return tuple(q for q, letter in enumerate(self.paulis) if letter != "I")

    @property
    def weight(self) -> int:
        """How many letters are not I."""
        return len(self.qubits)

    def to_sum(self) -> "PauliSum":
        """Returns the sum that has this string as its only term."""
        return PauliSum(((1.0, self),))

    def __str__(self) -> str:
        return self.paulis


@dataclass(frozen=True)
class PauliSum(_PauliAlgebra):
    """A real combination of Pauli strings: ((coefficient, string), ...), all on one number of qubits."""

    terms: tuple[tuple[float | int, PauliString], ...]

    def __post_init__(self) -> None:
        pairs = isinstance(self.terms, tuple | list) and all(
            isinstance(term, tuple | list) and len(term) == 2 and isinstance(term[1], PauliString)
            for term in self.terms
        )
        check(pairs and len(self.terms) > 0, "terms", "hold at least one (coefficient, PauliString)", self.terms)
        object.__setattr__(self, "terms", tuple((_as_number("terms", c), string) for c, string in self.terms))
        for _, string in self.terms:
            same = string.num_qubits == self.num_qubits
            check(same, "terms", f"have {self.num_qubits} letters each, like the first", repr(string.paulis))

    @property
    def num_qubits(self) -> int:
        """Number of letters of each string."""
        return self.terms[0][1].num_qubits

    @staticmethod
    def from_text(text: str, num_qubits: int | None = None) -> "PauliSum":
        """Reads a sum of terms joined by + and -, each a coefficient (1 if left out) and a Pauli string.

        A string has either one letter a qubit, qubit 0 first, a shorter one being filled up with I on the right; or
        letters with the index of their qubit. A number by itself is that multiple of the identity.

        >>> print(PauliSum.from_text("0.5 XZI - ZZ"))
        0.5 XZI - 1.0 ZZI
        >>> print(PauliSum.from_text("1.5 + 0.5 X0 Z3 - 2 Y1"))
        1.5 IIII + 0.5 XIIZ - 2.0 IYII

        Args:
          text: the sum.
          num_qubits: of every string; by default as many as the longest string or the largest index needs.

        Raises:
          UserError: the text is something else; it says from where on. Or `num_qubits` is too small for it.
        """
        matches = _read_terms(text)
        dense = next((m["letters"] for m in matches if m["letters"]), None)
        indexed = next((m["indexed"] for m in matches if m["indexed"]), None)
        mixed = dense is not None and indexed is not None
        check(not mixed, "text", "give an index to every letter or to none", f"{dense!r} and {indexed!r}")
        letters = [_letters_of(match) for match in matches]
        needed = max((q + 1 for term in letters for q in term), default=0)
        if num_qubits is None:
            check(needed > 0, "num_qubits", "be given where the text names no qubit", None)
            num_qubits = needed
        wide = as_index("num_qubits", num_qubits) >= max(needed, 1)
        check(wide, "num_qubits", f"be at least {max(needed, 1)} for this text", num_qubits)
        coefficients = [float(m["sign"] + (m["factor"] or m["number"] or "1")) for m in matches]
        strings = [PauliString.from_sparse(term, num_qubits) for term in letters]
        return PauliSum(tuple(zip(coefficients, strings, strict=True)))

    def to_text(self) -> str:
        """Returns the sum as text that `from_text` reads back exactly."""
        parts = [f"{'-' if c < 0 else '+'} {abs(c)!r} {string}" for c, string in self.terms]
        text = " ".join(parts).removeprefix("+ ")
        return "-" + text[2:] if text.startswith("- ") else text

    def simplify(self) -> "PauliSum":
        """Returns the sum with equal strings merged and terms of coefficient 0 left out, in order of first use.

        >>> print(PauliSum.from_text("XX + 2 ZI - 0.5 XX + IY - IY").simplify())
        0.5 XX + 2.0 ZI

        What adds up to nothing is 0 times the identity.
        """
        merged: dict[PauliString, float] = {}
        for coefficient, string in self.terms:
            merged[string] = merged.get(string, 0.0) + coefficient
        terms = tuple((c, string) for string, c in merged.items() if c != 0)
        return PauliSum(terms or ((0.0, PauliString("I" * self.num_qubits)),))

    def to_sum(self) -> "PauliSum":
        """Returns the sum itself."""
        return self

    def __str__(self) -> str:
        return self.to_text()


def pauli_masks(paulis: str) -> tuple[int, int, complex]:
    """Returns what a string does to a basis state |c>: phase * (-1)**(bits of c & signs) |c ^ flips>.

    Each letter is i**(Y) X**(X or Y) Z**(Z or Y), so that `flips` has a bit for each X and Y, `signs` one for each Z
    and Y, and the phase is i to the number of Ys. Qubit 0 is the most significant bit.
    """
    flips = int("".join("1" if letter in "XY" else "0" for letter in paulis), 2)
    signs = int("".join("1" if letter in "YZ" else "0" for letter in paulis), 2)
    return flips, signs, (1.0 + 0j, 1j, -1.0 + 0j, -1j)[paulis.count("Y") % 4]


def check_small(num_qubits: int) -> None:
    """Raises where an observable is too wide to be written out as a matrix."""
    small = num_qubits <= MAX_MATRIX_QUBITS
    check(small, "observable", f"have at most {MAX_MATRIX_QUBITS} qubits to be written as a matrix", num_qubits)


def _as_number(argument: str, value: object) -> float:
    """Returns a finite real number as a float."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    fail(argument, "have finite coefficients" if argument == "terms" else "be a finite real number", value)


def _as_terms(other: object, num_qubits: int) -> tuple[tuple[float, PauliString], ...]:
    """Returns the terms of what is added to a sum; the 0 that Python's `sum` starts with has none."""
    if isinstance(other, PauliString | PauliSum):
        same = other.num_qubits == num_qubits
        check(same, "other", f"have {num_qubits} letters like what it is added to", repr(str(other)))
        return other.to_sum().terms
    if not isinstance(other, numbers.Real):
        fail("other", "be a PauliString, a PauliSum or a real number", other)
    number = _as_number("other", other)
    return ((number, PauliString("I" * num_qubits)),) if number else ()


def _read_terms(text: str) -> list[re.Match[str]]:
    """Returns one match for each term of a sum, signs between them checked."""
    matches: list[re.Match[str]] = []
    position = 0
    while position < len(text) or not matches:
        match = _TERM.match(text, position)
        if match is None or (matches and not match["sign"]):
            fail("text", "be a sum of Pauli strings such as '0.5 XZI - ZZI' or '2 X0 Z3 + 1'", repr(text[position:]))
        matches.append(match)
        position = match.end()
    return matches


def _letters_of(match: re.Match[str]) -> dict[int, str]:
    """Returns qubit -> letter of one term."""
    if match["indexed"] is None:
        return dict(enumerate(match["letters"] or ""))
    pairs = re.findall(r"([IXYZ])(\d+)", match["indexed"])
    letters = {int(index): letter for letter, index in pairs}
    check(len(letters) == len(pairs), "text", "name each qubit of a term once", repr(match["indexed"]))
    return letters
