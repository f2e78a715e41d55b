"""The committed reference activations (scripts/make_bert_fixture.py), as checkpoints and arrays."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

FIXTURES = Path(__file__).parent.parent / "fixtures"

# Compiles about three times faster; the tests run each program once or twice. MiniLM's run with the default.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def write_checkpoint(directory: Path, name: str, **config_changes: Any) -> Path:
    """Makes `directory` the fixtures' checkpoint `name`, with `config_changes` in its config.json; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(FIXTURES / f"{name}.safetensors", directory / "model.safetensors")
    config = json.loads((FIXTURES / f"{name}.json").read_text()) | config_changes
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def read_arrays(name: str) -> dict[str, np.ndarray]:
    """Returns a fixture's arrays."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        return dict(file)


SHARED = read_arrays("bert_tiny_shared")
CASES: dict[str, dict[str, Any]] = json.loads(str(SHARED["cases"]))
