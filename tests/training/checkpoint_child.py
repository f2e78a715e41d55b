"""Run by test_checkpoint.py in a process of its own, to be killed or to have other devices. Not a test."""

import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from qjax.training.checkpoint import Checkpoints


def make_state(step):
    """A state that is a function of its step, 4 MB: long enough on the way to the disk to be killed there."""
    key = jax.random.fold_in(jax.random.key(7), step)
    return {"step": jnp.asarray(step, jnp.int32), "weights": jax.random.normal(key, (1000, 1000)), "key": key}


def save_until_killed(directory):
    with Checkpoints(directory, metric="accuracy", mode="max", keep_best=2) as checkpoints:
        restored = checkpoints.restore_latest(make_state(0))
        step = restored.step if restored else 0
        print("ready", flush=True)
        while True:
            step += 1
            checkpoints.save(step, make_state(step), {"position": step}, (step * 37 % 11) / 11)


def save_on_all_devices(directory):
    mesh = jax.make_mesh((len(jax.devices()),), ("data",))
    with Checkpoints(directory, metric="accuracy", mode="max", keep_best=1) as checkpoints:
        state = make_state(3)
        replicated = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        checkpoints.save(3, replicated, {"devices": len(jax.devices())}, 0.5)


if __name__ == "__main__":
    {"until_killed": save_until_killed, "all_devices": save_on_all_devices}[sys.argv[1]](sys.argv[2])
