"""The kernels of a GPU, emulated on a CPU, and the function that launches them, with a call of XLA's made up."""

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from cuda_emulation import (
    assert_alike,
    both,
    check_random_circuit,
    classifier,
    loss_of_states,
    loss_of_values,
    of_all_kinds,
    real,
    values_of,
)
from llvmlite import ir
from random_circuits import given_seeds

from qjax.quantum import Circuit, explain
from qjax.quantum.engines import choices
from qjax.quantum.engines.native.cuda import kernel_launch
from qjax.quantum.engines.native.cuda import load as cuda_build
from qjax.quantum.engines.native.cuda.driver import NUM_SIZES, write_handler
from qjax.quantum.engines.native.cuda.launch_shape import shape_of
from qjax.quantum.engines.native.ir.jit import compiled
from qjax.quantum.engines.native.ir.writer import Arithmetic
from qjax.quantum.engines.native.table.layout import Launch


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    ("make", "n", "batch", "emulated"),
    [(of_all_kinds, 3, 5, 32), *((make, 5, 37, 128) for make in (classifier, real, of_all_kinds))],
    indirect=["emulated"],
)
def test_values_and_gradients_are_those_of_xlas_code(make: Callable[..., Circuit], n: int, batch: int) -> None:
    circuit = make(n)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(batch, n)), jnp.float32)
    assert_alike(*both(loss_of_values(circuit, weights), *values_of(circuit, batch)))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("make", [classifier, of_all_kinds], ids=lambda make: make.__name__)
def test_states_and_their_gradients_are_those_of_xlas_code(make: Callable[..., Circuit]) -> None:
    circuit = make(4)
    assert_alike(*both(loss_of_states(circuit), *values_of(circuit, 6)))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("make", [classifier, real], ids=lambda make: make.__name__)
@pytest.mark.parametrize("keeps", [False, True], ids=["made again", "kept"])
def test_final_states_are_kept_or_made_again(
    make: Callable[[int], Circuit], keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "native_keeps", lambda *_: keeps)
    circuit = make(4)  # four gates side by side are done at once
    weights = jnp.ones((9, 4), jnp.float32)
    assert_alike(*both(loss_of_values(circuit, weights), *values_of(circuit, 9)))


@pytest.mark.usefixtures("emulated")
@pytest.mark.slow
@given_seeds(30)
def test_random_circuits_are_those_of_xlas_code(seed: int) -> None:
    check_random_circuit(seed, 5, max_qubits=6)


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
@pytest.mark.parametrize(("capability", "bits"), [(70, 0), (103, 12)])
def test_kernels_are_written_for_the_kind_of_gpu(backward: bool, capability: int, bits: int) -> None:

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
    for cached in (cuda_build._driver, cuda_build.device_facts, kernel_launch.gpu):
        cached.cache_clear()
    with pytest.warns(UserWarning, match=r"XLA's code, which is slower: the driver of CUDA 12 or later was expected"):
        assert kernel_launch.gpu() is None
    for cached in (cuda_build._driver, cuda_build.device_facts, kernel_launch.gpu):
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
    monkeypatch.setattr(sys.modules["qjax.quantum.explain"], "platform_here", lambda: "cuda")
    told = explain(classifier(3), batch=32)
    assert (told.engine, told.forward.passes) == ("native, whole states", 0)
    assert "blocks of" in told.stages[0]
