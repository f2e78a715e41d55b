"""What the peers that run on JAX share: read-out, loss, gradients, chunks of the batch, compiling ahead of time.

A peer brings `state(weights, row) -> [2**n]` complex64 for one example; everything around it is the same for all of
them and is written for speed:

- <Z> of every qubit is one matmul of the probabilities with a sign matrix (measured faster than sums over axes, and
  up to 3 times faster than one contraction an observable: 32 ms against 48 ms at n = 8, batch 512 for tensorcircuit).
- A gradient needs the loss alone, whose observable is one real diagonal: one dot product instead of n.
- Both come in as arguments, so that XLA does not fold megabytes of constants while it compiles.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.case import Case, Layer, Op, Ref
from benchmarks.peers.base import Form, Run, values_of
from benchmarks.peers.signs import diagonal_of, signs_of

# Amplitudes times layers up to which the reverse pass of a scan may store what it likes: about 50 states a layer.
MAX_STORED = 2**24
State = Callable[[Any, Any], Any]
_SINGLE = ("rx", "ry", "rz", "u", "h")


def state_run(case: Case, state: State, chunk: int = 0) -> Run:
    """Returns the run of a peer that computes the state of one example.

    Args:
      case: what to run.
      state: (weights `[num_weights]`, inputs of one example `[num_inputs]` or None) -> `[2**n]` or `[2] * n`.
      chunk: examples at a time, a divisor of the batch; 0 for all at once.
    """
    if case.kind == "unitary":  # the columns are what the circuit makes of each basis state
        weights, basis = jnp.asarray(case.weights, jnp.float32), jnp.eye(2**case.num_qubits, dtype=jnp.complex64)
        of_basis = jax.vmap(lambda weights, row: state(weights, row).reshape(-1), (None, 0), 1)
        run = compile_run(of_basis, weights, basis)
        run.result = lambda out: {"matrix": np.asarray(out)}
        return run
    signs = jnp.asarray(signs_of(case), jnp.float32) if case.kind in ("expectation", "step") else None
    diagonal = jnp.asarray(diagonal_of(case), jnp.float32) if signs is None and case.observables else None

    def measured(weights: Any, row: Any, readout: Any) -> Any:
        psi = state(weights, row).reshape(-1)
        return (jnp.real(psi) ** 2 + jnp.imag(psi) ** 2) @ readout

    def batched(weights: Any, inputs: Any, readout: Any) -> Any:
        if inputs is None:
            return measured(weights, None, readout)[None]
        of_rows = jax.vmap(measured, (None, 0, None))
        if not chunk:
            return of_rows(weights, inputs, readout)
        parts = inputs.reshape(-1, chunk, inputs.shape[-1])
        out = lax.map(lambda rows: of_rows(weights, rows, readout), parts)
        return out.reshape(-1, *out.shape[2:])

    return loss_run(case, batched, signs if signs is not None else diagonal, reduced=signs is None)


def loss_run(case: Case, measured: Callable[..., Any], readout: Any, reduced: bool = False) -> Run:
    """Returns the run of the case, made from what is measured of a batch.

    Args:
      case: what to run; of kind 'expectation', 'gradient', 'gradient_inputs', 'accuracy' or 'step'.
      measured: (weights, inputs `[batch, num_inputs]` or None, readout) -> `[batch, observables]`.
      readout: handed through to `measured`.
      reduced: whether `measured` returns the weighted sums `[batch]` instead.
    """
    weights = jnp.asarray(case.weights, jnp.float32)
    inputs = None if case.inputs is None else jnp.asarray(case.inputs, jnp.float32)
    coefficients = jnp.asarray(case.coefficients, jnp.float32)
    if case.kind == "step":
        from benchmarks.peers.hybrid import step_run

        return step_run(case, lambda w, x: measured(w, x, readout))
    if case.kind == "expectation":
        run = compile_run(measured, weights, inputs, readout)
        run.result = lambda out: {"expectations": np.asarray(out)}
        return run

    def loss(weights: Any, inputs: Any, readout: Any) -> Any:
        out = measured(weights, inputs, readout)
        return jnp.mean(out if reduced else out @ coefficients)

    both = case.kind == "gradient_inputs"
    run = compile_run(jax.value_and_grad(loss, (0, 1) if both else 0), weights, inputs, readout)
    names = ("weights", "inputs") if both else ("weights",)

    def result(out: Any) -> dict[str, np.ndarray]:
        grads = out[1] if both else (out[1],)
        named = {name: np.asarray(grad) for name, grad in zip(names, grads, strict=True)}
        return {"value": np.asarray(out[0]), **named}

    run.result = result
    return run


def compile_run(function: Callable[..., Any], *args: Any) -> Run:
    """Traces and compiles now, so that a call only runs; notes the compiler's count of memory."""
    compiled = jax.jit(function).lower(*args).compile()
    run = Run(lambda: jax.block_until_ready(compiled(*args)), lambda out: {"out": np.asarray(out)})
    try:
        analysis = compiled.memory_analysis()
        run.notes["temporary_bytes"] = int(analysis.temp_size_in_bytes)
        run.notes["output_bytes"] = int(analysis.output_size_in_bytes)
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        pass  # not every backend counts
    return run


