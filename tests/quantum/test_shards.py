"""Loss and gradient under shard_map on two devices equal one device's."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any) -> Any:
    path = tmp_path_factory.mktemp("shards") / "results.npz"
    child = Path(__file__).with_name("shards_child.py")
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(child.parents[2]),
    }
    done = subprocess.run(
        [sys.executable, str(child), str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(np.load(path))


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("engine", ["auto", "XLA"])
def test_two_devices_equal_one(results: Any, engine: str, checked: bool) -> None:
    expected = results["XLA/one"]
    assert np.linalg.norm(expected) > 0.1
    np.testing.assert_allclose(results[f"{engine}/one"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(results[f"{engine}/{checked}"], expected, rtol=1e-4, atol=1e-4)
