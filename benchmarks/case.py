"""One workload at one size: a circuit as a plain gate list and its numbers, the same for qjax and for every peer.

Knows NumPy only. A `Case` is a circuit, its weights and inputs, what is measured, and what is asked for. Qubit 0 is
the most significant bit of a basis index. Angles are in radians and every gate is the one of that name in OpenQASM 3:
rx(t) = exp(-i t X / 2), rzz(t) = exp(-i t ZZ / 2), u(theta, phi, lambda).
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

SEED = 20240229
NUM_FEATURES, NUM_CLASSES = 384, 2


@dataclass(frozen=True)
class Ref:
    """An angle: `scale` times entry `index` of the flat weights ('w'), or of one example's inputs ('x')."""

    kind: str
    index: int
    scale: float = 1.0


@dataclass(frozen=True)
class Op:
    """A gate on qubits; its angles are numbers or `Ref`s.

    The gate 'pauli' is exp(-i t P / 2) for the product P of the `letters` X, Y and Z, one for each qubit.
    """

    gate: str
    qubits: tuple[int, ...]
    angles: tuple[Ref | float, ...] = ()
    letters: str = ""


Layer = tuple[Op, ...]


@dataclass(frozen=True)
class Case:
    """One thing to run.

    Attributes:
      workload: 'W1' to 'W13'.
      name: unique; what tables call it.
      kind: 'expectation', 'gradient' (of the weights), 'gradient_inputs' (of weights and inputs), 'state', 'grover',
        'grover_gates', 'step' (a training step), 'unitary' (the circuit's matrix), or 'accuracy' (expectation and
        gradient, not timed).
      num_qubits: n.
      encoding: the operations before the layers.
      layer: the operations of the first layer; layer l has its weights `l * num_layer_weights` further on, and the
        same inputs.
      num_layers: how often.
      num_layer_weights: entries of the weights that a layer uses.
      observables: each is a set of qubits with Z on them.
      coefficients: `[observables]`; the loss is the mean over the batch of sum_k c_k <O_k>.
      batch: examples; 0 where there is one state and no inputs.
      seed: of the numbers.
      memory: whether to measure the peak of memory too.
      compile_only: whether the time asked for is that of tracing and compiling.
      num_iterations, marked: of Grover's search.
      inputs_are: 'angles'; 'states', the amplitudes that each example starts from; or 'zz map', the angles of
        `zz_map` for n random features.
    """

    workload: str
    name: str
    kind: str
    num_qubits: int
    encoding: Layer = ()
    layer: Layer = ()
    num_layers: int = 1
    num_layer_weights: int = 0
    observables: tuple[tuple[int, ...], ...] = ()
    coefficients: tuple[float, ...] = field(default=(), repr=False)
    batch: int = 0
    seed: int = SEED
    memory: bool = False
    compile_only: bool = False
    num_iterations: int = 0
    marked: int = 0
    inputs_are: str = "angles"

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer with its own weights' places."""
        return tuple(shift(self.layer, index * self.num_layer_weights) for index in range(self.num_layers))

    @cached_property
    def operations(self) -> Layer:
        """All operations in order."""
        return self.encoding + tuple(op for layer in self.layers for op in layer)

    @cached_property
    def num_inputs(self) -> int:
        if self.inputs_are == "states":
            return 2**self.num_qubits
        used = (a.index + 1 for op in self.operations for a in op.angles if isinstance(a, Ref) and a.kind == "x")
        return max(used, default=0)

    @cached_property
    def weights(self) -> np.ndarray:
        """`[num_weights]` float64, uniform in (-pi, pi); float32 numbers where the error of rounding is measured.

        Rounded by each peer on its own, they would be off by more than what its arithmetic adds.
        """
        rng = np.random.default_rng((self.seed, 0))
        drawn = rng.uniform(-np.pi, np.pi, self.num_layers * self.num_layer_weights)
        return drawn.astype(np.float32).astype(np.float64) if self.kind == "accuracy" else drawn

    @cached_property
    def inputs(self) -> np.ndarray | None:
        """`[batch, num_inputs]` float64; angles are uniform in (-pi, pi). None without a batch."""
        if not self.batch:
            return None
        rng = np.random.default_rng((self.seed, 1))
        if self.inputs_are == "states":
            drawn = rng.normal(size=(self.batch, self.num_inputs))
            return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        if self.inputs_are == "zz map":
            x = rng.uniform(-np.pi, np.pi, (self.batch, self.num_qubits))
            products = [2 * (np.pi - x[:, i]) * (np.pi - x[:, j]) for i, j in all_pairs(self.num_qubits)]
            return np.concatenate([2 * x, np.stack(products, axis=1)], axis=1)
        return rng.uniform(-np.pi, np.pi, (self.batch, self.num_inputs))

    @cached_property
    def amplitude_indices(self) -> np.ndarray:
        """`[1000]` basis states at which the final states of frameworks are compared."""
        return np.random.default_rng((self.seed, 2)).integers(0, 2**self.num_qubits, 1000)

    @cached_property
    def training(self) -> dict[str, np.ndarray]:
        """Features, labels and first parameters of a training step, float32."""
        rng, n = np.random.default_rng((self.seed, 3)), self.num_qubits
        return {
            "features": rng.normal(size=(self.batch, NUM_FEATURES)).astype(np.float32),
            "labels": rng.integers(0, NUM_CLASSES, self.batch).astype(np.int32),
            "kernel_in": (rng.normal(size=(NUM_FEATURES, n)) / NUM_FEATURES**0.5).astype(np.float32),
            "bias_in": np.zeros(n, np.float32),
            "kernel_out": rng.normal(size=(n, NUM_CLASSES)).astype(np.float32),
            "bias_out": np.zeros(NUM_CLASSES, np.float32),
        }


def shift(layer: Layer, places: int) -> Layer:
    """Returns the layer with every weight `places` further on."""

    def move(angle: Ref | float) -> Ref | float:
        weight = isinstance(angle, Ref) and angle.kind == "w"
        return Ref("w", angle.index + places, angle.scale) if weight else angle

    return tuple(replace(op, angles=tuple(map(move, op.angles))) for op in layer)


def without_u(case: Case) -> Case:
    """Returns the case with each u(theta, phi, lambda) as RZ(lambda), RY(theta), RZ(phi): the phase differs."""

    def expand(operations: Layer) -> Layer:
        out: list[Op] = []
        for op in operations:
            if op.gate != "u":
                out.append(op)
                continue
            theta, phi, lam = op.angles
            out += [Op("rz", op.qubits, (lam,)), Op("ry", op.qubits, (theta,)), Op("rz", op.qubits, (phi,))]
        return tuple(out)

    return replace(case, encoding=expand(case.encoding), layer=expand(case.layer))


def all_pairs(num_qubits: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(num_qubits) for j in range(i + 1, num_qubits)]
