"""Calls outside of jit: they run what jit runs, compile once, keep little, and find their code in a fresh process."""

import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.serialize_executable import serialize

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    angle_encoding,
    expectation,
    hardware_efficient,
    probabilities,
    register_native_code,
    state,
    variance,
    z_observables,
)
from qjax.quantum.engines import batch_last
from qjax.quantum.engines import choices as choices_module
from qjax.quantum.engines.native import load

N = 3
MODEL = angle_encoding(N) + hardware_efficient(N, 2, rotations=("rx", "rz"))
PARAMS = {"ansatz": jnp.linspace(0.1, 1.3, 2 * 2 * N, dtype=jnp.float32).reshape(MODEL.parameter_shapes["ansatz"])}
INPUTS = jnp.linspace(-1.0, 1.0, 9 * N, dtype=jnp.float32).reshape(9, N)
Z = z_observables(N)


@pytest.fixture(autouse=True)
def on_a_cpu() -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("of a CPU")


def loss(params: Any, inputs: Any) -> Any:
    return (expectation(MODEL, params, inputs, Z) ** 2).sum()


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "state": lambda p, x: state(MODEL, p, x),
    "expectation": lambda p, x: expectation(MODEL, p, x, Z),
    "one example": lambda p, x: expectation(MODEL, p, x[0], Z),
    "probabilities": lambda p, x: probabilities(MODEL, p, x, (0, 2)),
    "variance": lambda p, x: variance(MODEL, p, x, Z),
    "gradient": jax.grad(loss),
    "vmap": jax.vmap(lambda p, x: expectation(MODEL, p, x, Z), (None, 0)),
    "vmap of grad": jax.vmap(jax.grad(lambda p, x: loss(p, x)), (None, 0)),
    "large": lambda p, x: expectation(LARGE, {}, None, z_observables(10)),
}
LARGE = angle_encoding(10).bind(inputs=np.linspace(0, 1, 10)) + Circuit(10).append("cx", (0, 9)).append("ry", 9, 0.3)


def calls_in(text: str) -> set[str]:
    return set(re.findall(r"qjax_\w+", text))


@pytest.mark.parametrize("way", WAYS)
def test_the_eager_call_runs_the_code_that_jit_runs(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, original = [], batch_last._compiled

    def recorded(*facts: Any) -> Any:
        compiled.append(original(*facts))
        return compiled[-1]

    monkeypatch.setattr(batch_last, "_compiled", recorded)
    found = WAYS[way](PARAMS, INPUTS)
    jitted = jax.jit(WAYS[way])
    expected = calls_in(jitted.lower(PARAMS, INPUTS).as_text())
    assert expected
    assert set().union(*(calls_in(one.as_text()) for one in compiled)) == expected
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, jitted(PARAMS, INPUTS))


def rotated(index: int) -> Circuit:
    return Circuit(2).append("ry", 0, 0.01 * (index + 1)).append("cx", (0, 1)).append("rz", 1, 0.02 * index)


def test_a_loop_over_circuits_compiles_each_once(caplog: pytest.LogCaptureFixture) -> None:
    compilations = []
    for _ in range(2):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            for index in range(64):
                state(rotated(index))
        compilations.append(sum("Finished XLA compilation" in record.getMessage() for record in caplog.records))
    assert compilations[0] >= 64
    assert compilations[1] == 0


def test_programs_are_kept_by_type_place_and_settings() -> None:
    circuit, x = angle_encoding(2), jnp.ones((3, 2), jnp.float32)
    state(circuit, None, x)
    for other in (
        lambda: state(circuit, None, x[:2]),
        lambda: state(circuit, None, jax.device_put(x, jax.devices()[0])),
    ):
        before = batch_last._compiled.cache_info().misses
        np.testing.assert_allclose(other()[0], state(circuit, None, x)[0], atol=1e-6)
        assert batch_last._compiled.cache_info().misses == before + 1
    with jax.enable_x64(True):
        assert state(circuit, None, np.ones((3, 2))).dtype == np.complex128
    with jax.disable_jit():
        np.testing.assert_allclose(state(rotated(99)), run_whole(rotated(99)), atol=1e-6)


