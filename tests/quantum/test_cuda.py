"""The kernels of a GPU, emulated on a CPU, and the function that launches them, with a call of XLA's made up."""

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import cuda_emulation
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_circuits import given_seeds, random_case, random_values, run_compiled

from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    adjoint,
    angle_encoding,
    expectation,
    explain,
    hardware_efficient,
    input_angle,
    operation,
    parameter,
    real_amplitudes,
    state,
    z_observables,
)
from qjax.quantum.native import run
from qjax.quantum.native.build import compiled
from qjax.quantum.native.cosets import span
from qjax.quantum.native.cuda import build as cuda_build
from qjax.quantum.native.cuda import device
from qjax.quantum.native.cuda import large as cuda_large
from qjax.quantum.native.cuda import shape as cuda_shape
from qjax.quantum.native.cuda.driver import NUM_SIZES, write_handler
from qjax.quantum.native.cuda.shape import shape_of
from qjax.quantum.native.forms import Launch
from qjax.quantum.native.large import large_of
from qjax.quantum.native.strings import in_coset

ATOL = 1e-5


@pytest.fixture
def emulated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can go to a GPU goes to one of three multiprocessors that have 16 KiB each."""
    original = adjoint.native_of
    monkeypatch.setattr(adjoint, "native_of", lambda *facts: original(*facts[:5], "cuda"))
    monkeypatch.setattr(device, "gpu", lambda: (3, 2**14))
    monkeypatch.setattr(device, "launch", cuda_emulation.launch)
    for module in (run, cuda_large):
        monkeypatch.setattr(module, "target", lambda _, *f, large=False, bits=0: f"{f[0]:d} {f[1]:d} {bits}")
    for module in (adjoint, run):
        monkeypatch.setattr(module, "native_pays", lambda *_: True)
    for name in ("RESIDENT_THREADS", "RESIDENT_THREADS_BACK"):
        monkeypatch.setattr(cuda_shape, name, getattr(request, "param", 64))


def both(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """What comes of a simulation by the emulated kernels and by XLA's own code."""
    with_auto, with_store = (jax.jit(lambda *xs, way=way: function(way, *xs)) for way in ("auto", "store"))
    assert "callback" in with_auto.lower(*args).as_text()
    return with_auto(*args), with_store(*args)


def assert_alike(found: Any, expected: Any, atol: float = ATOL) -> None:
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=atol * max(1.0, float(np.abs(y).max(initial=0))))


def values_of(circuit: Circuit, batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in circuit.parameter_shapes.items()}
    return params, jnp.asarray(rng.normal(size=(batch, circuit.num_inputs)), jnp.float32)


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


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("make", [classifier, real_amplitudes, of_all_kinds], ids=lambda make: make.__name__)
@pytest.mark.parametrize(("n", "batch", "emulated"), [(3, 5, 32), (5, 37, 128)], indirect=["emulated"])
def test_values_and_gradients_are_those_of_xlas_code(make: Callable[..., Circuit], n: int, batch: int) -> None:
    circuit = make(n) if make is not real_amplitudes else real_amplitudes(n, 2) + angle_encoding(n, axis="ry")
    params, inputs = values_of(circuit, batch)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(batch, n)), jnp.float32)

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = expectation(circuit, params, inputs, z_observables(n), reverse_pass=way)
        return (found * weights).sum(), found

    gradient = lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)  # noqa: E731
    assert_alike(*both(gradient, params, inputs))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("make", [classifier, of_all_kinds], ids=lambda make: make.__name__)
def test_states_and_their_gradients_are_those_of_xlas_code(make: Callable[..., Circuit]) -> None:
    circuit = make(4)
    params, inputs = values_of(circuit, 6)

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = state(circuit, params, inputs, reverse_pass=way)
        return (jnp.real(found * (1 + 0.5j)) ** 3).sum(), jnp.real(found)

    gradient = lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)  # noqa: E731
    assert_alike(*both(gradient, params, inputs))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("limit", [0, 2**28], ids=["made again", "kept"])
