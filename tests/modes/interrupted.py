"""Runs of main.py in processes of their own, to be watched and killed; and what a workdir holds, to be compared."""

import contextlib
import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from running import ROOT

from qjax.config import read_config
from qjax.data import cache_dir
from qjax.modes.scoring import initial_params
from qjax.modes.setup import load_data, prepare_run
from qjax.modes.train import make_checkpoints, make_run_optimizer
from qjax.training.mesh import replicate
from qjax.training.metrics_log import read_rows
from qjax.training.state import init_state


@contextlib.contextmanager
def compilation_cache(directory):
    """Lets this process and those it starts compile each program once: nearly all of a tiny run is compilation."""
    settings = {"jax_compilation_cache_dir": str(directory), "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name.upper(), str(value))
            jax.config.update(name, value)
        reset_cache()
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()


def start(workdir, *arguments):
    """Starts a training run of configs/tiny.py."""
    command = [sys.executable, ROOT / "main.py", f"--config={ROOT / 'configs' / 'tiny.py'}", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )


def cache_without_features(directory):
    """Makes a cache that has the downloads of this machine's and no features, and returns it."""
    directory.mkdir()
    for path in cache_dir().iterdir():
        if path.name != "features":
            (directory / path.name).symlink_to(path)
    return directory


def wait_for_line(child, *beginnings):
    """Reads the child's output up to the first line that begins so, and returns that line."""
    for line in child.stdout:
        if line.startswith(beginnings):
            return line
    raise AssertionError(f"ended with {child.wait()} before a line {beginnings}: {child.stderr.read()}")


def wait_for_save(child, workdir):
    """Returns when the child is in the middle of writing a checkpoint, or deleting one."""
    before = torsos(workdir)
    while child.poll() is None:
        if torsos(workdir) - before:
            return
        time.sleep(0.0005)
    raise AssertionError(f"ended with {child.returncode} before another save: {child.stderr.read()}")


def torsos(workdir):
    """Checkpoints that are half written or half deleted, each by its path and inode."""
    found = set()
    for path in (workdir / "checkpoints").glob(".[pt]*/*"):  # .partial and .trash
        try:
            found.add((str(path), path.stat().st_ino))
        except FileNotFoundError:  # whole, or gone, in the meantime
            continue
    return found


def bits(tree):
    """Type and bytes of every leaf, keys as their data: what 'bitwise equal' compares."""

    def of_leaf(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return str(leaf.dtype), np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()

    return {jax.tree_util.keystr(path): of_leaf(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def checkpoints_of(workdir):
    """Restores every step that is listed: step -> bits of the state, and the meta but for its clock."""
    if not (workdir / "checkpoints").exists():
        return {}
    config = read_config(workdir)
    run = prepare_run(config, workdir, load_data(config))
    fresh = init_state(initial_params(run)[0], make_run_optimizer(config, num_steps=1), jax.random.key(0))
    with make_checkpoints(config, workdir) as checkpoints:
        restored = {step: checkpoints.restore(step, replicate(fresh, run.mesh)) for step in checkpoints.steps()}
    assert all(meta.pop("seconds") > 0 for _, meta in restored.values())
    return {step: (bits(state), meta) for step, (state, meta) in restored.items()}


def rows_of(workdir):
    """The rows of metrics.jsonl but for their clock."""
    clock = ("time", "examples_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(workdir)]


def report_of(workdir):
    """What report.json holds but for the run's name and its clock."""
    report = json.loads((workdir / "report.json").read_text())
    assert report["run"].pop("seconds") > 0
    del report["run"]["name"], report["run"]["started"]
    return report


def assert_same_run(workdir, reference):
    """Holds where both runs ended with the same checkpoints, rows and report, to the last bit."""
    rows = rows_of(workdir)
    assert rows == rows_of(reference)
    places = [(row["step"], row["split"]) for row in rows]
    assert places == sorted(set(places))  # no duplicate, no row out of order
    found, expected = checkpoints_of(workdir), checkpoints_of(reference)
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step] == expected[step], f"step {step}"
    assert report_of(workdir) == report_of(reference)
