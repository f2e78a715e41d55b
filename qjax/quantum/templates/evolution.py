"""Circuits of exponentials of Hamiltonians: product formulas, and the ansatzes and encodings made of them.

A Hamiltonian is a `PauliSum`, H = sum of c_k P_k. One factor exp(-i t c_k P_k) is one Pauli rotation by 2 t c_k. The
factors act in the order of the terms, and a multiple of the identity is kept, as a global phase.
"""

from collections.abc import Sequence

from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import Angle, AngleLike, as_angle, as_index, as_tuple, input_angle, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import pauli_rotation_gate
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.measure.observables import PauliString, PauliSum

ORDERS = (1, 2, 4)
ENCODED = ("time", "coefficients")
# A Pauli string alone stands for a sum of one term.
Hamiltonian = PauliSum | PauliString
# What is exponentiated: letters and the factor t c before them, exp(-i t c P).
Factor = tuple[str, Angle]
# Pauli rotations that have a name of their own.
_NAMED = {"X": "rx", "Y": "ry", "Z": "rz", "XX": "rxx", "YY": "ryy", "ZZ": "rzz"}


def pauli_rotation(paulis: str, qubits: int | Sequence[int], angle: AngleLike) -> Operation:
    """Returns exp(-i angle/2 P) for a product P of Pauli matrices.

    Letters I are left out; of nothing but I remains the global phase exp(-i angle/2), gate 'gphase'. Gates that have
    a name are used by it: 'rzz' rather than the Pauli rotation 'ZZ'.

    Args:
      paulis: one letter of I, X, Y, Z for each of `qubits`.
      qubits: what the letters act on.
      angle: in radians.

    Raises:
      UserError: a letter is another one, or their number is not that of the qubits.

    >>> pauli_rotation("ZIZ", (0, 1, 2), 0.5)
    rzz(0.5) 0 2
    """
    places = (qubits,) if isinstance(qubits, int) else as_tuple("qubits", qubits)
    valid = isinstance(paulis, str) and paulis != "" and set(paulis) <= set("IXYZ")
    check(valid, "paulis", "be text with one letter of I, X, Y, Z a qubit", repr(paulis))
    check(len(paulis) == len(places), "paulis", f"have {len(places)} letters, one a qubit", repr(paulis))
    kept = tuple(q for letter, q in zip(paulis, places, strict=True) if letter != "I")
    letters = paulis.replace("I", "")
    if not letters:
        return operation("gphase", (), as_angle(angle) * -0.5)
    return operation(_NAMED.get(letters) or pauli_rotation_gate(letters), kept, angle)


def hamiltonian_evolution(hamiltonian: Hamiltonian, time: AngleLike = 1.0, steps: int = 1, order: int = 1) -> Circuit:
    """Returns exp(-i time H) as a product formula of `steps` equal steps.

    The error falls as 1/steps**order, and is none where all terms commute. The circuit has the parameters and inputs
    that `time` refers to; all steps share them.

    Args:
      hamiltonian: H, a sum of Pauli strings.
      time: a number, or an angle such as `parameter("t")` or `input_angle(0)`.
      steps: equal parts of the time.
      order: 1 (Lie and Trotter), 2 (symmetric) or 4 (five symmetric steps, the middle one back in time).

    Raises:
      UserError: `order` is another one, or `steps` is below 1.

    Source: Lloyd 1996, Science 273, 1073-1078; Suzuki 1991, Journal of Mathematical Physics 32, 400-407.

    >>> hamiltonian_evolution(PauliSum.from_text("0.5 ZZ + XI"), time=0.2, steps=2)
    Circuit(2 qubits: 2 x [rzz(0.1) 0 1, rx(0.2) 0] shared)
    """
    return _evolution(hamiltonian, as_angle(time), steps, order)


def hamiltonian_encoding(hamiltonian: Hamiltonian, encoded: str = "time", steps: int = 1, order: int = 1) -> Circuit:
    """Returns the evolution under a Hamiltonian that carries the inputs, in its time or in its coefficients.

    With 'time' there is one input x, and the circuit is exp(-i x H). With 'coefficients' there is one input a term,
    and the circuit is exp(-i H(x)), H(x) = sum of x[k] c_k P_k. Both by the product formula of
    `hamiltonian_evolution`.

    Args:
      hamiltonian: H = sum of c_k P_k.
      encoded: 'time' or 'coefficients'.
      steps: equal parts of the time.
      order: of the product formula, 1, 2 or 4.

    Raises:
      UserError: as for `hamiltonian_evolution`, or `encoded` is another word.

    Source: Schuld and Petruccione 2018, Supervised Learning with Quantum Computers, chapter 5 (Hamiltonian encoding).

    >>> hamiltonian_encoding(PauliSum.from_text("ZI + 2 XX"), "coefficients").num_inputs
    2
    """
    check_choice("encoded", encoded, ENCODED)
    if encoded == "time":
        return _evolution(hamiltonian, input_angle(0), steps, order)
    times = [input_angle(k) for k in range(len(_as_sum(hamiltonian).terms))]
    return _evolution(hamiltonian, times, steps, order)