def run_whole(circuit: Circuit) -> Any:
    return jax.jit(lambda: state(circuit))()


GROWTH = """
import gc, sys
import numpy as np
import jax
from qjax.quantum import Circuit, parameter, state

def circuit(seed):
    rng, built = np.random.default_rng(seed), Circuit(4)
    for _ in range(50):
        kind, (a, b) = rng.integers(4), [int(q) for q in rng.permutation(4)[:2]]
        gate = [("cx", (a, b)), ("ry", a, float(rng.normal())), ("h", a), ("rz", a, parameter("w"))][kind]
        built = built.append(*gate)
    return built.append("rz", 0, parameter("w"))

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

count, params = int(sys.argv[1]), {"w": np.float32(0.3)}
for seed in range(5):
    state(circuit(seed), params)
before = resident()
for seed in range(5, 5 + count):
    state(circuit(seed), params)
print(resident() - before)
"""


def fresh(code: str, *args: Any, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu", **more},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="of Linux")
def test_a_thousand_circuits_take_little_memory() -> None:
    assert float(fresh(GROWTH, 1000)) < 100


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="of Linux")
def test_a_kept_circuit_takes_less_than_a_mebibyte() -> None:
    assert float(fresh(GROWTH, 40)) < 40


# Another process. -------------------------------------------------------------------------------------------------

LOADS = """
import pickle, sys
import jax
from jax.experimental.serialize_executable import deserialize_and_load
from qjax.quantum import register_native_code

assert "llvmlite.binding" not in sys.modules
names, executable, args, expected = pickle.loads(open(sys.argv[1], "rb").read())
assert set(register_native_code(names)) == set(names)
found = deserialize_and_load(*executable)(*args)
print(max(float(abs(a - b).max()) for a, b in zip(jax.tree.leaves(found), expected)))
"""


def test_a_serialised_executable_runs_in_a_fresh_process(tmp_path: Path) -> None:
    lowered = jax.jit(jax.value_and_grad(loss)).lower(PARAMS, INPUTS)
    compiled, names = lowered.compile(), calls_in(lowered.as_text())
    args = jax.tree.map(np.asarray, (PARAMS, INPUTS))
    expected = [np.asarray(x) for x in jax.tree.leaves(compiled(*args))]
    (tmp_path / "executable").write_bytes(pickle.dumps((sorted(names), serialize(compiled), args, expected)))
    assert len(names) == 2
    assert float(fresh(LOADS, tmp_path / "executable")) == 0


CACHED = """
import jax, sys
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
hits = []
jax.monitoring.register_event_listener(lambda name, **more: hits.extend([name] * name.endswith("cache_hits")))
from qjax.quantum import angle_encoding, state
import numpy as np
found = state(angle_encoding(3), None, np.full((2, 3), 0.5, np.float32))
assert abs(float((abs(found) ** 2).sum()) - 2) < 1e-5
print(len(hits))
"""


def test_the_persistent_cache_serves_a_fresh_process(tmp_path: Path) -> None:
    fresh(CACHED, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    assert int(fresh(CACHED, JAX_COMPILATION_CACHE_DIR=str(tmp_path))) > 0


def test_every_code_of_the_platform_has_its_name() -> None:
    kinds = {load._name(*facts) for facts in load._all_code("cpu")}
    assert len(kinds) == 44  # with and without gates that have lists
    assert {"qjax_gradient_wide_real_float32", "qjax_run_large_complex_float64", "qjax_permute_real_float64"} <= kinds
    assert "qjax_run_large13_complex_float32" in {load._name(*facts) for facts in load._all_code("cuda")}
    for wide in (False, True):
        assert load.target(np.float32, False, True, wide=wide) in kinds
    assert register_native_code("qjax_run_complex_float32") == ("qjax_run_complex_float32",)


def test_a_name_that_no_code_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"names.*Did you mean 'qjax_run_complex_float32'"):
        register_native_code(["qjax_run_complex_float3"])
    monkeypatch.setattr(choices_module, "USE_NATIVE", False)
    assert register_native_code() == ()
