"""Grover's search as gates, for export: oracle, diffuser and the whole search.

All is made of one gate, a phase on one basis state of some qubits, in one of three forms:

- 'controls': one gate under any number of controls, as Qiskit has it, too;
- 'decomposed': gates on at most three qubits, and no further qubits (Barenco et al. 1995, arXiv:quant-ph/9503016,
  lemmas 7.2, 7.3 and 7.5); their number grows with the square of the number of qubits;
- 'ancillas': for k qubits, k - 2 further ones in |0> that take up the products of the bits by a ladder of Toffolis,
  and are given back in |0> (Nielsen and Chuang 2010, figure 4.10); 2k - 4 Toffolis and one controlled phase.

A search of n qubits in the last form has its ancillas, n - 2 of them, behind the others.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from qjax.algorithms.grover import optimal_iterations
from qjax.algorithms.marking import Marked, marked_indices
from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import Angle, AngleLike, as_angle, as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat

FORMS = ("controls", "decomposed", "ancillas")


def multi_controlled_phase(
    num_qubits: int,
    qubits: Sequence[int],
    angle: AngleLike,
    *,
    values: Sequence[int] | None = None,
    form: str = "controls",
    ancillas: Sequence[int] = (),
) -> Circuit:
    """Returns the circuit that multiplies the states in which `qubits` hold `values` by e^(i angle).

    Args:
      num_qubits: of the circuit.
      qubits: k of them, at least 1.
      angle: in radians; a number or an Angle.
      values: 0 or 1 for each of `qubits`; all 1 where it is None.
      form: 'controls', 'decomposed' or 'ancillas'; see the module.
      ancillas: for the form 'ancillas', further qubits in |0>, at least k - 2; they are in |0> again afterwards.

    Raises:
      UserError: the form is unknown, qubits or ancillas are repeated or out of range, a value is not 0 or 1, or there
        are too few ancillas.

    >>> multi_controlled_phase(3, (0, 1, 2), 0.5)
    Circuit(3 qubits: gphase(0.5) if 0=1 1=1 2=1)
    """
    check_choice("form", form, FORMS)
    places = tuple(as_index("qubits", q) for q in qubits)
    spare = tuple(as_index("ancillas", q) for q in ancillas) if form == "ancillas" else ()
    check(len(places) > 0, "qubits", "hold at least one qubit", places)
    distinct = len({*places, *spare}) == len(places) + len(spare)
    check(distinct, "qubits", "be distinct, and none of the ancillas", f"{places} and ancillas {spare}")
    bits = (1,) * len(places) if values is None else tuple(values)
    valid = len(bits) == len(places) and all(bit in (0, 1) for bit in bits)
    check(valid, "values", f"hold 0 or 1 for each of {len(places)} qubit(s)", bits)
    if form == "controls":
        return Circuit(num_qubits, (operation("gphase", (), angle, controls=places, control_values=bits),))
    turned = [operation("x", q) for q, bit in zip(places, bits, strict=True) if bit == 0]
    if form == "decomposed":
        inner = _decomposed_phase(places, as_angle(angle))
    else:
        wanted = max(len(places) - 2, 0)
        check(len(spare) >= wanted, "ancillas", f"hold at least {wanted} qubits for {len(places)}", spare)
        inner = _ladder_phase(places, as_angle(angle), spare)
    return Circuit(num_qubits, (*turned, *inner, *turned))


def oracle_circuit(num_qubits: int, marked: Marked, angle: AngleLike = np.pi, *, form: str = "controls") -> Circuit:
    """Returns the oracle: each marked state is multiplied by e^(i angle), by a phase gate of its own.

    Args:
      num_qubits: n, of the search.
      marked: which states; see `marked_mask`.
      angle: in radians; pi is Grover's.
      form: see the module.

    Raises:
      UserError: `marked` or `form` is wrong.
    """
    qubits, ancillas, width = _layout(num_qubits, form)
    circuit = Circuit(width)
    for index in marked_indices(num_qubits, marked).tolist():
        values = [index >> (num_qubits - 1 - q) & 1 for q in qubits]
        circuit += multi_controlled_phase(width, qubits, angle, values=values, form=form, ancillas=ancillas)
    return circuit


def diffuser_circuit(num_qubits: int, angle: AngleLike = np.pi, *, form: str = "controls") -> Circuit:
    """Returns 1 - (1 - e^(i angle)) |s><s| with |s> the even superposition: a phase on |0...0> between Hadamards.

    With the angle pi it is Grover's reflection about the mean, with the opposite sign.

    Args:
      num_qubits: n, of the search.
      angle: in radians.
      form: see the module.

    Raises:
      UserError: `form` is unknown.
    """
    qubits, ancillas, width = _layout(num_qubits, form)
    hadamards = Circuit(width, tuple(operation("h", q) for q in qubits))
    zeros = (0,) * num_qubits
    phase = multi_controlled_phase(width, qubits, angle, values=zeros, form=form, ancillas=ancillas)
    return hadamards + phase + hadamards


def search_circuit(
    num_qubits: int, marked: Marked, num_iterations: int | None = None, *, form: str = "controls"
) -> Circuit:
    """Returns the whole search: Hadamards, then `num_iterations` times oracle and diffuser, as a Repeat.

    Its state is that of `grover.search` up to the sign, (-1)**num_iterations.

    Args:
      num_qubits: n; the circuit has 2n - 2 qubits in the form 'ancillas' (from n = 2 on), else n.
      marked: which states; see `marked_mask`.
      num_iterations: None for the optimal number.
      form: see the module.

    Raises:
      UserError: `marked`, `num_iterations` or `form` is wrong, or nothing is marked and `num_iterations` is None.
    """
    qubits, _, width = _layout(num_qubits, form)
    oracle = oracle_circuit(num_qubits, marked, form=form)
    if num_iterations is None:
        num_iterations = optimal_iterations(num_qubits, len(marked_indices(num_qubits, marked)))
    count = as_index("num_iterations", num_iterations)
    start = Circuit(width, tuple(operation("h", q) for q in qubits))
    if count == 0:
        return start
    return start + Circuit(width, (Repeat(oracle + diffuser_circuit(num_qubits, form=form), count, shared=True),))


def _layout(num_qubits: int, form: str) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Returns the qubits of a search, its ancillas, and the number of both."""
    check_choice("form", form, FORMS)
    n = as_index("num_qubits", num_qubits)
    width = max(n, 2 * n - 2) if form == "ancillas" else n
    return tuple(range(n)), tuple(range(n, width)), width


