"""Circuits shaped like tensor networks, and quantum convolutional networks. Each function returns a Circuit.

Blocks are small circuits: their qubit 0 is put on the first qubit named, and so on. Trees and pooling keep the
second qubit of every pair (which of the two is a convention), so that the answer is on the last qubit.
"""

from collections.abc import Callable, Iterable, Sequence

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index, as_tuple, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import operation


def ry_cx_block(name: str = "theta") -> Circuit:
    """Returns 'ry' on each of two qubits, then 'cx'; the parameter `name` has shape `[2]`.

    Source: Grant et al. 2018, npj Quantum Information 4, 65 (arXiv:1804.03680), real gates.

    >>> ry_cx_block()
    Circuit(2 qubits: ry(theta[0]) 0, ry(theta[1]) 1, cx 0 1)
    """
    rotations = (operation("ry", q, parameter(name, q)) for q in range(2))
    return Circuit(2, (*rotations, operation("cx", (0, 1))))


def su4_block(name: str = "theta") -> Circuit:
    """Returns the general gate on two qubits, any unitary up to a phase; the parameter `name` has shape `[15]`.

    Entries 0 to 5 are the angles of 'u' on both qubits, 6 to 8 those of the entangling middle, 9 to 14 of 'u' again.

    Source: Vatan and Williams 2004, Physical Review A 69, 032315 (arXiv:quant-ph/0308006); as a filter of a
    convolution: Hur, Kim and Park 2022 (arXiv:2108.00661).

    >>> su4_block().counts()
    {'u': 4, 'cx': 3, 'rz': 1, 'ry': 2}
    """
    theta = [parameter(name, k) for k in range(15)]
    circuit = Circuit(2).append("u", 0, *theta[0:3]).append("u", 1, *theta[3:6])
    circuit = circuit.append("cx", (1, 0)).append("rz", 0, theta[6]).append("ry", 1, theta[7])
    circuit = circuit.append("cx", (0, 1)).append("ry", 1, theta[8]).append("cx", (1, 0))
    return circuit.append("u", 0, *theta[9:12]).append("u", 1, *theta[12:15])


def pooling_block(name: str = "pool") -> Circuit:
    """Returns 'rz' of qubit 1 where qubit 0 is 1, then 'rx' of it where qubit 0 is 0; `name` has shape `[2]`.

    It does to qubit 1 what a measurement of qubit 0 and a rotation of qubit 1 by the outcome do.

    Source: Hur, Kim and Park 2022, Quantum Machine Intelligence 4, 3 (arXiv:2108.00661), pooling layer.

    >>> pooling_block()
    Circuit(2 qubits: rz(pool[0]) 1 if 0=1, rx(pool[1]) 1 if 0=0)
    """
    measured_1 = operation("rz", 1, parameter(name, 0), controls=0)
    measured_0 = operation("rx", 1, parameter(name, 1), controls=0, control_values=(0,))
    return Circuit(2, (measured_1, measured_0))


def mps(num_qubits: int, block: Circuit | None = None) -> Circuit:
    """Returns a staircase of blocks, a matrix product state: a block of w qubits on 0..w-1, then 1..w, and so on.

    The bond dimension is 2**(w - 1). Every parameter of the block gets a leading axis `[num_blocks, ...]`,
    num_blocks = num_qubits - w + 1, in order of application; inputs are shared. The answer is on the last qubit.

    Args:
      num_qubits: qubits, at least those of the block.
      block: on 2 qubits or more; None is `ry_cx_block()`.

    Raises:
      UserError: the block is too narrow or too wide.

    Source: Huggins et al. 2019, Quantum Science and Technology 4, 024001 (arXiv:1803.11537).

    >>> mps(4).parameter_shapes
    {'theta': (3, 2)}
    """
    body = ry_cx_block() if block is None else block
    width = as_index("num_qubits", num_qubits)
    check(2 <= body.num_qubits <= width, "block", f"have 2 to {width} qubits", body.num_qubits)
    windows = [range(start, start + body.num_qubits) for start in range(width - body.num_qubits + 1)]
    return _indexed_parameters(width, (body.remap(window, width) for window in windows))


def tree_tensor_network(num_qubits: int, block: Circuit | None = None) -> Circuit:
    """Returns a binary tree of blocks: on (0, 1), (2, 3), ..., then on the second qubits of those, and so on.

    A qubit left over without a neighbour moves up a level as it is. Every parameter of the block gets a leading axis
    `[num_blocks, ...]`, num_blocks = num_qubits - 1, in order of application; inputs are shared. The answer is on the
    last qubit.

    Args:
      num_qubits: qubits, at least 2.
      block: on 2 qubits; None is `ry_cx_block()`.

    Raises:
      UserError: the block has another number of qubits, or `num_qubits` is below 2.

    Source: Grant et al. 2018, npj Quantum Information 4, 65 (arXiv:1804.03680); Huggins et al. 2019
    (arXiv:1803.11537).

    >>> [op.qubits for op in tree_tensor_network(4).iter_operations() if op.gate.name == "cx"]
    [(0, 1), (2, 3), (1, 3)]
    """
    body = _pair_block("block", block, ry_cx_block)
    pairs = [pair for level in _levels(num_qubits) for pair in _pairs(level)]
    return _indexed_parameters(num_qubits, (body.remap(pair, num_qubits) for pair in pairs))


