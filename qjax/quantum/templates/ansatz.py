"""Trainable circuit templates: layers of single-qubit gates and entanglers, and inputs loaded again and again."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, count, islice

from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import Angle, Input, Reference, as_angle, as_index, parameter
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.gates import GATES
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat

ROTATIONS = tuple(name for name, gate in GATES.items() if gate.num_qubits == 1)
ENTANGLERS = tuple(name for name, gate in GATES.items() if gate.num_qubits == 2)
PATTERNS = ("ring", "linear", "reverse_linear", "full", "brick", "star", "none")
MODES = ("iswap", "fsim")


def hardware_efficient(
    num_qubits: int,
    reps: int,
    rotations: Sequence[str] = ("ry", "rz"),
    entangler: str = "cx",
    pattern: str = "ring",
    name: str = "ansatz",
) -> Circuit:
    """Returns `reps` layers of single-qubit gates on every qubit and entanglers between pairs.

    The parameter is called `name`, of shape `[reps, num_qubits, angles]`: the angles of all `rotations` on one qubit,
    one for each of 'rx', 'ry', 'rz' and 'p'. An entangler that has angles brings the parameter `name_entangler`, of
    shape `[reps, num_pairs, angles]`, the pairs as `entangler_pairs` lists them.

    Args:
      num_qubits: qubits.
      reps: layers.
      rotations: single-qubit gates, applied in this order; also fixed ones such as 'h', and 'u' with three angles.
      entangler: gate on two qubits, such as 'cx', 'cz', 'iswap', 'crx', 'rzz'.
      pattern: 'ring' joins (0, 1), (1, 2), ..., (n-1, 0), on 2 qubits (0, 1) alone; 'linear' leaves the last pair of
        the ring out; 'reverse_linear' takes the pairs of 'linear' from the last to the first; 'full' joins every
        pair, the lower qubit as the control; 'brick' joins (0, 1), (2, 3), ..., then (1, 2), (3, 4), ...; 'star'
        joins qubit 0 with each other; 'none' joins nothing.
      name: of the parameter.

    Raises:
      UserError: there is no such gate or pattern, `rotations` is empty, or `num_qubits` or `reps` is below 1.

    Source: Kandala et al. 2017, Nature 549, 242-246 (arXiv:1704.05018), figure 1.

    >>> hardware_efficient(3, 5, ("ry",), "crx", "linear").parameter_shapes
    {'ansatz': (5, 3, 1), 'ansatz_entangler': (5, 2, 1)}
    """
    layer = _rotation_layer(num_qubits, rotations, name)
    layer += _entangling_layer(entangler_pairs(num_qubits, pattern), entangler, f"{name}_entangler")
    return Circuit(num_qubits, (Repeat(Circuit(num_qubits, tuple(layer)), reps),))


def entangler_pairs(num_qubits: int, pattern: str) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of qubits (control, target) that `pattern` joins, in order; see `hardware_efficient`.

    >>> entangler_pairs(5, "brick")
    ((0, 1), (2, 3), (1, 2), (3, 4))
    """
    check_choice("pattern", pattern, PATTERNS)
    n = as_index("num_qubits", num_qubits)
    line = tuple((q, q + 1) for q in range(n - 1))
    closing = ((n - 1, 0),) if n > 2 else ()
    table: dict[str, tuple[tuple[int, int], ...]] = {
        "ring": line + closing,
        "linear": line,
        "reverse_linear": line[::-1],
        "full": tuple(combinations(range(n), 2)),
        "brick": line[0::2] + line[1::2],
        "star": tuple((0, q) for q in range(1, n)),
        "none": (),
    }
    return table[pattern]