def _ladder_phase(qubits: Sequence[int], angle: Angle, ancillas: Sequence[int]) -> tuple[Operation, ...]:
    """Returns the phase on 1...1 by a ladder: each ancilla takes the product of the next bit and those before it."""
    product, up = qubits[0], []
    for qubit, ancilla in zip(qubits[1:-1], ancillas, strict=False):
        up.append(_toffoli(product, qubit, ancilla))
        product = ancilla
    own = [operation("p", product, angle)] if len(qubits) == 1 else [operation("cp", (product, qubits[-1]), angle)]
    return (*up, *own, *reversed(up))


@lru_cache(maxsize=64)  # an oracle has the same one for each marked state
def _decomposed_phase(qubits: tuple[int, ...], angle: Angle) -> tuple[Operation, ...]:
    """Returns the phase on 1...1 by lemma 7.5: three square roots of it, the last without the last control.

    With c the product of the other controls, a the last control and t the target, a t - (a xor c) t + c t is twice
    a c t, and each term is a phase of half the angle.
    """
    if len(qubits) == 1:
        return (operation("p", qubits[0], angle),)
    if len(qubits) == 2:
        return (operation("cp", qubits, angle),)
    *others, last, target = qubits
    half = angle / 2
    flip = _controlled_x(others, last, [target])
    forth, back = operation("cp", (last, target), half), operation("cp", (last, target), -half)
    return (forth, *flip, back, *flip, *_decomposed_phase((*others, target), half))


def _controlled_x(controls: Sequence[int], target: int, borrowed: Sequence[int]) -> list[Operation]:
    """Returns X under controls by Toffolis, with the help of qubits in any state, which they are in again afterwards.

    One is enough from three controls on: lemma 7.3 cuts the controls in two halves, each of which can borrow the
    other's qubits.
    """
    count = len(controls)
    if count <= 2:
        return [operation(("x", "cx", "ccx")[count], (*controls, target))]
    if len(borrowed) >= count - 2:
        return _borrowing_ladder(controls, target, borrowed[: count - 2])
    first, second, spare = controls[: (count + 1) // 2], controls[(count + 1) // 2 :], borrowed[0]
    prepare = _controlled_x(first, spare, [*second, target])
    use = _controlled_x([*second, spare], target, first)
    return [*prepare, *use, *prepare, *use]


def _borrowing_ladder(controls: Sequence[int], target: int, borrowed: Sequence[int]) -> list[Operation]:
    """Returns X under k controls, at least 3, with k - 2 borrowed qubits: lemma 7.2.

    Twice the same ladder down and up: what the borrowed qubits held at first cancels.
    """
    steps = [_toffoli(controls[0], controls[1], borrowed[0])]
    steps += [_toffoli(controls[i + 1], borrowed[i - 1], borrowed[i]) for i in range(1, len(borrowed))]
    steps.append(_toffoli(controls[-1], borrowed[-1], target))
    inner = [*reversed(steps[1:-1]), steps[0], *steps[1:-1]]
    return [steps[-1], *inner, steps[-1], *inner]


def _toffoli(first: int, second: int, target: int) -> Operation:
    return operation("ccx", (first, second, target))
