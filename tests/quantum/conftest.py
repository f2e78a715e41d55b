"""Strict promotion for every test of the quantum core, and reference algebra that knows nothing of its gate table."""

from collections.abc import Iterator

import jax
import pytest

# Tests of what is compiled for XLA, and of its costs: native code would take the place of all that.
OF_XLA = {
    "test_explain",
    "test_phase_table",
    "test_plan",
    "test_program",
    "test_random_circuits",
    "test_shared_unitary",
    "test_steps",
}


# Tests of the native code of a CPU, which are left out where JAX has a GPU.
OF_CPU = {"test_composing", "test_large", "test_memory", "test_native", "test_passes"}


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
        monkeypatch.setattr("qjax.quantum.choices.USE_NATIVE", False)