def strongly_entangling(
    num_qubits: int,
    reps: int,
    ranges: Sequence[int] | None = None,
    entangler: str = "cx",
    name: str = "ansatz",
) -> Circuit:
    """Returns `reps` layers of general rotations RZ RY RZ and entanglers from each qubit i to qubit i + r, modulo n.

    The parameter is called `name`, of shape `[reps, num_qubits, 3]`: the angles of RZ, RY, RZ in the order of
    application. An entangler that has angles brings `name_entangler`, of shape `[reps, num_qubits, angles]`.

    Args:
      num_qubits: n; on one qubit there is nothing to join.
      reps: layers.
      ranges: r of each layer, from 1 to n - 1; None for 1, 2, ..., n - 1, 1, 2, ...
      entangler: gate on two qubits.
      name: of the parameter.

    Raises:
      UserError: there is no such gate, a range does not fit, or `num_qubits` or `reps` is below 1.

    Source: Schuld, Bocharov, Svore and Wiebe 2020, Physical Review A 101, 032308 (arXiv:1804.00633). A block there
    has n / gcd(n, r) entanglers; here every qubit is a control once in each layer.

    >>> strongly_entangling(3, 2, entangler="cz").counts()
    {'rz': 12, 'ry': 6, 'cz': 6}
    """
    n = as_index("num_qubits", num_qubits)
    steps = _check_ranges(n, as_index("reps", reps, 1), ranges)
    layers: dict[int, list[Operation]] = {}
    for step in dict.fromkeys(steps):
        pairs = [(q, (q + step) % n) for q in range(n)] if n > 1 else []
        layers[step] = _rotation_layer(n, ("rz", "ry", "rz"), name)
        layers[step] += _entangling_layer(pairs, entangler, f"{name}_entangler")
    if len(layers) == 1:  # equal layers stay a loop
        return Circuit(n, (Repeat(Circuit(n, tuple(layers[steps[0]])), reps),))
    return Circuit(n, tuple(op.with_leading_index(r) for r, step in enumerate(steps) for op in layers[step]))


def two_local(
    num_qubits: int,
    reps: int,
    rotations: Sequence[str] = ("ry",),
    entangler: str = "cx",
    pattern: str = "full",
    final_rotations: bool = True,
    name: str = "ansatz",
) -> Circuit:
    """Returns `hardware_efficient` with, unless `final_rotations` is False, one more layer of rotations at the end.

    Parameters: those of `hardware_efficient`, and `name_final` of shape `[num_qubits, angles]` for the last layer.

    It is Qiskit's `n_local` with blocks of one and two qubits. Qiskit numbers the parameters in another order: layer
    by layer, first gate by gate and, for each gate, qubit by qubit, then pair by pair. Its patterns 'linear',
    'reverse_linear' and 'full' are ours of the same names, its 'pairwise' is our 'brick', and its 'circular', which
    begins with (n-1, 0), is none of ours ('ring' ends with it).

    Args:
      num_qubits: qubits.
      reps: layers, the last rotations not counted.
      rotations: as for `hardware_efficient`.
      entangler: as for `hardware_efficient`.
      pattern: as for `hardware_efficient`.
      final_rotations: whether a layer of rotations ends the circuit.
      name: of the parameter.

    Raises:
      UserError: as for `hardware_efficient`.

    Source: `qiskit.circuit.library.n_local`; Kandala et al. 2017 (arXiv:1704.05018).
    """
    circuit = hardware_efficient(num_qubits, reps, rotations, entangler, pattern, name)
    return _with_final_layer(circuit, rotations, name) if final_rotations else circuit


def real_amplitudes(
    num_qubits: int,
    reps: int,
    pattern: str = "reverse_linear",
    final_rotations: bool = True,
    name: str = "ansatz",
) -> Circuit:
    """Returns `two_local` of RY and CX: every amplitude of its states is real.

    Parameters: `name` of shape `[reps, num_qubits, 1]`, `name_final` of shape `[num_qubits, 1]`.

    Source: `qiskit.circuit.library.real_amplitudes`, with the default pattern that it has.

    Raises:
      UserError: as for `two_local`.
    """
    return two_local(num_qubits, reps, ("ry",), "cx", pattern, final_rotations, name)