def scan_forms(case: Case, state: Callable[[Case, bool], State]) -> dict[str, Form]:
    """Returns the forms of a deep circuit whose layers are scanned.

    Args:
      case: with layers that are alike; otherwise there is no such form.
      state: (case, whether the reverse pass recomputes each layer from the state before it) -> `state`.
    """
    if case.num_layers <= 3 or not case.num_layer_weights:
        return {}
    found: dict[str, Form] = {}
    if 2**case.num_qubits * case.num_layers <= MAX_STORED:
        found["scan"] = lambda case: state_run(case, state(case, False))
    if case.memory:
        found["scan, layers recomputed"] = lambda case: state_run(case, state(case, True))
    return found


def scan_layers(case: Case, layer: Callable[..., Any], first: Any, weights: Any, recompute: bool) -> Any:
    """Returns the state after all layers; `layer` is (weights of a layer, state) -> state, of `first`'s shape."""

    def body(psi: Any, layer_weights: Any) -> Any:
        return layer(layer_weights, psi).astype(jnp.complex64), None

    step = jax.checkpoint(body) if recompute else body
    return lax.scan(step, first.astype(jnp.complex64), weights.reshape(case.num_layers, -1))[0]


def zero_state(num_qubits: int) -> Any:
    """Returns |0...0>, `[2**n]` complex64."""
    return jnp.zeros(2**num_qubits, jnp.complex64).at[0].set(1)


def copy_speed(size: int = 2**28) -> float:
    """Returns the bytes a second, read and written, at which this device adds 1 to an array of `size` float32."""
    array = jnp.zeros(size, jnp.float32)
    copy = jax.jit(lambda a: a + 1)
    jax.block_until_ready(copy(array))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(copy(array))
        seconds.append(time.perf_counter() - start)
    return 8 * size / min(seconds)


def warm_up() -> None:
    """Starts JAX and its compiler, so that the first form's preparation does not pay for that."""
    grad = jax.jit(jax.grad(lambda a: jnp.sum(jnp.cos(a) * a)))
    jax.block_until_ready(grad(jnp.ones(7, jnp.float32)))


def backend() -> str:
    """Returns the platform that JAX found, 'cpu' or 'gpu'."""
    return jax.default_backend()


