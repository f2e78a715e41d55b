"""Strict promotion for every test of the quantum core, and reference algebra that knows nothing of its gate table."""

from collections.abc import Iterator

import cuda_emulation
import jax
import pytest

from qjax.quantum.engines import choices
from qjax.quantum.engines.native import whole_states
from qjax.quantum.engines.native.cuda import kernel_launch
from qjax.quantum.engines.native.cuda import large_states as cuda_large
from qjax.quantum.engines.native.cuda import launch_shape as cuda_shape
from qjax.quantum.engines.simulation import Simulation

# Tests of what is compiled for XLA, and of its costs: native code would take the place of all that.
OF_XLA = {"test_program", "test_random_circuits", "test_stages"}


# Tests of the native code of a CPU, which are left out where JAX has a GPU.
OF_CPU = {"test_composing", "test_large", "test_memory", "test_native"}


@pytest.fixture(autouse=True)
def on_a_cpu(request: pytest.FixtureRequest) -> None:
    if request.module.__name__.rpartition(".")[2] in OF_CPU and jax.default_backend() != "cpu":
        pytest.skip("of a CPU")


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True)
def without_native_code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.module.__name__.rpartition(".")[2] in OF_XLA:
        monkeypatch.setattr("qjax.quantum.engines.choices.USE_NATIVE", False)


@pytest.fixture
def emulated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can go to a GPU goes to one of three multiprocessors that have 16 KiB each."""
    task = Simulation.task
    monkeypatch.setattr(Simulation, "task", lambda self, name, *facts: task(self, name and "cuda", *facts))
    monkeypatch.setattr(kernel_launch, "gpu", lambda: (3, 2**14))
    monkeypatch.setattr(kernel_launch, "launch", cuda_emulation.launch)
    for module in (whole_states, cuda_large):
        monkeypatch.setattr(module, "target", lambda _, *f, large=False, bits=0: f"{f[0]:d} {f[1]:d} {bits}")
    monkeypatch.setattr(choices, "native_pays", lambda *_: True)
    monkeypatch.setattr(choices, "native_fits", lambda *_: True)
    for name in ("RESIDENT_THREADS", "RESIDENT_THREADS_BACK"):
        monkeypatch.setattr(cuda_shape, name, getattr(request, "param", 64))


@pytest.fixture
def in_passes(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No state is held whole; parts are small."""
    monkeypatch.setattr(choices, "native_pays", lambda *_: False)
    monkeypatch.setattr(choices, "large_pays", lambda *_: True)
    monkeypatch.setattr(cuda_large, "coset_bits", lambda *_: (8, 0))