def efficient_su2(
    num_qubits: int,
    reps: int,
    rotations: Sequence[str] = ("ry", "rz"),
    pattern: str = "reverse_linear",
    final_rotations: bool = True,
    name: str = "ansatz",
) -> Circuit:
    """Returns `two_local` of CX and rotations that reach every state of a single qubit.

    Parameters: `name` of shape `[reps, num_qubits, 2]`, `name_final` of shape `[num_qubits, 2]`.

    Source: `qiskit.circuit.library.efficient_su2`, with the default pattern that it has.

    Raises:
      UserError: as for `two_local`.
    """
    return two_local(num_qubits, reps, rotations, "cx", pattern, final_rotations, name)


def excitation_preserving(
    num_qubits: int,
    reps: int,
    pattern: str = "full",
    mode: str = "iswap",
    final_rotations: bool = True,
    name: str = "ansatz",
) -> Circuit:
    """Returns layers of RZ and of partial swaps, which keep the number of qubits in |1>.

    The entangler rotates |01> and |10> into one another by [[cos t, -i sin t], [-i sin t, cos t]] and, in mode
    'fsim', gives |11> the phase e^(i phi).

    Parameters: `name` of shape `[reps, num_qubits, 1]` for RZ, `name_entangler` of shape `[reps, num_pairs, 1]` for t
    or `[reps, num_pairs, 2]` for (t, phi), and `name_final` of shape `[num_qubits, 1]`.

    Args:
      num_qubits: qubits.
      reps: layers, the last rotations not counted.
      pattern: as for `hardware_efficient`.
      mode: 'iswap' or 'fsim'.
      final_rotations: whether a layer of RZ ends the circuit.
      name: of the parameters.

    Raises:
      UserError: as for `two_local`, or there is no such mode.

    Source: `qiskit.circuit.library.excitation_preserving`.
    """
    check_choice("mode", mode, MODES)
    layer = _rotation_layer(num_qubits, ("rz",), name)
    for p, pair in enumerate(entangler_pairs(num_qubits, pattern)):
        layer.append(operation("xx_plus_yy", pair, 2 * parameter(f"{name}_entangler", p, 0), 0.0))
        if mode == "fsim":
            layer.append(operation("cp", pair, parameter(f"{name}_entangler", p, 1)))
    circuit = Circuit(num_qubits, (Repeat(Circuit(num_qubits, tuple(layer)), reps),))
    return _with_final_layer(circuit, ("rz",), name) if final_rotations else circuit


def data_reuploading(
    encoding: Circuit, ansatz: Circuit, reps: int, weighted: bool = False, name: str = "weights"
) -> Circuit:
    """Returns `reps` times the encoding followed by the ansatz: the inputs are loaded again in each repetition.

    The inputs are the same each time. Parameters are not: `theta` of shape [...] has shape `[reps, ...]` here.

    With `weighted`, every input x in an angle of the encoding becomes (1 + w) x with a weight w of its own, so that
    weights of 0 are the encoding as it is. The weights are a parameter called `name`, of shape `[reps, num_weights]`,
    in the order of the operations, and in an angle with several inputs in the order of the inputs.

    Args:
      encoding: circuit that takes inputs.
      ansatz: circuit on as many qubits.
      reps: repetitions.
      weighted: whether inputs are multiplied by trainable weights.
      name: of the weights.

    Raises:
      UserError: the encoding takes no inputs, the widths differ, `reps` is below 1, or `name` is already a parameter.

    Source: Perez-Salinas, Cervera-Lierta, Gil-Fuster and Latorre 2020, Quantum 4, 226 (arXiv:1907.02085); the
    weights are those of its layers L(i) = U(theta_i + w_i x).

    >>> from qjax.quantum import angle_encoding
    >>> data_reuploading(angle_encoding(1), Circuit(1).append("rz", 0, parameter("theta")), 4, weighted=True)
    Circuit(1 qubits: 4 x [ry(x[0]+x[0]*weights[0]) 0, rz(theta) 0])
    """
    check(as_circuit(encoding, "encoding").num_inputs > 0, "encoding", "take inputs", "a circuit without any")
    same = encoding.num_qubits == ansatz.num_qubits
    check(same, "ansatz", f"have {encoding.num_qubits} qubits like the encoding", ansatz.num_qubits)
    if weighted:
        taken = {**encoding.parameter_shapes, **ansatz.parameter_shapes}
        check(name not in taken, "name", f"differ from the parameters {sorted(taken)}", name)
        encoding = _weight_inputs(encoding, name)
    return Circuit(encoding.num_qubits, (Repeat(encoding + ansatz, reps),))


