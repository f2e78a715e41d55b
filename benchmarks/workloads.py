"""The workloads W1 to W13, each at its sizes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.case import SEED, Case, Layer, Op, Ref, all_pairs

# W12 (distinct gates) is measured by `first_calls.py`.
NAMES = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10", "W11", "W13")
NUM_DRAWS = 24  # of the weights of W7


def rotations(num_qubits: int, gates: tuple[str, ...]) -> Layer:
    """Returns `gates` on every qubit; the weights have shape [num_qubits, gates]."""
    k = len(gates)
    return tuple(Op(gate, (q,), (Ref("w", k * q + j),)) for q in range(num_qubits) for j, gate in enumerate(gates))


def ring(num_qubits: int, gate: str = "cx") -> Layer:
    """Returns a gate without angles from each qubit to the next, the last to the first."""
    return tuple(Op(gate, (q, (q + 1) % num_qubits)) for q in range(num_qubits))


def random_coefficients(count: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng((SEED, 4)).normal(size=count).tolist())


def classifier(workload: str, name: str, kind: str, n: int, batch: int) -> Case:
    """W1: angle encoding, 3 layers of RX RY RZ and a CNOT ring, <Z> of every qubit."""
    gates = ("rx", "ry", "rz")
    return Case(
        workload,
        name,
        kind,
        n,
        encoding=tuple(Op("ry", (q,), (Ref("x", q),)) for q in range(n)),
        layer=rotations(n, gates) + ring(n),
        num_layers=3,
        num_layer_weights=3 * n,
        observables=tuple((q,) for q in range(n)),
        coefficients=random_coefficients(n),
        batch=batch,
    )


def chain(workload: str, name: str, n: int, num_layers: int, kind: str = "gradient", **options: Any) -> Case:
    """W2: layers of RY RZ and a CNOT ring from |0...0>, the sum of Z_i Z_i+1 on an open chain."""
    return Case(
        workload,
        name,
        kind,
        n,
        layer=rotations(n, ("ry", "rz")) + ring(n),
        num_layers=num_layers,
        num_layer_weights=2 * n,
        observables=tuple((q, q + 1) for q in range(n - 1)),
        coefficients=(1.0,) * (n - 1),
        **options,
    )


def random_circuit(name: str, n: int, depth: int) -> Case:
    """W5: alternating layers of a random u on every qubit, and CZ or CX on random neighbouring pairs."""
    rng, operations = np.random.default_rng((SEED, 5)), []
    for step in range(depth):
        if step % 2 == 0:
            operations += [Op("u", (q,), tuple(rng.uniform(-np.pi, np.pi, 3).tolist())) for q in range(n)]
            continue
        q = int(rng.integers(0, 2))
        while q < n - 1:
            if rng.random() < 0.8:
                pair = (q, q + 1) if rng.random() < 0.5 else (q + 1, q)
                operations.append(Op(str(rng.choice(["cx", "cz"])), pair))
            q += 2
    return Case("W5", name, "state", n, encoding=tuple(operations), num_layers=0)


def qaoa(workload: str, name: str, n: int, batch: int, reps: int = 4, density: float = 0.4) -> Case:
    """W8, W11: QAOA of a weighted random graph, `batch` starting points at once: every angle is an input."""
    rng = np.random.default_rng((SEED, 6))
    edges = [pair for pair in all_pairs(n) if rng.random() < density]
    strengths = rng.normal(size=len(edges))
    operations = [Op("h", (q,)) for q in range(n)]
    for step in range(reps):
        for edge, strength in zip(edges, strengths, strict=True):
            operations.append(Op("rzz", edge, (Ref("x", 2 * step, float(strength)),)))
        operations += [Op("rx", (q,), (Ref("x", 2 * step + 1),)) for q in range(n)]
    return Case(
        workload,
        name,
        "gradient_inputs",
        n,
        encoding=tuple(operations),
        num_layers=0,
        observables=tuple(edges),
        coefficients=tuple(strengths.tolist()),
        batch=batch,
    )


def brick_wall(name: str, n: int, batch: int, reps: int = 3) -> Case:
    """W8: a brick wall of cry, crx, iswap and u gates, the inputs loaded again in every layer."""
    operations, place = [Op("rx", (q,), (Ref("x", q),)) for q in range(n)], 0
    for q in range(n):
        operations.append(Op("u", (q,), tuple(Ref("w", place + j) for j in range(3))))
        place += 3
    for q in range(n - 1):
        pair = (q, q + 1) if q % 2 == 0 else (q + 1, q)
        if q % 3 == 2:
            operations.append(Op("iswap", pair))
            continue
        operations.append(Op("cry" if q % 3 == 0 else "crx", pair, (Ref("w", place),)))
        place += 1
    return Case(
        "W8",
        name,
        "gradient_inputs",
        n,
        layer=tuple(operations),
        num_layers=reps,
        num_layer_weights=place,
        observables=tuple((q,) for q in range(n)),
        coefficients=random_coefficients(n),
        batch=batch,
    )


def given_states(name: str, n: int, batch: int) -> Case:
    """W10: 3 layers of RX RY RZ and a CNOT ring on states that are given; the matrix of that circuit without them."""
    return replace(
        classifier("W10", name, "gradient" if batch else "unitary", n, batch), encoding=(), inputs_are="states"
    )


def zz_map(name: str, kind: str, n: int, batch: int, reps: int = 2) -> Case:
    """W11: the ZZ feature map of all pairs, then a layer of RY and a CNOT ring, <Z> of every qubit."""
    pairs = all_pairs(n)
    once = [Op("h", (q,)) for q in range(n)] + [Op("rz", (q,), (Ref("x", q),)) for q in range(n)]
    once += [Op("rzz", pair, (Ref("x", n + k),)) for k, pair in enumerate(pairs)]
    return Case(
        "W11",
        name,
        kind,
        n,
        encoding=tuple(once * reps),
        layer=rotations(n, ("ry",)) + ring(n),
        num_layer_weights=n,
        observables=tuple((q,) for q in range(n)),
        coefficients=random_coefficients(n),
        batch=batch,
        inputs_are="zz map",
    )


def uccsd(name: str, n: int, num_electrons: int) -> Case:
    """W11: UCCSD by Jordan-Wigner, each excitation as the Pauli rotations that make it up; n = 12, 4 electrons: LiH.

    Spin orbitals alternate between the two spins; excitations keep the spin. The cost is a random sum of Z and ZZ, as
    the molecule's own needs integrals that a chemistry package computes.
    """
    occupied, empty = range(num_electrons), range(num_electrons, n)
    singles = [(i, a) for i in occupied for a in empty if (i - a) % 2 == 0]
    doubles = [
        (i, j, a, b)
        for i, j in all_pairs(num_electrons)
        for a in empty
        for b in range(a + 1, n)
        if sorted((i % 2, j % 2)) == sorted((a % 2, b % 2))
    ]
    operations = [Op("x", (q,)) for q in occupied]
    for k, (i, a) in enumerate(singles):
        for letters, sign in (("XY", -1.0), ("YX", 1.0)):
            operations.append(_pauli({i: letters[0], a: letters[1]}, [(i, a)], Ref("w", k, sign)))
    for k, (i, j, a, b) in enumerate(doubles, len(singles)):
        for letters, sign in _DOUBLE.items():
            ends = dict(zip((i, j, a, b), letters, strict=True))
            operations.append(_pauli(ends, [(i, j), (a, b)], Ref("w", k, sign / 4)))
    observables = (*((q,) for q in range(n)), *all_pairs(n))
    return Case(
        "W11",
        name,
        "gradient",
        n,
        layer=tuple(operations),
        num_layer_weights=len(singles) + len(doubles),
        observables=observables,
        coefficients=tuple(c / len(observables) ** 0.5 for c in random_coefficients(len(observables))),
    )


# A double excitation, exp(t (T - T^dagger)), is the product of exp(-i sign t / 8 P) over these P (Romero et al.).
_DOUBLE = dict.fromkeys(("XXXY", "XXYX", "XYYY", "YXYY"), -1.0) | dict.fromkeys(("XYXX", "YXXX", "YYXY", "YYYX"), 1.0)


def _pauli(ends: dict[int, str], between: list[tuple[int, int]], angle: Ref) -> Op:
    """Returns the rotation of the letters at the `ends`, with Z on the qubits between each pair."""
    places = dict(ends) | {q: "Z" for low, high in between for q in range(low + 1, high)}
    return Op("pauli", tuple(sorted(places)), (angle,), "".join(places[q] for q in sorted(places)))


def reuploading(name: str, n: int, batch: int, entangler: str, reps: int = 4) -> Case:
    """W13: in each layer RX of the inputs, RY RZ of weights, and a ring of CZ, CX or RZZ; gradient of the weights."""
    loads = tuple(Op("rx", (q,), (Ref("x", q),)) for q in range(n))
    turns = rotations(n, ("ry", "rz"))
    pairs = [op.qubits for op in ring(n)]
    entangled = tuple(Op("rzz", pair, (Ref("w", 2 * n + k),)) for k, pair in enumerate(pairs))
    trained = entangler == "rzz"
    return Case(
        "W13",
        name,
        "gradient",
        n,
        layer=loads + turns + (entangled if trained else ring(n, entangler)),
        num_layers=reps,
        num_layer_weights=(3 if trained else 2) * n,
        observables=tuple((q,) for q in range(n)),
        coefficients=random_coefficients(n),
        batch=batch,
    )


# name -> (qubits, angles): kinds of W12.
KINDS = (
    dict.fromkeys(("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg"), (1, 0))
    | dict.fromkeys(("p", "rx", "ry", "rz"), (1, 1))
    | {"r": (1, 2), "u": (1, 3), "cu": (2, 4)}
    | dict.fromkeys(("cx", "cy", "cz", "ch", "cs", "csdg", "csx", "swap", "iswap", "dcx", "ecr"), (2, 0))
    | dict.fromkeys(("cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "rzx"), (2, 1))
    | dict.fromkeys(("xx_plus_yy", "xx_minus_yy"), (2, 2))
    | dict.fromkeys(("ccx", "ccz", "cswap", "rccx"), (3, 0))
)


def distinct_gates(n: int, num_gates: int, seed: int = SEED, trained: bool = False) -> Case:
    """W12: random gates of all kinds on random qubits, no two with the same angles; or each angle a weight."""
    rng, names = np.random.default_rng((seed, 7)), list(KINDS)
    operations: list[Op] = []
    count = 0
    for kind in rng.integers(len(names), size=num_gates).tolist():
        qubits, angles = KINDS[names[kind]]
        drawn: tuple[Ref | float, ...] = tuple(rng.uniform(-np.pi, np.pi, angles).tolist())
        if trained:
            drawn = tuple(Ref("w", count + k) for k in range(angles))
        count += angles
        operations.append(Op(names[kind], tuple(rng.choice(n, qubits, replace=False).tolist()), drawn))
    case = Case("W12", f"W12 n={n} gates={num_gates}", "state", n, num_layers=0, seed=seed)
    if not trained:
        return replace(case, encoding=tuple(operations))
    readout: dict[str, Any] = {"observables": ((0,),), "coefficients": (1.0,), "kind": "gradient"}
    return replace(case, layer=tuple(operations), num_layers=1, num_layer_weights=count, **readout)


def _w1(quick: bool) -> list[Case]:
    sizes = [(4, 32), (8, 32)] if quick else [(4, 32), (4, 512), (8, 32), (8, 512), (12, 512), (16, 32)]
    kinds = {"expectation": "forward", "gradient": "grad w", "gradient_inputs": "grad w,x"}
    return [classifier("W1", f"W1 n={n} b={b} {text}", kind, n, b) for n, b in sizes for kind, text in kinds.items()]


def _w2(quick: bool) -> list[Case]:
    if quick:
        return [chain("W2", "W2 n=12 L=4", 12, 4, memory=True)]
    sizes = [(20, 4), (22, 4), (20, 16), (20, 64)]
    return [chain("W2", f"W2 n={n} L={layers}", n, layers, memory=True) for n, layers in sizes]


def _w3(quick: bool) -> list[Case]:
    def search(n: int, kind: str) -> Case:
        text = "reflections" if kind == "grover" else "gates"
        marked = 0b1011001110001111010101 & (2**n - 1)
        return Case("W3", f"W3 n={n} {text}", kind, n, num_layers=0, num_iterations=50, marked=marked)

    sizes = [10] if quick else [10, 16, 20]
    return [search(n, "grover") for n in sizes] + [search(sizes[-1], "grover_gates")]


def _w4(quick: bool) -> list[Case]:
    depths = [5] if quick else [5, 50, 200]
    return [chain("W4", f"W4 n=10 L={layers}", 10, layers, compile_only=True) for layers in depths]


def _w5(quick: bool) -> list[Case]:
    n, depth = (14, 20) if quick else (24, 20)
    return [random_circuit(f"W5 n={n} depth={depth}", n, depth)]


def _w6(quick: bool) -> list[Case]:
    n, batch = (4, 64) if quick else (8, 512)
    return [classifier("W6", f"W6 step n={n} b={batch}", "step", n, batch)]


def _w7(quick: bool) -> list[Case]:
    """Several draws of the weights: the error of a single one is as much luck as rounding."""
    depths, draws = ([10], 1) if quick else ([10, 100, 1000], NUM_DRAWS)
    return [
        chain("W7", f"W7 n=8 L={layers} #{draw}", 8, layers, kind="accuracy", seed=SEED + draw)
        for layers in depths
        for draw in range(draws)
    ]


def _w8(quick: bool) -> list[Case]:
    sizes = [(6, 8), (5, 10)] if quick else [(10, 64), (9, 100)]
    (n1, b1), (n2, b2) = sizes
    return [qaoa("W8", f"W8 QAOA n={n1} b={b1}", n1, b1), brick_wall(f"W8 brick n={n2} b={b2}", n2, b2)]


def _w9(quick: bool) -> list[Case]:
    n, iterations = (10, 25) if quick else (20, 804)
    marked = 0b1011001110001111010101 & (2**n - 1)
    name = f"W9 n={n}, {iterations} iterations"
    return [Case("W9", name, "grover_gates", n, num_layers=0, num_iterations=iterations, marked=marked)]


def _w10(quick: bool) -> list[Case]:
    n, batch = (4, 16) if quick else (8, 512)
    sizes = [4] if quick else [8, 10]
    matrices = [given_states(f"W10 unitary n={n}", n, 0) for n in sizes]
    return [given_states(f"W10 given states n={n} b={batch} grad w", n, batch), *matrices]


def _w11(quick: bool) -> list[Case]:
    n, b1, b2, reps = (6, 4, 4, 2) if quick else (12, 64, 16, 10)
    kinds = {"expectation": "forward", "gradient_inputs": "grad w,x"}
    maps = [zz_map(f"W11 ZZ map n={n} b={b1} {text}", kind, n, b1) for kind, text in kinds.items()]
    dense = qaoa("W11", f"W11 dense QAOA n={n} b={b2}", n, b2, reps, density=1.0)
    return [*maps, dense, uccsd(f"W11 UCCSD n={n}", n, 2 if quick else 4)]


def _w13(quick: bool) -> list[Case]:
    n, batch = (4, 16) if quick else (8, 512)
    return [reuploading(f"W13 {g.upper()} n={n} b={batch} grad w", n, batch, g) for g in ("cz", "cx", "rzz")]


_MAKERS: dict[str, Callable[[bool], list[Case]]] = dict(
    zip(NAMES, (_w1, _w2, _w3, _w4, _w5, _w6, _w7, _w8, _w9, _w10, _w11, _w13), strict=True)
)


def cases(workloads: tuple[str, ...] = NAMES, quick: bool = False, gpu: bool = False) -> list[Case]:
    """Returns the cases of the named workloads, at small sizes if `quick`; with `gpu` those for a GPU alone, too."""
    found = [case for name in workloads for case in _MAKERS[name](quick)]
    if not gpu or quick:
        return found
    large = [
        classifier("W1", f"W1 n=8 b=65536 {text}", kind, 8, 65536)
        for kind, text in (("expectation", "forward"), ("gradient", "grad w"))
    ]
    deep = [chain("W2", f"W2 n={n} L=4", n, 4, memory=True) for n in (24, 26)]
    deep += [chain("W2", f"W2 n={n} L=4 forward", n, 4, kind="expectation") for n in (22, 24, 26)]
    return found + [case for case in large + deep if case.workload in workloads]
