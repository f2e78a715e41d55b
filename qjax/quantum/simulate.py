"""What a person asks of a circuit: its state, expectation values, probabilities and samples.

All are pure functions of (circuit, params, inputs): under `jit`, `vmap`, `grad` and `scan` close over the circuit,
which is static. Shapes are checked while tracing. float32 angles give complex64, float64 angles (x64 switched on)
complex128.

Arguments in common:
  circuit: what to run, on |0...0>.
  params: name -> real array of the shape that `circuit.parameter_shapes` states, in radians; None where there are
    none.
  inputs: `[num_inputs]` for one example, `[batch, num_inputs]` for many; None where the circuit has none.
  initial_state: amplitudes to start from in place of |0...0>, real or complex, `[2**n]` or `[batch, 2**n]`,
    normalised by the caller (`amplitude_state`); None for |0...0>.

With inputs or an initial state of rank 2 every result has the batch as its first axis, also where the circuit does
not use the inputs.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.arguments import without_reverse_pass
from qjax.quantum.circuits.binding import check_key, check_values
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.engines.batch_last import call
from qjax.quantum.engines.memory import check_matrix_fits
from qjax.quantum.engines.readouts import ExpectationReadout, ProbabilityReadout, Readout, StateReadout
from qjax.quantum.engines.simulation import Simulation
from qjax.quantum.measure.observables import Observables, check_observables
from qjax.quantum.measure.reduced import check_qubits
from qjax.quantum.measure.samples import sample_indices
from qjax.quantum.states.batch import shapes_of, with_batch
from qjax.types import Array, CircuitParams, Complex, Float, Int, Key


@without_reverse_pass
def state(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    initial_state: Any = None,
) -> Complex[Array, "*batch amplitudes"]:
    """Returns the final state, `[2**n]` or `[batch, 2**n]`; qubit 0 is the most significant bit of the index.

    Raises:
      UserError: names, shapes or dtypes are wrong, or the state does not fit into memory.

    >>> state(Circuit(2).append("h", 0).append("cx", (0, 1))).round(4)
    Array([0.7071+0.j, 0.    +0.j, 0.    +0.j, 0.7071+0.j], dtype=complex64)
    """
    (real, imag), batched = run(circuit, params, inputs, initial_state, StateReadout())
    return batch_first(lax.complex(real, imag), batched)


@without_reverse_pass
def expectation(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Observables = (),
    initial_state: Any = None,
) -> Float[Array, "*batch observables"]:
    """Returns the exact expectation value of each observable, `[num_observables]` or `[batch, num_observables]`.

    Args:
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      observables: at least one, of any kinds, or one alone; "ZII" is the Pauli string of these letters, and
        `z_observables(n)` is Z on each qubit.
      initial_state: see the module.

    Raises:
      UserError: as for `state`, or an observable is of another type or number of qubits.
    """
    readout = ExpectationReadout(check_observables(observables, as_circuit(circuit).num_qubits))
    (values,), batched = run(circuit, params, inputs, initial_state, readout)
    return batch_first(values, batched)


@without_reverse_pass
def probabilities(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    qubits: int | Sequence[int] | None = None,
    initial_state: Any = None,
) -> Float[Array, "*batch outcomes"]:
    """Returns the probability of each outcome of measuring `qubits`, `[2**k]` or `[batch, 2**k]`.

    Args:
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      qubits: k of them, the first as the most significant bit of the outcome; None measures all in order.
      initial_state: see the module.

    Raises:
      UserError: as for `state`, or qubits are out of range or repeated.
    """
    n = as_circuit(circuit).num_qubits
    readout = ProbabilityReadout(check_qubits(range(n) if qubits is None else qubits, n))
    (probs,), batched = run(circuit, params, inputs, initial_state, readout)
    return batch_first(probs, batched)


def sample(
    key: Key[Array, ""],
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    shots: int = 1024,
    initial_state: Any = None,
) -> Int[Array, "*batch shots"]:
    """Returns the basis index of each of `shots` measurements of all qubits, `[shots]` or `[batch, shots]`.

    A key gives the same shots under `jit` and without. Under `vmap` give each example a key of its own. An example
    whose angles are NaN or infinite gives -1 for each shot.

    Args:
      key: typed random key.
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      shots: measurements of each example.
      initial_state: see the module.

    Raises:
      UserError: as for `state`, or `shots` is below 1.
    """
    as_index("shots", shots, 1)  # before anything is simulated
    check_key(key)
    return sample_indices(key, probabilities(circuit, params, inputs, None, initial_state), shots)


def unitary(
    circuit: Circuit, params: CircuitParams | None = None, inputs: Any = None
) -> Complex[Array, "*batch dim dim"]:
    """Returns the circuit's matrix, `[2**n, 2**n]` or `[batch, 2**n, 2**n]`; column c is what it makes of state c.

    Raises:
      UserError: as for `state`; a matrix needs as much memory as 2**n states.
    """
    check_values(circuit, params, inputs)
    if np.ndim(inputs) == 2:
        return jax.vmap(lambda row: unitary(circuit, params, row))(inputs)
    dtype = _as_arrays(circuit, params or {}, inputs)[2]
    check_matrix_fits(circuit.num_qubits, dtype)
    return state(circuit, params, inputs, jnp.eye(2**circuit.num_qubits, dtype=dtype)).T


def run(
    circuit: Circuit,
    params: CircuitParams | None,
    inputs: Any,
    initial_state: Any,
    readout: Readout,
) -> tuple[tuple[Array, ...], bool]:
    """Returns what `readout` reads from the state, batch last, and whether there is a batch; else it has length 1.

    Args:
      circuit: see the module.
      params: see the module.
      inputs: see the module.
      initial_state: see the module.
      readout: what is read from the state.
    """
    check_values(circuit, params, inputs)
    arrays, rows, _ = _as_arrays(circuit, params or {}, inputs, initial_state)
    given = () if initial_state is None else _first_state(circuit.num_qubits, initial_state)
    batch = batch_size(rows, initial_state)
    simulation = Simulation(circuit=circuit, readout=readout, given=len(given))
    operands = [*(x[..., None] for x in arrays.values()), jnp.atleast_2d(rows).T, *given]
    simulation.check_memory(shapes_of(operands))
    if batch == 0:  # answered here, so that no engine has to treat it
        empty = [jax.ShapeDtypeStruct((*x.shape[:-1], max(1, x.shape[-1])), x.dtype) for x in operands]
        shapes = jax.eval_shape(lambda *xs: simulation(*xs), *empty)
        return tuple(jnp.zeros((*x.shape[:-1], 0), x.dtype) for x in shapes), True
    results = call(simulation, *operands)
    return tuple(with_batch(x, batch or 1) for x in results), batch is not None


def batch_size(inputs: Any, initial_state: Any) -> int | None:
    """Returns the number of examples, None where there is no batch; raises where the two have different ones."""
    sizes = {len(x) for x in (inputs, initial_state) if np.ndim(x) == 2}
    check(len(sizes) <= 1, "initial_state", "have the batch of the inputs", f"batches of {sorted(sizes)}")
    return max(sizes, default=None)


def batch_first(array: Array, batched: bool) -> Array:
    """Returns what `run` read with the batch as its first axis, or without one where there is no batch."""
    return jnp.moveaxis(array, -1, 0) if batched else array[..., 0]


def _first_state(num_qubits: int, initial_state: Any) -> tuple[Array, ...]:
    """Returns the parts of the given state, real or real and imaginary, as `[2**n, 1 or batch]`."""
    array = jnp.asarray(initial_state)
    dim = 2**num_qubits
    fits = array.ndim in (1, 2) and array.shape[-1] == dim
    check(fits, "initial_state", f"have shape [{dim}] or [batch, {dim}]", f"shape {list(array.shape)}")
    columns = jnp.atleast_2d(array).T
    return (columns.real, columns.imag) if jnp.iscomplexobj(columns) else (columns,)


def _as_arrays(
    circuit: Circuit, params: CircuitParams, inputs: Any, initial_state: Any = None
) -> tuple[dict[str, Array], Array, Any]:
    """Returns params, inputs and the one real dtype that all of them have, the initial state's included."""
    arrays = {name: jnp.asarray(params[name]) for name in circuit.parameter_shapes}
    named = {f"params['{name}']": array for name, array in arrays.items()}
    if inputs is not None:
        named["inputs"] = jnp.asarray(inputs)
    for name, array in named.items():
        check(array.dtype in (jnp.float32, jnp.float64), name, "hold float32 or float64", str(array.dtype))
    dtypes = {name: array.dtype for name, array in named.items()}
    if initial_state is not None:
        given = jnp.asarray(initial_state).dtype
        supported = given in (jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)
        check(supported, "initial_state", "hold float32, float64, complex64 or complex128", str(given))
        dtypes["initial_state"] = jnp.zeros((), given).real.dtype
    same = len(set(dtypes.values())) <= 1
    check(same, "params and inputs", "have one dtype", str({name: str(d) for name, d in dtypes.items()}))
    dtype = next(iter(dtypes.values()), jnp.result_type(float))
    return arrays, named.get("inputs", jnp.zeros((0,), dtype)), dtype