def _rotation_layer(num_qubits: int, rotations: Sequence[str], name: str) -> list[Operation]:
    """Returns the gates on one qubit after another; name[q, 0], name[q, 1], ... are the angles on qubit q."""
    check(not isinstance(rotations, str), "rotations", "be a sequence of names", repr(rotations))
    check(len(rotations) > 0, "rotations", "name at least one gate", tuple(rotations), ROTATIONS)
    for rotation in rotations:
        check_choice("rotations", rotation, ROTATIONS)
    layer: list[Operation] = []
    for q in range(as_index("num_qubits", num_qubits)):
        angles = (parameter(name, q, k) for k in count())
        layer.extend(operation(gate, q, *islice(angles, GATES[gate].num_angles)) for gate in rotations)
    return layer


def _entangling_layer(pairs: Sequence[tuple[int, int]], entangler: str, name: str) -> list[Operation]:
    """Returns the entangler on each pair; name[p, 0], name[p, 1], ... are its angles on pair p."""
    check_choice("entangler", entangler, ENTANGLERS)
    num_angles = range(GATES[entangler].num_angles)
    return [operation(entangler, pair, *(parameter(name, p, k) for k in num_angles)) for p, pair in enumerate(pairs)]


def _with_final_layer(circuit: Circuit, rotations: Sequence[str], name: str) -> Circuit:
    layer = _rotation_layer(circuit.num_qubits, rotations, f"{name}_final")
    return circuit + Circuit(circuit.num_qubits, tuple(layer))


def _check_ranges(n: int, reps: int, ranges: Sequence[int] | None) -> tuple[int, ...]:
    """Returns the range of each layer; on one qubit it means nothing and is 0."""
    if ranges is None:
        return tuple(1 + r % (n - 1) if n > 1 else 0 for r in range(reps))
    steps = tuple(as_index("ranges", step) for step in ranges)
    check(n > 1, "ranges", "be left out for fewer than two qubits", steps)
    valid = len(steps) == reps and all(1 <= step < n for step in steps)
    check(valid, "ranges", f"hold an integer in 1..{n - 1} for each of {reps} layer(s)", steps)
    return steps


def _weight_inputs(encoding: Circuit, name: str) -> Circuit:
    """Returns the encoding, written out, with (1 + name[k]) x for the k-th input x of its angles."""
    numbers = count()
    operations = []
    for op in encoding.iter_operations():
        angles = []
        for angle in op.angles:
            inputs = (ref for ref in angle.references if isinstance(ref, Input))
            ordered = sorted(inputs, key=lambda ref: ref.index)
            factors: dict[Reference, Angle] = {ref: parameter(name, next(numbers)) + 1 for ref in ordered}
            weighted = {ref: Angle(terms=((1.0, (ref,)),)) * factors.get(ref, 1.0) for ref in angle.references}
            angles.append(as_angle(angle.evaluate(weighted.__getitem__)))
        operations.append(replace(op, angles=tuple(angles)))
    return Circuit(encoding.num_qubits, tuple(operations))
