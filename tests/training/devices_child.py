"""Run by test_devices.py in a process with four CPU devices: one training on 1, 2 and 4 of them, by both wrappers.

Writes an .npz: losses, the first step's gradient and the parameters after 20 SGD steps with dropout on, for every
case, as one flat vector each.
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
from qjax.training.mesh import AXIS, make_mesh, parallelize, replicate, shard
from qjax.training.state import init_state
from qjax.training.step import example_keys, make_train_step, mean_loss_and_gradient

BATCH, LENGTH, STEPS = 16, 10, 20


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


def main(path: str) -> None:
    config = random_config(num_layers=2, hidden_size=16, num_heads=2, vocab_size=40)
    encoder = Bert(config=config, add_pooling_layer=False)
    head = make_head("variational", num_classes=3, num_qubits=3, reps=2, dropout=0.2)
    model = Classifier(head=head, encoder=encoder)
    batches = make_batches(np.random.default_rng(0), STEPS)
    params = model.init(jax.random.key(0), batches[0])["params"]
    key = jax.random.key(7)
    results = {}
    for devices, wrapper, micro in [
        (1, "shard_map", 1),
        (2, "shard_map", 1),
        (4, "shard_map", 1),
        (1, "pmap", 1),
        (2, "pmap", 1),
        (4, "pmap", 1),
        (1, "shard_map", 4),
        (2, "shard_map", 2),
    ]:
        mesh = make_mesh(devices)

        def gradient(params, batch, micro=micro):
            keys = example_keys(key, 0, batch["ids"])
            return mean_loss_and_gradient(model.apply, params, {}, batch, dropout_keys=keys, num_micro_batches=micro)

        first = parallelize(gradient, mesh=mesh, wrapper=wrapper, batch_argument=1, num_arguments=2)
        _, first_gradient = first(replicate(params, mesh), shard(batches[0], mesh))
        optimizer = optax.sgd(0.1)
        state = replicate(init_state(params, optimizer, key), mesh)
        step = make_train_step(model.apply, optimizer, mesh=mesh, parallel=wrapper, num_micro_batches=micro)
        losses = []
        for batch in batches:
            state, metrics = step(state, {}, shard(batch, mesh))
            losses.append(float(metrics["loss"]))
        if wrapper == "shard_map":
            assert step._cache_size() == 1, (devices, step._cache_size())
        name = f"{devices}_{wrapper}_{micro}"
        results[f"{name}/losses"] = np.asarray(losses)
        results[f"{name}/gradient"] = np.asarray(ravel_pytree(jax.device_get(first_gradient))[0])
        results[f"{name}/params"] = np.asarray(ravel_pytree(jax.device_get(state.params))[0])
    assert AXIS == "data"
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