def test_final_states_are_kept_or_made_again(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qjax.quantum.choices.MAX_SAVED_BYTES", limit)
    circuit = classifier(3)
    params, inputs = values_of(circuit, 9)
    gradient = lambda way, p, x: jax.grad(  # noqa: E731
        lambda p: expectation(circuit, p, x, z_observables(3), reverse_pass=way).sum()
    )(p)
    assert_alike(*both(gradient, params, inputs))


@pytest.mark.usefixtures("emulated")
@pytest.mark.slow
@given_seeds(30)
def test_random_circuits_are_those_of_xlas_code(seed: int) -> None:
    case = random_case(seed, max_qubits=6)
    params, inputs = random_values(case, seed, batch=5, dtype=np.float32)
    strings = z_observables(case.circuit.num_qubits)

    def value(way: Any, params: Any, inputs: Any) -> Any:
        return jnp.cos(expectation(case.circuit, params, inputs, strings, reverse_pass=way)).sum()

    found, expected = (
        run_compiled(jax.value_and_grad(lambda *xs, way=way: value(way, *xs), (0, 1)), params, inputs)
        for way in ("auto", "store")
    )
    assert_alike(found, expected, 1e-4)


# Large states. --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_passes(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No state is held whole; parts are small."""
    monkeypatch.setattr(adjoint, "native_of", lambda *_: None)
    monkeypatch.setattr(adjoint, "large_pays", lambda *_: True)
    monkeypatch.setattr(cuda_large, "coset_bits", lambda *_: (8, 0))
    original = adjoint.large_of
    monkeypatch.setattr(adjoint, "large_of", lambda *facts: original(*facts[:4], "cuda"))


def loss_of(circuit: Circuit, weights: Any) -> Any:
    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = expectation(circuit, params, inputs, z_observables(circuit.num_qubits), reverse_pass=way)
        return (found * weights).sum(), found

    return lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize("make", [classifier, real_amplitudes, of_all_kinds], ids=lambda make: make.__name__)
@pytest.mark.parametrize(("n", "batch"), [(8, 1), (10, 3)])
def test_passes_are_xlas_code(make: Callable[..., Circuit], n: int, batch: int) -> None:
    circuit = make(n) if make is not real_amplitudes else real_amplitudes(n, 2) + angle_encoding(n, axis="ry")
    params, inputs = values_of(circuit, batch)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(batch, n)), jnp.float32)
    assert_alike(*both(loss_of(circuit, weights), params, inputs))


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize("bits", [12, 13])
def test_passes_of_the_sizes_that_gpus_have(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_large, "coset_bits", lambda *_: (bits, 0))
    monkeypatch.setattr(device, "gpu", lambda: (1, 2**18))
    circuit = angle_encoding(13) + hardware_efficient(13, 2)
    params, inputs = values_of(circuit, 1)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(1, 13)), jnp.float32)
    assert_alike(*both(loss_of(circuit, weights), params, inputs))


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize(
    ("letters", "make"),
    [("IZ", classifier), ("XZ", classifier), ("many", classifier), ("IZ", real_amplitudes)],
    ids=["strings", "others", "too many strings", "strings of a real state"],
)
def test_what_the_last_pass_reads_is_what_is_read_from_the_states(make: Callable[..., Circuit], letters: str) -> None:
    """Strings of I and Z are read in the last pass, some of them alike in a part; all others from the states."""
    n, rng = 9, np.random.default_rng(2)
    circuit = make(n) if make is not real_amplitudes else real_amplitudes(n, 2) + angle_encoding(n, axis="ry")
    params, inputs = values_of(circuit, 2)
    count = 300 if letters == "many" else 40
    texts = {"".join(rng.choice(list("IZ" if letters == "many" else letters), n)) for _ in range(count)}
    strings = [PauliString(text) for text in sorted(texts)]
    sums = [PauliSum(tuple(zip(rng.normal(size=len(strings)).tolist(), strings, strict=True))), strings[0]]

    def value(way: Any, params: Any, inputs: Any) -> Any:
        found = expectation(circuit, params, inputs, sums, reverse_pass=way)
        return (found**2).sum(), found

    gradient = lambda way, *xs: jax.value_and_grad(value, (1, 2), has_aux=True)(way, *xs)  # noqa: E731
    assert_alike(*both(gradient, params, inputs))
    assert_alike(*both(lambda way, *xs: value(way, *xs)[1], params, inputs))


@pytest.mark.usefixtures("in_passes")
def test_states_of_passes_are_those_of_xlas_code() -> None:
    circuit = classifier(9)
    params, inputs = values_of(circuit, 2)

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = state(circuit, params, inputs, reverse_pass=way)
        return (jnp.real(found * (1 + 0.5j)) ** 3).sum(), jnp.real(found)

    gradient = lambda way, *xs: jax.value_and_grad(loss, (1, 2), has_aux=True)(way, *xs)  # noqa: E731
    assert_alike(*both(gradient, params, inputs))


