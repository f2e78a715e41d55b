"""How much of a full fine-tuning step is spent in the circuit, and what the step costs with other heads.

Command:  .venv/bin/python benchmarks/step_share.py
Time:     about 3 minutes on 2 CPU cores.

Times, on one batch of `--length` word pieces, the jitted training step of MiniLM with each head (dropout on, AdamW),
and the value and gradient of the variational head's circuit alone at the same batch size. Medians over `--repeats`
calls after warm-up; the cases take turns, so that a change of the machine's speed meets all of them.
"""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before the imports that need it

from qjax import quantum
from qjax.config import apply_overrides, load_config, validate_config
from qjax.data import resolve_checkpoint
from qjax.models.heads import VariationalHead
from qjax.models.pretrained import load_pretrained
from qjax.modes.setup import make_model
from qjax.modes.train import make_run_optimizer
from qjax.training.mesh import make_mesh, replicate, shard
from qjax.training.state import init_state
from qjax.training.step import make_train_step

ROOT = Path(__file__).resolve().parents[1]

LENGTH = flags.DEFINE_integer("length", 32, "word pieces a text")
REPEATS = flags.DEFINE_integer("repeats", 15, "timed calls of each case")


def training_step(name: str) -> tuple[Callable[[], None], VariationalHead, int]:
    """Returns a call that runs one training step to its end, the head, and the batch size."""
    config = load_config(ROOT / "configs" / f"sentiment_{name}.py")
    config = validate_config(apply_overrides(config, [("encoder.regime", "full")]))
    pretrained = load_pretrained(resolve_checkpoint("minilm"))
    model = make_model(config, pretrained.config, num_classes=2)
    size, mesh, optimizer = config.train.batch_size, make_mesh(1), make_run_optimizer(config, 100)
    rng = np.random.default_rng(0)
    batch = {
        "token_ids": rng.integers(1000, 20_000, (size, LENGTH.value)).astype(np.int32),
        "mask": np.ones((size, LENGTH.value), np.int32),
        "labels": rng.integers(0, 2, size).astype(np.int32),
        "ids": np.arange(size, dtype=np.int32),
    }
    head = model.head.init(jax.random.key(0), jnp.zeros((1, pretrained.config.hidden_size)))["params"]
    state = replicate(init_state({"encoder": pretrained.params, "head": head}, optimizer, jax.random.key(1)), mesh)
    step, placed = make_train_step(model.apply, optimizer, mesh=mesh), shard(batch, mesh)

    def call() -> None:
        nonlocal state
        state, _ = step(state, {}, placed)
        jax.block_until_ready(state.params)

    return call, model.head, size


def circuit_gradient(head: VariationalHead, size: int) -> Callable[[], None]:
    """Returns a call of the circuit's value and gradient, for angles and parameters, on a batch."""
    circuit, observables = head.circuit(), head.measured_observables()
    params = quantum.init_params(jax.random.key(0), circuit)
    angles = jax.random.uniform(jax.random.key(1), (size, circuit.num_inputs))
    compiled = jax.jit(
        jax.value_and_grad(lambda p, x: quantum.expectation(circuit, p, x, observables).sum(), argnums=(0, 1))
    )
    return lambda: jax.block_until_ready(compiled(params, angles))


def main(_: list[str]) -> None:
    calls: dict[str, Callable[[], None]] = {}
    for name in ("variational", "mlp", "linear"):
        calls[f"step, {name} head"], head, size = training_step(name)
        if name == "variational":
            calls["circuit alone, value and gradient"] = circuit_gradient(head, size)
    for call in calls.values():
        call()
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS.value):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    print(
        f"batch {size} x {LENGTH.value} word pieces, jax {jax.__version__}, {jax.devices()[0].device_kind}, "
        f"{platform.machine()}\n"
    )
    print("| what | ms | examples/s |")
    print("|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {1e3 * value:.1f} | {size / value:.0f} |")
    share = medians["circuit alone, value and gradient"] / medians["step, variational head"]
    print(f"\nshare of the variational step spent in the circuit: {100 * share:.2f} %")


if __name__ == "__main__":
    app.run(main)
