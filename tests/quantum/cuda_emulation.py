"""The kernels of a GPU on a CPU: each thread of a block is one of the system's, and they wait for each other."""

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache
from threading import Thread
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from by_engine import by
from llvmlite import ir
from random_circuits import random_case, random_values, run_compiled

from qjax.quantum import (
    Circuit,
    angle_encoding,
    expectation,
    hardware_efficient,
    input_angle,
    operation,
    parameter,
    real_amplitudes,
    state,
    z_observables,
)
from qjax.quantum.engines.native.cuda.driver import BLOCK, GRID, MEMORY, NUM_SIZES
from qjax.quantum.engines.native.cuda.large_kernel import write_passes
from qjax.quantum.engines.native.cuda.load import num_arrays
from qjax.quantum.engines.native.cuda.whole_kernel import write_kernel
from qjax.quantum.engines.native.ir.jit import compiled
from qjax.quantum.engines.native.ir.writer import Arithmetic
from qjax.quantum.engines.native.table.layout import Launch

_LIBRARY = ctypes.CDLL(None)
_WARP = 32
_GUARD = 2**14  # numbers behind the shared memory that none may touch
_BARRIER_BYTES = 64  # more than pthread_barrier_t takes anywhere


@cache
def kernel(backward: bool, is_complex: bool, bits: int) -> Any:
    """Returns the kernel of a pass as a function of addresses and numbers."""
    facts = "kernel", Arithmetic(ir.FloatType(), is_complex), backward
    module = write_passes(*facts, bits, emulated=True) if bits else write_kernel(*facts, emulated=True)
    count = sum(num_arrays(backward, bits > 0)) + len(Launch) + 5
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(compiled(module, "kernel"))


def launch(name: str, results: Sequence[Any], sizes: np.ndarray, *operands: Any) -> list[Any]:
    """Does what `run.launch` does; the name says what kernel it is, as the fixture `emulated` has it."""
    backward, is_complex, bits = (int(word) for word in name.split())

    def run(*arrays: Any) -> list[np.ndarray]:
        arrays = tuple(np.ascontiguousarray(array) for array in arrays)
        found = [np.full(result.shape, np.nan, result.dtype) for result in results]  # what is not written shows
        for own in sizes.reshape(-1, NUM_SIZES + len(Launch)):
            _run(kernel(bool(backward), bool(is_complex), bits), [*arrays, *found], own)
        return found

    return list(jax.pure_callback(run, list(results), *operands))


def _run(function: Any, arrays: Sequence[np.ndarray], sizes: np.ndarray) -> None:
    """Runs the blocks one after the other."""
    blocks, threads = int(sizes[GRID]), int(sizes[BLOCK])
    numbers = [int(x) for x in sizes[NUM_SIZES:]]
    assert int(sizes[MEMORY]) == 4 * (numbers[Launch.STAGING] + 2 * numbers[Launch.STAGING_SIZE])
    numbers[Launch.STAGING_SIZE] *= _WARP  # no warps add up first
    assert math.log2(threads) == numbers[Launch.LANES] + numbers[Launch.GROUPS]
    barrier = ctypes.create_string_buffer(_BARRIER_BYTES)
    assert _LIBRARY.pthread_barrier_init(barrier, None, threads) == 0
    count = numbers[Launch.STAGING] + 2 * numbers[Launch.STAGING_SIZE]
    memory = np.full(count + _GUARD, np.nan, np.float32)
    start = memory.ctypes.data
    addresses = [array.ctypes.data for array in arrays]
    for block in range(blocks):
        more = (blocks, start, ctypes.addressof(barrier))
        work = [
            Thread(target=function, args=(*addresses, *numbers, thread, block, *more)) for thread in range(threads)
        ]
        for one in work:
            one.start()
        for one in work:
            one.join()
    assert _LIBRARY.pthread_barrier_destroy(barrier) == 0
    assert np.isnan(memory[count:]).all(), "a thread wrote behind the shared memory"


# What tests of them have in common. -------------------------------------------------------------------------------

ATOL = 1e-5


def both(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """What comes of a simulation by the emulated kernels and by XLA's own code."""
    with_auto, with_store = (jax.jit(lambda *xs, way=way: function(way, *xs)) for way in ("auto", "XLA"))
    assert "callback" in with_auto.lower(*args).as_text()
    return with_auto(*args), with_store(*args)


def assert_alike(found: Any, expected: Any, atol: float = ATOL) -> None:
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=atol * max(1.0, float(np.abs(y).max(initial=0))))


def values_of(circuit: Circuit, batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in circuit.parameter_shapes.items()}
    return params, jnp.asarray(rng.normal(size=(batch, circuit.num_inputs)), jnp.float32)


def loss_of_values(circuit: Circuit, weights: Any) -> Any:
    """The function of a way, parameters and inputs that returns a weighted sum of Z, the values, and gradients."""

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = by(way, expectation, circuit, params, inputs, z_observables(circuit.num_qubits))
        return (found * weights).sum(), found

    return lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)


def loss_of_states(circuit: Circuit) -> Any:
    """The same for a sum over amplitudes, which are what it returns with it."""

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = by(way, state, circuit, params, inputs)
        return (jnp.real(found * (1 + 0.5j)) ** 3).sum(), jnp.real(found)

    return lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)


def check_random_circuit(seed: int, batch: int, **sizes: int) -> None:
    case = random_case(seed, **sizes)
    params, inputs = random_values(case, seed, batch=batch, dtype=np.float32)
    strings = z_observables(case.circuit.num_qubits)

    def value(way: Any, params: Any, inputs: Any) -> Any:
        return jnp.cos(by(way, expectation, case.circuit, params, inputs, strings)).sum()

    found, expected = (
        run_compiled(jax.value_and_grad(lambda *xs, way=way: value(way, *xs), (0, 1)), params, inputs)
        for way in ("auto", "XLA")
    )
    assert_alike(found, expected, 1e-4)


def real(n: int) -> Circuit:
    return real_amplitudes(n, 2) + angle_encoding(n, axis="ry")


def classifier(n: int) -> Circuit:
    return angle_encoding(n) + hardware_efficient(n, 2, rotations=("rx", "ry", "rz"), entangler="cx")


def of_all_kinds(n: int) -> Circuit:
    circuit = real_amplitudes(n, 1) + angle_encoding(n, axis="rx")
    more = [
        operation("rzz", (0, 1), input_angle(0) * 0.7),
        operation("rxx", (1, 2), parameter("v", 0)),
        operation("crx", (2, 0), parameter("v", 1)),
        operation("ccx", (0, 1, 2)),
        operation("cswap", (1, 2, 0)),
        operation("ry", 1, input_angle(1)),
        operation("iswap", (0, 2)),
    ]
    return circuit + Circuit(n, tuple(more))
