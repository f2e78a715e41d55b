"""What a person asks of a circuit: its state, expectation values, probabilities and samples.

All are pure functions of (circuit, params, inputs): under `jit`, `vmap`, `grad` and `scan` close over the circuit,
which is static. Shapes are checked while tracing. float32 angles give complex64, float64 angles (x64 switched on)
complex128.

Arguments in common:
  circuit: what to run, on |0...0>.
  params: name -> real array of the shape that `circuit.parameter_shapes` states, in radians; None where there are
    none.
  inputs: `[num_inputs]` for one example, `[batch, num_inputs]` for many; None where the circuit has none. With inputs
    of rank 2 every result has the batch as its first axis, also where the circuit does not use them.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qjax.checks import check, fail
from qjax.quantum.binding import check_values
from qjax.quantum.circuit import Circuit
from qjax.quantum.measurement import observable_values
from qjax.quantum.observables import Observable, PauliString, PauliSum
from qjax.quantum.program import compile_circuit
from qjax.quantum.values import Values
from qjax.types import Array, CircuitParams, Complex, Float, Int, Key

# Largest state that a call may ask for, over the whole batch; it needs about three times that while it works.
MAX_STATE_BYTES = 2**33


def state(
    circuit: Circuit, params: CircuitParams | None = None, inputs: Any = None
) -> Complex[Array, "*batch amplitudes"]:
    """Returns the final state, `[2**n]` or `[batch, 2**n]`; qubit 0 is the most significant bit of the index.

    Raises:
      UserError: names, shapes or dtypes are wrong, or the state is larger than `MAX_STATE_BYTES`.
    """
    amplitudes, batched = _run(circuit, params, inputs)
    return _batch_first(amplitudes, batched)


def expectation(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Sequence[Observable] = (),
) -> Float[Array, "*batch observables"]:
    """Returns the exact expectation value of each observable, `[num_observables]` or `[batch, num_observables]`.

    Args:
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      observables: Pauli strings and sums, at least one; `z_observables(n)` is Z on each qubit.

    Raises:
      UserError: as for `state`, or an observable is of another type or number of qubits.
    """
    check(not isinstance(observables, (PauliString, PauliSum)), "observables", "be a sequence", repr(observables))
    check(len(observables) > 0, "observables", "hold at least one observable", tuple(observables))
    for observable in observables:
        if not isinstance(observable, (PauliString, PauliSum)):
            fail("observables", "hold PauliString and PauliSum", observable)
        same = observable.num_qubits == circuit.num_qubits
        check(same, "observables", f"have {circuit.num_qubits} letters, one a qubit", repr(str(observable)))
    amplitudes, batched = _run(circuit, params, inputs)
    return _batch_first(observable_values(amplitudes, tuple(observables)), batched)


def probabilities(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    qubits: Sequence[int] | None = None,
) -> Float[Array, "*batch outcomes"]:
    """Returns the probability of each outcome of measuring `qubits`, `[2**k]` or `[batch, 2**k]`.

    Args:
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      qubits: k of them, the first as the most significant bit of the outcome; None measures all in order.

    Raises:
      UserError: as for `state`, or qubits are out of range or repeated.
    """
    n = circuit.num_qubits
    kept = tuple(range(n)) if qubits is None else tuple(operator.index(q) for q in qubits)
    distinct = len(set(kept)) == len(kept) > 0 and all(0 <= q < n for q in kept)
    check(distinct, "qubits", f"hold distinct integers in 0..{n - 1}, at least one", kept)
    amplitudes, batched = _run(circuit, params, inputs)
    return _batch_first(_marginal(_squared(amplitudes), kept, n), batched)


def sample(
    key: Key[Array, ""],
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    shots: int = 1024,
) -> Int[Array, "*batch shots"]:
    """Returns the basis index of each of `shots` measurements of all qubits, `[shots]` or `[batch, shots]`.

    Args:
      key: typed random key.
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      shots: measurements of each example.

    Raises:
      UserError: as for `state`, or `shots` is below 1.
    """
    check(operator.index(shots) >= 1, "shots", "be an integer of at least 1", shots)
    amplitudes, batched = _run(circuit, params, inputs)
    cumulative = jnp.cumsum(_squared(amplitudes).T, axis=1)
    draws = jax.random.uniform(key, (cumulative.shape[0], shots), cumulative.dtype) * cumulative[:, -1:]
    indices = jax.vmap(lambda edges, points: jnp.searchsorted(edges, points, side="right"))(cumulative, draws)
    indices = jnp.minimum(indices, 2**circuit.num_qubits - 1)
    return indices if batched else indices[0]


def _run(circuit: Circuit, params: CircuitParams | None, inputs: Any) -> tuple[Complex[Array, "dim batch"], bool]:
    """Returns the state `[2**n, batch]` and whether there is a batch; without one it has length 1."""
    check_values(circuit, params, inputs)
    arrays, rows, dtype = _as_arrays(circuit, params or {}, inputs)
    batched = rows.ndim == 2
    columns = rows.T if batched else rows[:, None]
    _check_size(circuit.num_qubits, columns.shape[1], dtype)
    values = Values(arrays, columns, dtype)
    amplitudes = compile_circuit(circuit).run(values)
    return jnp.broadcast_to(amplitudes, (amplitudes.shape[0], columns.shape[1])), batched


def _as_arrays(circuit: Circuit, params: CircuitParams, inputs: Any) -> tuple[dict[str, Array], Array, Any]:
    """Returns params, inputs and the one real dtype that all of them have."""
    arrays = {name: jnp.asarray(params[name]) for name in circuit.parameter_shapes}
    named = {f"params['{name}']": array for name, array in arrays.items()}
    if inputs is not None:
        named["inputs"] = jnp.asarray(inputs)
    for name, array in named.items():
        check(array.dtype in (jnp.float32, jnp.float64), name, "hold float32 or float64", str(array.dtype))
    dtypes = {name: str(array.dtype) for name, array in named.items()}
    check(len(set(dtypes.values())) <= 1, "params and inputs", "have one dtype", str(dtypes))
    dtype = next((array.dtype for array in named.values()), jnp.result_type(float))
    return arrays, named.get("inputs", jnp.zeros((0,), dtype)), dtype


def _check_size(num_qubits: int, batch: int, dtype: Any) -> None:
    size = 2**num_qubits * batch * 2 * jnp.dtype(dtype).itemsize
    limit = MAX_STATE_BYTES / 2**30
    finding = f"{num_qubits} qubits with a batch of {batch}, which need {size / 2**30:,.1f} GiB"
    check(size <= MAX_STATE_BYTES, "num_qubits", f"give a state of at most {limit:g} GiB", finding)


def _batch_first(array: Array, batched: bool) -> Array:
    return array.T if batched else array[:, 0]


def _squared(amplitudes: Array) -> Array:
    """|amplitude|**2 without a square root, whose derivative at 0 would be nan."""
    return lax.real(amplitudes) ** 2 + lax.imag(amplitudes) ** 2


def _marginal(probs: Array, kept: tuple[int, ...], n: int) -> Array:
    """Sums `[2**n, batch]` over the qubits that are not kept -> `[2**k, batch]`, in the order of `kept`."""
    cube = probs.reshape((2,) * n + (-1,))
    dropped = tuple(q for q in range(n) if q not in kept)
    ascending = sorted(kept)
    summed = cube.sum(axis=dropped).transpose((*(ascending.index(q) for q in kept), len(kept)))
    return summed.reshape(2 ** len(kept), -1)