@pytest.mark.usefixtures("in_passes")
def test_gates_whose_matrices_have_zeros_on_the_diagonal() -> None:
    """They are applied as unit-diagonal matrices times a diagonal, which is not 0 but nearly so."""
    layer = [operation("ry", q, parameter("w", q)) for q in range(9)]
    flips = [operation(name, q) for q, name in enumerate(["y", "x", "y", "h", "z", "s", "sx", "y", "t"])]
    ring = [operation("cx", (q, (q + 1) % 9)) for q in range(9)]
    circuit = angle_encoding(9) + Circuit(9, tuple(ring + layer + flips + ring + flips)) + hardware_efficient(9, 1)
    params, inputs = values_of(circuit, 1)
    params["w"] = jnp.asarray([0, 0, np.pi, -np.pi, 3 * np.pi, 1, 2 * np.pi, np.pi, np.pi / 2], jnp.float32)
    weights = jnp.ones((1, 9), jnp.float32)
    assert_alike(*both(loss_of(circuit, weights), params, inputs))


@pytest.mark.parametrize("seed", range(5))
def test_the_sign_of_a_string_is_that_of_its_parts_in_and_out_of_the_coset(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = [0b000010011, 0b000100100, 0b101000000, 0b000001000]
    masks = np.unique(rng.integers(0, 2**9, 12)).astype(np.int32)
    table, order = in_coset(masks, basis)
    parity = lambda x: int(x).bit_count() % 2  # noqa: E731
    for mask, (row, rest, *_) in zip(masks[order], table, strict=True):
        for first in rng.integers(0, 2**9, 4):
            for number, own in enumerate(span(basis)):
                assert parity(mask & (first ^ own)) == parity(row & number) ^ parity(rest & first)
    counts = table[:, 2]
    assert counts.sum() == len(masks)
    for place in np.flatnonzero(counts):
        assert len(set(table[place : place + counts[place], 0].tolist())) == 1


@pytest.mark.parametrize(
    ("n", "batch", "expected"),
    [(16, 1, [12, 12, 11]), (22, 1, [13, 12, 11]), (16, 32, [13, 12, 11]), (16, 8, [12, 12, 11])],
)
def test_parts_are_smaller_where_memory_or_work_is_little(
    n: int, batch: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for memory in (232448, 101376, 65536):
        monkeypatch.setattr(device, "gpu", lambda memory=memory: (100, memory))
        large = large_of.__wrapped__(classifier(n), frozenset(), batch, np.dtype(np.float32), "cuda")
        found.append(large.num_coset_bits)
        assert large._shape(True).memory <= memory
    assert found == expected


# How a launch is made. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 8, 11, 13])
@pytest.mark.parametrize("batch", [1, 3, 32, 512, 65536])
@pytest.mark.parametrize(("numbers", "parts"), [(1, 0), (2, 0), (2, 4), (4, 8), (4, 32)])
def test_a_shape_fits_and_has_room_for_every_example(n: int, batch: int, numbers: int, parts: int) -> None:
    shape = shape_of(n, batch, numbers, parts, 132, 232448)
    assert shape is not None
    threads = shape.lanes * shape.groups
    assert 32 <= threads <= 512
    assert threads & (threads - 1) == 0
    assert shape.staging >= numbers * shape.lanes << n
    assert shape.staging_size == parts * shape.lanes * threads // 32
    assert shape.memory == 4 * (shape.staging + 2 * shape.staging_size) <= 232448
    assert 1 <= shape.blocks <= -(-batch // shape.lanes)


def test_states_too_large_for_a_multiprocessor_have_no_shape() -> None:
    assert shape_of(14, 1, 4, 8, 132, 232448) is None
    assert shape_of(14, 1, 2, 0, 132, 232448) is not None


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("capability", "bits"), [(70, 0), (75, 11), (90, 0), (103, 12)])
def test_kernels_are_written_for_the_kind_of_gpu(backward: bool, capability: int, bits: int) -> None:
    from llvmlite import ir

    from qjax.quantum.native.code import Arithmetic

    text = cuda_build.assembly("kernel", Arithmetic(ir.FloatType(), True), backward, capability, bits)
    threads, blocks = (1 << bits - 5, (384 if backward else 512) >> bits - 5) if bits else (512 >> backward, 1)
    assert f".target sm_{min(capability, 100)}" in text
    assert ".visible .entry kernel(" in text
    assert f".maxntid {threads}" in text
    assert f".minnctapersm {blocks}" in text


@pytest.fixture
def launches() -> list[Any]:
    return []


def call_handler(launches: list[Any], status: int = 0) -> Any:
    """Calls the function as XLA would, with two operands, a result and a made up CUDA; returns what it answers."""
    kinds = [ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

    def launch(kernel: int, *rest: Any) -> int:
        extra = (ctypes.c_int64 * 5).from_address(rest[-1])
        size = ctypes.c_int64.from_address(extra[3]).value
        words = list((ctypes.c_int64 * (size // 8)).from_address(extra[1]))
        assert (extra[0], extra[2], extra[4]) == (1, 2, 0)
        launches.append((kernel, rest[:7], rest[7], words))
        return status

    function = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(launch)
    asked = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(ctypes.c_int64))

    def stream(request: Any) -> int:
        assert (request[0], request[2]) == (32, 77)
        request[3] = 88
        return 0

    def error(request: Any) -> int:
        launches.append(ctypes.string_at(request[2]))
        return 99

    address = lambda thing: ctypes.cast(thing, ctypes.c_void_p).value or 0  # noqa: E731
    keep: list[Any] = [function, asked(stream), asked(error)]

    def words(*values: int) -> int:
        keep.append((ctypes.c_int64 * len(values))(*values))
        return ctypes.addressof(keep[-1])

    def buffers(*data: int) -> int:
        return words(*(words(48, 0, 0, x, 0, 0) for x in data))

    sizes = np.arange(NUM_SIZES + len(Launch), dtype=np.int32) + 5
    attribute = words(words(0, len(sizes), sizes.ctypes.data))
    api = words(*[0] * 6, address(keep[2]), *[0] * 3, address(keep[1]))
    arguments, results = (5, 0, 2, 0, buffers(1001, 1002)), (5, 0, 1, 0, buffers(2001))
    frame = words(0, 0, api, 77, 0, *arguments, *results, 6, 0, 1, 0, 0, attribute)
    handler = compiled(write_handler(2, 1, address(function), 4711), "handler")
    answer = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(handler)(frame)
    launches.append(sizes)
    return answer


def test_the_kernel_is_launched_on_xlas_stream_with_all_addresses(launches: list[Any]) -> None:
    assert call_handler(launches) == 0
    (kernel, shape, stream, words), sizes = launches
    assert (kernel, stream) == (4711, 88)
    assert shape == (sizes[0], 1, 1, sizes[1], 1, 1, sizes[2])
    assert words == [1001, 1002, 2001, *sizes[NUM_SIZES:]]


def test_a_launch_that_fails_is_an_error(launches: list[Any]) -> None:
    assert call_handler(launches, 1) == 99
    assert launches[1] == b"qjax: CUDA did not launch the kernel of a circuit"


def test_without_a_driver_xla_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda_build.ctypes, "CDLL", missing)
    for cached in (cuda_build._driver, cuda_build.device_facts, device.gpu):
        cached.cache_clear()
    with pytest.warns(UserWarning, match=r"XLA's code, which is slower: the driver of CUDA 12 or later was expected"):
        assert device.gpu() is None
    for cached in (cuda_build._driver, cuda_build.device_facts, device.gpu):
        cached.cache_clear()


def driver_of(facts: Sequence[dict[int, int]]) -> Any:
    """A driver that has GPUs with these attributes."""

    class Driver:
        def cuDeviceGetCount(self, count: Any) -> int:
            count._obj.value = len(facts)
            return 0

        def cuDeviceGet(self, device: Any, ordinal: int) -> int:
            device._obj.value = ordinal
            return 0

        def cuDeviceGetAttribute(self, value: Any, place: int, device: Any) -> int:
            value._obj.value = facts[device.value][place]
            return 0

    return Driver()


def test_the_least_of_several_gpus_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [{75: 9, 76: 0, 16: 132, 97: 232448}, {75: 8, 76: 6, 16: 140, 97: 101376}]
    monkeypatch.setattr(cuda_build, "_driver", lambda: driver_of(gpus))
    cuda_build.device_facts.cache_clear()
    assert cuda_build.device_facts() == (86, 132, 101376)
    cuda_build.device_facts.cache_clear()


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ([], "CUDA has no GPU"),
        ([{75: 6, 76: 1, 16: 20, 97: 98304}], "capability 7.0 or later was expected, but this is 6.1"),
    ],
)
def test_a_gpu_that_will_not_do_is_said(gpus: list[Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_build, "_driver", lambda: driver_of(gpus))
    cuda_build.device_facts.cache_clear()
    with pytest.raises(cuda_build.CudaError, match=message):
        cuda_build.device_facts()


@pytest.mark.usefixtures("emulated")
def test_explain_says_how_a_gpu_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["qjax.quantum.explain"], "native_platform", lambda: "cuda")
    assert "no pass over the device's memory" in explain(classifier(3), batch=32).native
