"""Run by test_devices.py in a process with four CPU devices: one training on 1, 2 and 4 of them.

Writes an .npz: losses, the first step's gradient and the parameters after 20 SGD steps with dropout on, for every
case, as one flat vector each; and for Adam on 1 and 4 devices losses and each parameter.
"""

import sys

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from qjax.models.bert import Bert
from qjax.models.classifier import Classifier
from qjax.models.heads import make_head
from qjax.models.pretrained import random_config
from qjax.training.mesh import make_mesh, replicate, shard
from qjax.training.state import init_state
from qjax.training.step import make_train_step

BATCH, LENGTH, STEPS, LEARNING_RATE = 16, 10, 20, 0.5
# (devices, wrapper, micro-batches)
CASES = [
    (1, "shard_map", 1),
    (4, "shard_map", 1),
    (2, "shard_map", 4),
    (2, "pmap", 1),
]


def count_compilations() -> list[str]:
    """Returns a list that grows by one entry with every program that XLA compiles."""
    seen: list[str] = []

    def listen(name: str, _: float, **__: object) -> None:
        if name.endswith("backend_compile_duration"):
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seen


def flat(tree) -> np.ndarray:
    """Returns all leaves as one float64 vector."""
    return np.asarray(ravel_pytree(jax.device_get(tree))[0], np.float64)


def make_batches(rng: np.random.Generator, count: int) -> list[dict[str, np.ndarray]]:
    """Returns batches of uneven texts; the last row of each is filling, some labels count for nothing."""
    batches = []
    for number in range(count):
        lengths = rng.integers(3, LENGTH + 1, BATCH)
        mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
        mask[-1] = 0
        labels = rng.integers(0, 3, BATCH).astype(np.int32)
        labels[[2, -1]] = -1
        ids = (np.arange(BATCH) + number * BATCH).astype(np.int32)
        ids[-1] = -1
        token_ids = (rng.integers(5, 40, (BATCH, LENGTH)) * mask).astype(np.int32)
        batches.append({"token_ids": token_ids, "mask": mask, "labels": labels, "ids": ids})
    return batches


def adam(model, params, batches) -> dict[str, np.ndarray]:
    """Returns losses and each parameter after the same steps by Adam, on 1 and on 4 devices."""
    optimizer, results = optax.adam(1e-2), {}
    for devices in (1, 4):
        mesh = make_mesh(devices)
        state = replicate(init_state(params, optimizer, jax.random.key(7)), mesh)
        step = make_train_step(model.apply, optimizer, mesh=mesh)
        losses = []
        for batch in batches:
            state, metrics = step(state, {}, shard(batch, mesh))
            losses.append(float(metrics["loss"]))
        results[f"adam_{devices}/losses"] = np.asarray(losses)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(state.params):
            results[f"adam_{devices}/{jax.tree_util.keystr(keys)}"] = np.asarray(leaf)
    return results


def main(path: str) -> None:
    config = random_config(num_layers=1, hidden_size=16, num_heads=2, vocab_size=40)
    head = make_head("variational", num_classes=3, num_qubits=3, reps=1, dropout=0.2)
    model = Classifier(head=head, encoder=Bert(config=config, add_pooling_layer=False))
    batches = make_batches(np.random.default_rng(0), STEPS)
    params = jax.jit(model.init)(jax.random.key(0), batches[0])["params"]
    optimizer = optax.sgd(LEARNING_RATE)
    compilations = count_compilations()
    results = {}
    for devices, wrapper, micro in CASES:
        mesh = make_mesh(devices)
        state = replicate(init_state(params, optimizer, jax.random.key(7)), mesh)
        step = make_train_step(model.apply, optimizer, mesh=mesh, parallel=wrapper, num_micro_batches=micro)
        losses, after_first, compiled_first = [], None, 0
        for batch in batches:
            state, metrics = step(state, {}, shard(batch, mesh))
            losses.append(float(metrics["loss"]))
            if after_first is None:
                after_first, compiled_first = flat(state.params), len(compilations)
        assert len(compilations) == compiled_first, f"{devices} {wrapper}: a later step compiled again"
        name = f"{devices}_{wrapper}_{micro}"
        results[f"{name}/losses"] = np.asarray(losses)
        results[f"{name}/gradient"] = (flat(params) - after_first) / LEARNING_RATE
        results[f"{name}/params"] = flat(state.params)
    results |= adam(model, params, batches)
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