def mera(num_qubits: int, block: Circuit | None = None) -> Circuit:
    """Returns the multi-scale entanglement renormalisation ansatz: a tree with disentanglers before every level.

    On the qubits q0, q1, ... of a level, blocks act first on (q1, q2), (q3, q4), ..., which straddle the pairs of the
    tree, and then on (q0, q1), (q2, q3), ...; the second qubits of the latter make the next level. Every parameter of
    the block gets a leading axis `[num_blocks, ...]` in order of application, 2**(k + 1) - 2 - k blocks on 2**k
    qubits; inputs are shared. The answer is on the last qubit.

    Args:
      num_qubits: qubits, at least 2.
      block: on 2 qubits; None is `ry_cx_block()`.

    Raises:
      UserError: the block has another number of qubits, or `num_qubits` is below 2.

    Source: Vidal 2008, Physical Review Letters 101, 110501 (arXiv:quant-ph/0610099); Grant et al. 2018, npj Quantum
    Information 4, 65 (arXiv:1804.03680).

    >>> [op.qubits for op in mera(4).iter_operations() if op.gate.name == "cx"]
    [(1, 2), (0, 1), (2, 3), (1, 3)]
    """
    body = _pair_block("block", block, ry_cx_block)
    pairs = [pair for level in _levels(num_qubits) for pair in _pairs(level[1:]) + _pairs(level)]
    return _indexed_parameters(num_qubits, (body.remap(pair, num_qubits) for pair in pairs))


def quantum_convolution(
    num_qubits: int, qubits: Sequence[int] | None = None, block: Circuit | None = None
) -> Circuit:
    """Returns one block with the same parameters on all neighbours: on even pairs, then on odd ones, then around.

    On the qubits q0, q1, ...: (q0, q1), (q2, q3), ..., then (q1, q2), (q3, q4), ..., then (last, q0) where there are
    more than two. Parameters and inputs are those of the block, shared by all of them.

    Args:
      num_qubits: of the circuit.
      qubits: the line that the layer acts on, at least 2; None is all qubits in order.
      block: on 2 qubits; None is `ry_cx_block("conv")`.

    Raises:
      UserError: `qubits` are repeated, out of range or too few, or the block has another number of qubits.

    Source: Cong, Choi and Lukin 2019, Nature Physics 15, 1273-1278 (arXiv:1810.03787); Hur, Kim and Park 2022,
    Quantum Machine Intelligence 4, 3 (arXiv:2108.00661).

    >>> [op.qubits for op in quantum_convolution(4).iter_operations() if op.gate.name == "cx"]
    [(0, 1), (2, 3), (1, 2), (3, 0)]
    """
    line = _line(num_qubits, qubits)
    body = _pair_block("block", block, lambda: ry_cx_block("conv"))
    around = [(line[-1], line[0])] if len(line) > 2 else []
    return _shared_parameters(num_qubits, body, [*_pairs(line), *_pairs(line[1:]), *around])


def quantum_pooling(num_qubits: int, qubits: Sequence[int] | None = None, block: Circuit | None = None) -> Circuit:
    """Returns one block with the same parameters on (q0, q1), (q2, q3), ...; the second of each pair goes on.

    Tracing out the first qubit of a pair is the same as measuring it, so a controlled rotation does what a rotation
    by the outcome would. `pooled_qubits` says which qubits go on. Parameters and inputs are those of the block.

    Args:
      num_qubits: of the circuit.
      qubits: the line that the layer acts on, at least 2; None is all qubits in order.
      block: on 2 qubits, the one given up and the one kept; None is `pooling_block()`.

    Raises:
      UserError: as for `quantum_convolution`.

    Source: Cong, Choi and Lukin 2019, Nature Physics 15, 1273-1278 (arXiv:1810.03787); Hur, Kim and Park 2022,
    Quantum Machine Intelligence 4, 3 (arXiv:2108.00661).

    >>> quantum_pooling(4).counts()
    {'c-rz': 2, 'c-rx': 2}
    """
    line = _line(num_qubits, qubits)
    return _shared_parameters(num_qubits, _pair_block("block", block, pooling_block), _pairs(line))


def pooled_qubits(qubits: Sequence[int]) -> tuple[int, ...]:
    """Returns the qubits that go on after `quantum_pooling`: the second of each pair, and one left over.

    >>> pooled_qubits((0, 1, 2, 3, 4))
    (1, 3, 4)
    """
    qubits = as_tuple("qubits", qubits)
    return qubits[1::2] + qubits[len(qubits) - len(qubits) % 2 :]