def merged_steps(operations: Layer, with_inputs: bool = False) -> list[tuple[Op, ...]]:
    """Returns the operations with every run of single-qubit gates on one qubit put together, in order.

    Args:
      operations: in order.
      with_inputs: whether a run may hold gates that turn by inputs and gates that do not. Then the product is another
        matrix for each example, which saves a pass over the state but costs a matrix product an example.
    """
    waiting: dict[int, list[Op]] = {}
    steps: list[tuple[Op, ...]] = []
    for op in operations:
        if op.gate in _SINGLE:
            run = waiting.setdefault(op.qubits[0], [])
            if run and not with_inputs and _turns_by_inputs(run[0]) != _turns_by_inputs(op):
                steps.append(tuple(run))
                run.clear()
            run.append(op)
            continue
        steps += [tuple(waiting.pop(q)) for q in op.qubits if q in waiting]
        steps.append((op,))
    return steps + [tuple(ops) for ops in waiting.values()]


def _turns_by_inputs(op: Op) -> bool:
    return any(isinstance(angle, Ref) and angle.kind == "x" for angle in op.angles)


def single_qubit_matrices(steps: list[tuple[Op, ...]], weights: Any, row: Any) -> dict[int, Any]:
    """Returns the 2 x 2 matrix of every step of single-qubit gates, by its place in `steps`.

    Steps of the same gates are computed together, as arrays `[steps, 2, 2]`: cosines one by one cost more than the
    circuit at 4 qubits.
    """
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, ops in enumerate(steps):
        if ops[0].gate in _SINGLE:
            alike.setdefault(tuple(op.gate for op in ops), []).append(place)
    out: dict[int, Any] = {}
    for gates, places in alike.items():
        total = None
        for turn, gate in enumerate(gates):
            columns = zip(*(steps[p][turn].angles for p in places), strict=True)
            matrix = _stacked(gate, [_gathered(column, weights, row) for column in columns])
            total = matrix if total is None else _times(matrix, total)
        total = jnp.broadcast_to(total, (len(places), 2, 2)) if total.ndim == 2 else total
        out |= {place: total[i] for i, place in enumerate(places)}
    return out


def _gathered(angles: tuple[Ref | float, ...], weights: Any, row: Any) -> Any:
    """Returns the angles as one array: one gather where all are entries of the same array."""
    kinds = {angle.kind if isinstance(angle, Ref) else "" for angle in angles}
    if len(kinds) == 1 and kinds != {""} and all(angle.scale == 1.0 for angle in angles):
        return (weights if kinds == {"w"} else row)[np.asarray([angle.index for angle in angles])]
    values = values_of(Op("", (), angles), weights, row)
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def _times(a: Any, b: Any) -> Any:
    """Product of `[..., 2, 2]` matrices, as multiply-adds: XLA's batched matmul is slow at this size."""
    return a[..., :, 0, None] * b[..., None, 0, :] + a[..., :, 1, None] * b[..., None, 1, :]


def _stacked(gate: str, angles: list[Any]) -> Any:
    """Returns `[..., 2, 2]` complex64 for angles `[...]`."""
    if gate == "h":
        return jnp.asarray(np.array([[1, 1], [1, -1]]) / 2**0.5, jnp.complex64)
    cos, sin = jnp.cos(angles[0] / 2), jnp.sin(angles[0] / 2)
    if gate == "u":
        first, second = jnp.exp(1j * angles[1]), jnp.exp(1j * angles[2])
        entries = (cos + 0j, -second * sin, first * sin, first * second * cos)
    else:
        entries = {
            "rx": (cos, -1j * sin, -1j * sin, cos),
            "ry": (cos, -sin, sin, cos),
            "rz": (cos - 1j * sin, 0 * cos, 0 * cos, cos + 1j * sin),
        }[gate]
    flat = jnp.stack([jnp.asarray(e, jnp.complex64) for e in entries], axis=-1)
    return flat.reshape(*flat.shape[:-1], 2, 2)


def chunks_of(case: Case) -> tuple[int, ...]:
    """Returns the sizes of chunks worth trying: all at once, and those that keep a chunk's states near the cache."""
    if case.batch < 16 or case.num_qubits < 8:
        return (0,)
    fits = {max(1, 2 ** (17 - case.num_qubits))}
    return (0, *(size for size in sorted(fits) if size < case.batch and case.batch % size == 0))
