"""Encodings: circuits that carry an example's inputs. Each function returns a Circuit.

Amplitude encoding stands in `amplitude.py`, Hamiltonian encoding in `evolution.py`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import SupportsInt

import numpy as np

from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import Angle, AngleLike, as_angle, as_index, as_tuple, input_angle
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import operation
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.templates.evolution import pauli_rotation

AXES = ("rx", "ry", "rz")
BLOCK_PATTERNS = ("full", "linear", "reverse_linear", "ring", "circular", "brick")
# From the inputs of a block's qubits to the phi of its rotation exp(-i alpha/2 phi P).
DataMap = Callable[[tuple[Angle, ...]], AngleLike]


def angle_encoding(num_qubits: int, axis: str = "ry") -> Circuit:
    """Returns one rotation by input i on each qubit i: the state is a product of single-qubit states.

    With axis 'rz' on |0...0> the inputs are nothing but a global phase; put a layer of 'h' before it.

    Args:
      num_qubits: qubits, and inputs of an example.
      axis: 'rx', 'ry' or 'rz'.

    Raises:
      UserError: `axis` is another one.

    Source: LaRose and Coyle 2020, Physical Review A 102, 032420 (arXiv:2003.01695), angle encoding, whose
    cos(x)|0> + sin(x)|1> is 'ry' by 2 x.
    """
    check_choice("axis", axis, AXES)
    return Circuit(num_qubits, tuple(operation(axis, q, input_angle(q)) for q in range(_width(num_qubits))))


def dense_angle_encoding(num_qubits: int) -> Circuit:
    """Returns two inputs a qubit: qubit q is cos(a)|0> + e^(ib) sin(a)|1> with a = x[2q], b = x[2q + 1].

    Each qubit has 'ry' by 2 a and 'p' by b. The paper's inputs are in units of turns: its x is here a = pi x and
    b = 2 pi x.

    Args:
      num_qubits: qubits; an example has `2 * num_qubits` inputs.

    Raises:
      UserError: `num_qubits` is below 1.

    Source: LaRose and Coyle 2020, Physical Review A 102, 032420 (arXiv:2003.01695), dense angle encoding.

    >>> dense_angle_encoding(1)
    Circuit(1 qubits: ry(2*x[0]) 0, p(x[1]) 0)
    """
    rotations = []
    for q in range(_width(num_qubits)):
        rotations += [operation("ry", q, input_angle(2 * q) * 2), operation("p", q, input_angle(2 * q + 1))]
    return Circuit(num_qubits, tuple(rotations))


def basis_encoding(num_qubits: int) -> Circuit:
    """Returns 'ry' by pi times input i on each qubit i: inputs 0 and 1 give the basis state that they spell.

    The state has no phase: it is +|x>. Inputs in between give superpositions.

    Args:
      num_qubits: qubits, and inputs of an example.

    Raises:
      UserError: `num_qubits` is below 1.

    Source: Schuld and Petruccione 2018, Supervised Learning with Quantum Computers, chapter 5 (basis encoding).
    """
    rotations = (operation("ry", q, input_angle(q) * math.pi) for q in range(_width(num_qubits)))
    return Circuit(num_qubits, tuple(rotations))


def basis_state(bits: str | Iterable[SupportsInt]) -> Circuit:
    """Returns the circuit that prepares one basis state: 'x' on each qubit whose bit is 1.

    Args:
      bits: 0 or 1 a qubit, qubit 0 first, as text or numbers; at least one.

    Raises:
      UserError: `bits` is empty or holds something else.

    >>> basis_state("101")
    Circuit(3 qubits: x 0, x 2)
    """
    values = as_tuple("bits", bits)
    valid = len(values) > 0 and all(np.ndim(bit) == 0 and bit in (0, 1, "0", "1") for bit in values)
    check(valid, "bits", "hold 0 or 1 for each qubit, at least one", repr(bits))
    return Circuit(len(values), tuple(operation("x", q) for q, bit in enumerate(values) if int(bit)))


def iqp_encoding(
    num_qubits: int, reps: int = 1, order: int = 2, pattern: str | Sequence[Sequence[int]] = "full"
) -> Circuit:
    """Returns `reps` layers of 'h' on every qubit and exp(-i/2 x_S Z_S), where x_S is the product of the inputs of S.

    S runs over all single qubits and, for each size up to `order`, over the sets of qubits that `pattern` joins.

    Args:
      num_qubits: qubits, and inputs of an example.
      reps: layers.
      order: largest number of inputs in a product, from 1 to `num_qubits`.
      pattern: see `pauli_feature_map`.

    Raises:
      UserError: `order` is out of range, or as for `pauli_feature_map`.

    Source: Havlicek et al. 2019, Nature 567, 209-212 (arXiv:1804.11326); such circuits: Shepherd and Bremner 2009
    (arXiv:0809.0847).

    >>> iqp_encoding(2)
    Circuit(2 qubits: 1 x [h 0, h 1, rz(x[0]) 0, rz(x[1]) 1, rzz(x[0]*x[1]) 0 1])
    """
    order = as_index("order", order)
    check(1 <= order <= _width(num_qubits), "order", f"be an integer in 1..{num_qubits}", order)
    paulis = tuple("Z" * size for size in range(1, order + 1))
    return pauli_feature_map(num_qubits, reps, paulis, pattern, alpha=1.0, data_map=math.prod)


def zz_feature_map(
    num_qubits: int, reps: int = 2, pattern: str | Sequence[Sequence[int]] = "full", alpha: float | int = 2.0
) -> Circuit:
    """Returns `reps` layers of 'h' and exp(-i alpha/2 phi P) for P = Z on each qubit, then ZZ on each pair.

    phi is x_i on a qubit and (pi - x_i)(pi - x_j) on a pair: `pauli_feature_map` with 'Z' and 'ZZ'.

    Args:
      num_qubits: qubits, at least 2, and inputs of an example.
      reps: layers.
      pattern: which pairs; see `pauli_feature_map`.
      alpha: factor of every angle.

    Raises:
      UserError: `num_qubits` is below 2, or as for `pauli_feature_map`.

    Source: Havlicek et al. 2019, Nature 567, 209-212 (arXiv:1804.11326). Qiskit's `zz_feature_map` up to a global
    phase.

    >>> zz_feature_map(4).counts()
    {'h': 8, 'rz': 8, 'rzz': 12}
    """
    return pauli_feature_map(as_index("num_qubits", num_qubits, 2), reps, ("Z", "ZZ"), pattern, alpha)


def pauli_feature_map(
    num_qubits: int,
    reps: int = 2,
    paulis: Sequence[str] = ("Z", "ZZ"),
    pattern: str | Sequence[Sequence[int]] = "full",
    alpha: float | int = 2.0,
    data_map: DataMap | None = None,
) -> Circuit:
    """Returns `reps` layers of 'h' and of exp(-i alpha/2 phi_S(x) P_S) for all Pauli strings P and blocks S.

    The strings act in the order given, each on all its blocks. A string of one letter acts on every qubit; the first
    letter of a longer one acts on the first qubit of a block.

    Args:
      num_qubits: qubits, and inputs of an example.
      reps: layers; all have the same inputs.
      paulis: strings of I, X, Y, Z, each of 1 to `num_qubits` letters, not all I.
      pattern: which blocks of k qubits a string of k letters acts on. 'full' is every set of k in ascending order;
        'linear' k neighbours, from the first on; 'reverse_linear' the same from the last back; 'ring' is 'linear'
        followed by the blocks across the end, (n-1, 0) for k = 2; 'circular' begins with those; 'brick' is 'linear'
        sorted by the first qubit modulo k, so that for k = 2 even pairs come before odd ones. Or the blocks
        themselves, in order: a string acts on those of its length.
      alpha: factor of every angle.
      data_map: from the input angles of a block to phi_S. None is x_i on one qubit and the product of all
        pi - x_i on more.

    Raises:
      UserError: `paulis` or `pattern` is not as said, or `reps` is below 1.

    Source: Havlicek et al. 2019, Nature 567, 209-212 (arXiv:1804.11326), whose exponent has the other sign. This is
    Qiskit's `pauli_feature_map` up to a global phase, with strings read the other way round: Qiskit's last letter
    acts on the first qubit of a block.

    >>> pauli_feature_map(2, 1, ("Y", "XZ"), data_map=lambda x: sum(x, 0.0))
    Circuit(2 qubits: 1 x [h 0, h 1, ry(2*x[0]) 0, ry(2*x[1]) 1, pauli_rotation(2*x[0]+2*x[1]) 0 1])
    """
    width = _width(num_qubits)
    check(not isinstance(paulis, str) and len(paulis) > 0, "paulis", "be a sequence of Pauli strings", repr(paulis))
    phi = _havlicek if data_map is None else data_map
    layer = [operation("h", q) for q in range(width)]
    for string in paulis:
        valid = isinstance(string, str) and string.strip("I") != "" and set(string) <= set("IXYZ")
        check(valid, "paulis", "hold text of the letters I, X, Y, Z, not all of them I", repr(string))
        check(len(string) <= width, "paulis", f"hold strings of at most {width} letters", repr(string))
        for block in entangler_blocks(width, len(string), pattern):
            angle = as_angle(phi(tuple(input_angle(q) for q in block))) * float(alpha)
            layer.append(pauli_rotation(string, block, angle))
    return Circuit(width, (Repeat(Circuit(width, tuple(layer)), reps),))


def entangler_blocks(
    num_qubits: int, size: int, pattern: str | Sequence[Sequence[int]] = "full"
) -> tuple[tuple[int, ...], ...]:
    """Returns the blocks of `size` qubits that `pattern` joins, in order; see `pauli_feature_map`.

    Raises:
      UserError: `pattern` is no known word, or a block in it is out of range, or it has none of this size.

    >>> entangler_blocks(4, 2, "ring")
    ((0, 1), (1, 2), (2, 3), (3, 0))
    """
    num_qubits, size = _width(num_qubits), as_index("size", size, 1)
    if size == 1:
        return tuple((q,) for q in range(num_qubits))
    if not isinstance(pattern, str):
        return _given_blocks(num_qubits, size, pattern)
    check_choice("pattern", pattern, BLOCK_PATTERNS)
    if pattern == "full":
        return tuple(combinations(range(num_qubits), size))
    linear = tuple(tuple(range(start, start + size)) for start in range(num_qubits - size + 1))
    starts = range(num_qubits - size + 1, num_qubits) if num_qubits > size else ()
    across = tuple(tuple((start + k) % num_qubits for k in range(size)) for start in starts)
    if pattern == "brick":
        return tuple(sorted(linear, key=lambda block: block[0] % size))
    return {
        "linear": linear,
        "reverse_linear": linear[::-1],
        "ring": linear + across,
        "circular": across + linear,
    }[pattern]


def _given_blocks(num_qubits: int, size: int, pattern: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    blocks = []
    for block in pattern:
        qubits = tuple(as_index("pattern", q) for q in block)
        distinct = len(set(qubits)) == len(qubits) and all(q < num_qubits for q in qubits)
        check(distinct, "pattern", f"hold blocks of distinct integers in 0..{num_qubits - 1}", qubits)
        blocks.append(qubits)
    fitting = tuple(block for block in blocks if len(block) == size)
    check(len(fitting) > 0, "pattern", f"hold at least one block of {size} qubits", tuple(blocks))
    return fitting


def _width(num_qubits: int) -> int:
    return as_index("num_qubits", num_qubits, 1)


def _havlicek(inputs: tuple[Angle, ...]) -> AngleLike:
    return inputs[0] if len(inputs) == 1 else math.prod(math.pi - x for x in inputs)