def qcnn(
    num_qubits: int, reps: int | None = None, convolution: Circuit | None = None, pooling: Circuit | None = None
) -> Circuit:
    """Returns a quantum convolutional network: `reps` times a convolution and a pooling, which halves the qubits.

    Every parameter of the two blocks gets a leading axis `[reps, ...]`; with the default blocks they are 'conv'
    `[reps, 2]` and 'pool' `[reps, 2]`. `qcnn_output_qubits` says where the answer is.

    Args:
      num_qubits: qubits, at least 2.
      reps: layers; None goes on until one qubit is left, ceil(log2(num_qubits)) layers, which is also the most.
      convolution: block on 2 qubits; None is `ry_cx_block("conv")`.
      pooling: block on 2 qubits, the one given up and the one kept; None is `pooling_block("pool")`.

    Raises:
      UserError: `num_qubits` or `reps` is out of range, a block has not 2 qubits, or the blocks share a parameter.

    Source: Cong, Choi and Lukin 2019, Nature Physics 15, 1273-1278 (arXiv:1810.03787); Hur, Kim and Park 2022,
    Quantum Machine Intelligence 4, 3 (arXiv:2108.00661).

    >>> qcnn(8).parameter_shapes, qcnn_output_qubits(8)
    ({'conv': (3, 2), 'pool': (3, 2)}, (7,))
    """
    convolving = _pair_block("convolution", convolution, lambda: ry_cx_block("conv"))
    pool = _pair_block("pooling", pooling, pooling_block)
    common = sorted(convolving.parameter_shapes.keys() & pool.parameter_shapes.keys())
    check(not common, "pooling", "have no parameter of the convolution's; `rename` it", ", ".join(common))
    lines = _layer_lines(num_qubits, reps)
    layers = (quantum_convolution(num_qubits, q, convolving) + quantum_pooling(num_qubits, q, pool) for q in lines)
    return _indexed_parameters(num_qubits, layers)


def qcnn_output_qubits(num_qubits: int, reps: int | None = None) -> tuple[int, ...]:
    """Returns the qubits that are left after `reps` layers of `qcnn`; (num_qubits - 1,) after all of them.

    Raises:
      UserError: `num_qubits` or `reps` is out of range.

    >>> qcnn_output_qubits(8, reps=1)
    (1, 3, 5, 7)
    """
    return pooled_qubits(_layer_lines(num_qubits, reps)[-1])


def _layer_lines(num_qubits: int, reps: int | None) -> list[tuple[int, ...]]:
    """The qubits that each layer of a `qcnn` acts on."""
    levels = _levels(num_qubits)
    count = len(levels) if reps is None else as_index("reps", reps)
    check(1 <= count <= len(levels), "reps", f"be an integer in 1..{len(levels)} on {num_qubits} qubits", reps)
    return levels[:count]


def _levels(num_qubits: int) -> list[tuple[int, ...]]:
    """The qubits of each level of the tree, from all of them to the last two."""
    levels = [tuple(range(as_index("num_qubits", num_qubits, 2)))]
    while len(levels[-1]) > 2:
        levels.append(pooled_qubits(levels[-1]))
    return levels


def _pairs(line: Sequence[int]) -> list[tuple[int, ...]]:
    """(q0, q1), (q2, q3), ...; a last one without a neighbour is left out."""
    return list(zip(line[0::2], line[1::2], strict=False))


def _line(num_qubits: int, qubits: Sequence[int] | None) -> tuple[int, ...]:
    width = as_index("num_qubits", num_qubits)
    line = tuple(range(width)) if qubits is None else tuple(as_index("qubits", q) for q in qubits)
    valid = len(set(line)) == len(line) >= 2 and max(line) < width
    check(valid, "qubits", f"hold at least 2 distinct integers in 0..{width - 1}", line)
    return line


def _pair_block(argument: str, block: Circuit | None, default: Callable[[], Circuit]) -> Circuit:
    body = default() if block is None else block
    check(body.num_qubits == 2, argument, "have 2 qubits", body.num_qubits)
    return body


def _shared_parameters(num_qubits: int, block: Circuit, places: Sequence[Sequence[int]]) -> Circuit:
    placed = (op for qubits in places for op in block.remap(qubits, num_qubits).operations)
    return Circuit(num_qubits, tuple(placed))


def _indexed_parameters(num_qubits: int, circuits: Iterable[Circuit]) -> Circuit:
    """The circuits one after the other: theta[...] of the k-th one becomes theta[k, ...]."""
    indexed = (op.with_leading_index(k) for k, circuit in enumerate(circuits) for op in circuit.iter_operations())
    return Circuit(num_qubits, tuple(indexed))
