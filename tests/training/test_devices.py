"""The same training on 1, 2 and 4 devices, by shard_map or by pmap, in micro-batches or not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ONE, OTHERS = "1_shard_map_1", ["4_shard_map_1", "2_shard_map_4", "2_pmap_1"]  # devices, wrapper, micro-batches


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("devices") / "results.npz"
    child = Path(__file__).with_name("devices_child.py")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {os.environ.get('XLA_FLAGS', '')}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(child.parents[2]),
    }
    done = subprocess.run(
        [sys.executable, str(child), str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(np.load(path))


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("what", ["losses", "gradient", "params"])
def test_same_on_any_number_of_devices(results, case, what):
    np.testing.assert_allclose(results[f"{case}/{what}"], results[f"{ONE}/{what}"], rtol=0, atol=1e-5)


def test_adam_on_other_devices_moves_only_what_has_no_gradient(results):
    """Adam divides a gradient by its own size, rounding errors too: what the loss does not depend on drifts."""
    one, four = ({k.partition("/")[2]: v for k, v in results.items() if k.startswith(f"adam_{n}/")} for n in (1, 4))
    np.testing.assert_allclose(one["losses"], four["losses"], rtol=0, atol=1e-5)
    difference = {name: np.abs(one[name] - four[name]) for name in one}
    (ansatz,) = (name for name in difference if name.endswith("['quantum']['ansatz']"))
    angles = difference.pop(ansatz)  # [layers, qubits, rotations]: ry, rz
    assert angles[..., 0].max() < 1e-4
    assert angles[:-1].max(initial=0) < 1e-4
    assert 1e-4 < angles[-1, :, 1].max() < 20 * 2 * 1e-2  # the last RZ, before a Z readout
    far = {name for name, values in difference.items() if values.max() > 1e-4}
    assert all("['key']['bias']" in name for name in far)  # a softmax does not see what is added to all of its scores


def test_training_did_something(results):
    losses = results[f"{ONE}/losses"]
    assert np.isfinite(losses).all()
    assert np.abs(np.diff(losses)).max() > 1e-4
    assert np.linalg.norm(results[f"{ONE}/gradient"]) > 1e-2