def qaoa(cost: Hamiltonian, reps: int, mixer: str | Hamiltonian = "x", initial: Circuit | None = None) -> Circuit:
    """Returns the quantum approximate optimisation algorithm: `reps` layers exp(-i beta M) exp(-i gamma C).

    Parameters: 'gamma' `[reps]` and 'beta' `[reps]`. C is the cost, which acts first in a layer. Terms of the mixer M
    that do not commute with each other are one first-order step, and so are those of the cost.

    Args:
      cost: C, diagonal in most problems; MaxCut's is a sum of ZZ over the edges.
      reps: layers.
      mixer: 'x' for the sum of X over all qubits, or a sum of Pauli strings.
      initial: prepares the first state; None is a layer of 'h', the ground state of -M for the mixer 'x'.

    Raises:
      UserError: `mixer` is another word, `reps` is below 1, or numbers of qubits differ.

    Source: Farhi, Goldstone and Gutmann 2014 (arXiv:1411.4028); other mixers: Hadfield et al. 2019, Algorithms 12, 34
    (arXiv:1709.03489).

    >>> qaoa(PauliSum.from_text("ZZ"), reps=3).parameter_shapes
    {'gamma': (3,), 'beta': (3,)}
    """
    costs = _factors(cost, parameter("gamma"))
    n = cost.num_qubits
    if isinstance(mixer, str):
        check_choice("mixer", mixer, ("x",))
        mixing = [("I" * q + "X" + "I" * (n - q - 1), parameter("beta")) for q in range(n)]
    else:
        check(mixer.num_qubits == n, "mixer", f"have {n} letters a string, like the cost", str(mixer))
        mixing = _factors(mixer, parameter("beta"))
    start = Circuit(n, tuple(operation("h", q) for q in range(n))) if initial is None else initial
    check(start.num_qubits == n, "initial", f"have {n} qubits, like the cost", start.num_qubits)
    return start + _layers(n, [*costs, *mixing], reps)


def hamiltonian_variational(groups: Sequence[Hamiltonian], reps: int, name: str = "theta") -> Circuit:
    """Returns `reps` layers of exp(-i theta H_g) for each group H_g of a Hamiltonian's terms, in order.

    The parameter is called `name`, of shape `[reps, num_groups]`. Terms of one group that do not commute are one
    first-order step. The state it starts from is |0...0>, or what a circuit added before it prepares.

    Args:
      groups: sums of Pauli strings on one number of qubits, at least one.
      reps: layers.
      name: of the parameter.

    Raises:
      UserError: `groups` is empty, numbers of qubits differ, or `reps` is below 1.

    Source: Wecker, Hastings and Troyer 2015, Physical Review A 92, 042303 (arXiv:1507.08969).

    >>> groups = (PauliSum.from_text("ZZ"), PauliSum.from_text("XI + IX"))
    >>> hamiltonian_variational(groups, reps=4).parameter_shapes
    {'theta': (4, 2)}
    """
    groups = tuple(map(_as_sum, as_tuple("groups", groups)))
    check(len(groups) > 0, "groups", "hold at least one sum of Pauli strings", groups)
    n = groups[0].num_qubits
    for group in groups:
        check(group.num_qubits == n, "groups", f"have {n} letters a string, like the first", str(group))
    factors = [factor for g, group in enumerate(groups) for factor in _factors(group, parameter(name, g))]
    return _layers(n, factors, reps)


def _as_sum(hamiltonian: Hamiltonian) -> PauliSum:
    pauli = isinstance(hamiltonian, PauliString | PauliSum)
    check(pauli, "hamiltonian", "be a PauliSum or a PauliString", hamiltonian)
    return hamiltonian.to_sum()


def _factors(hamiltonian: Hamiltonian, time: Angle | Sequence[Angle]) -> list[Factor]:
    """Each term with its time, one for all or one for each."""
    total = _as_sum(hamiltonian)
    times = [time] * len(total.terms) if isinstance(time, Angle) else time
    terms = zip(total.terms, times, strict=True)
    return [(string.paulis, time * float(coefficient)) for (coefficient, string), time in terms]


def _exponentials(num_qubits: int, factors: Sequence[Factor]) -> Circuit:
    qubits = range(num_qubits)
    return Circuit(num_qubits, tuple(pauli_rotation(paulis, qubits, angle * 2.0) for paulis, angle in factors))


def _layers(num_qubits: int, factors: Sequence[Factor], reps: int) -> Circuit:
    return Circuit(num_qubits, (Repeat(_exponentials(num_qubits, factors), reps),))


def _evolution(hamiltonian: Hamiltonian, time: Angle | Sequence[Angle], steps: int, order: int) -> Circuit:
    check_choice("order", order, ORDERS)
    steps = as_index("steps", steps, 1)
    first_order = _scaled(_factors(hamiltonian, time), 1 / steps)
    step = _exponentials(hamiltonian.num_qubits, _formula(first_order, order))
    return Circuit(hamiltonian.num_qubits, (Repeat(step, steps, shared=True),))


def _formula(factors: Sequence[Factor], order: int) -> list[Factor]:
    """One step of the product formula, from the factors of one first-order step."""
    if order == 1:
        return list(factors)
    if order == 2:
        halves = _scaled(factors[:-1], 0.5)
        return [*halves, factors[-1], *reversed(halves)]
    outer = 1 / (4 - 4 ** (1 / 3))  # the error of third order cancels: 4 outer**3 + (1 - 4 outer)**3 = 0
    scales = (outer, outer, 1 - 4 * outer, outer, outer)
    return [factor for scale in scales for factor in _formula(_scaled(factors, scale), 2)]


def _scaled(factors: Sequence[Factor], scale: float) -> list[Factor]:
    return [(paulis, angle * scale) for paulis, angle in factors]
