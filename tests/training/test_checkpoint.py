import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from checkpoint_child import make_state as child_state
from flax import struct

from qjax.checks import UserError
from qjax.training.checkpoint import Checkpoints, save_tree

CHILD = Path(__file__).with_name("checkpoint_child.py")
ROOT = Path(__file__).parents[2]


@struct.dataclass
class State:
    step: jax.Array
    params: dict
    opt_state: object
    key: jax.Array
    nothing: object = None


OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))


def make_state(step=0, width=3):
    params = {
        "head": {"kernel": jnp.ones((4, width)), "bias": jnp.zeros(width, jnp.bfloat16)},
        "scale": jnp.asarray(2.0),  # weakly typed, on purpose
    }
    return State(
        step=jnp.asarray(step, jnp.int32), params=params, opt_state=OPTIMIZER.init(params), key=jax.random.key(step)
    )


@jax.jit
def train_step(state):
    noise = jax.random.normal(jax.random.fold_in(state.key, state.step), (4, 3))
    gradient = jax.tree.map(jnp.ones_like, state.params)
    gradient["head"]["kernel"] = noise
    updates, opt_state = OPTIMIZER.update(gradient, state.opt_state, state.params)
    return state.replace(step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state=opt_state)


def bits(tree):
    """Type and bytes of every leaf, keys as their data: what 'bitwise equal' compares."""

    def of_leaf(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
        return str(leaf.dtype), np.asarray(leaf).tobytes()

    return [(jax.tree_util.keystr(path), of_leaf(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.fixture
def open_checkpoints(tmp_path):
    """Opens `tmp_path/checkpoints`; afterwards all are closed and no thread is left."""
    before = set(threading.enumerate())
    opened = []

    def open_(mode="max", keep_best=1, metric="accuracy", directory=tmp_path / "checkpoints"):
        opened.append(Checkpoints(directory, metric=metric, mode=mode, keep_best=keep_best))
        return opened[-1]

    yield open_
    for checkpoints in opened:
        checkpoints.close()
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.fixture
def saved(open_checkpoints):
    """Steps 1 and 2 saved, and their states."""
    checkpoints = open_checkpoints()
    states = {}
    for step in (1, 2):
        states[step] = make_state(step)
        checkpoints.save(step, states[step], {"position": step}, 0.1 * step)
    checkpoints.wait()
    return checkpoints, states


def test_restores_every_bit(open_checkpoints):
    state = make_state(5)
    for _ in range(3):
        state = train_step(state)
    meta = {"position": 8, "early_stopping": {"best": float("inf"), "count": 0}, "frozen_sha256": "ab", "none": None}
    open_checkpoints().save(8, state, meta, 0.5, wait=True)

    reader = open_checkpoints()
    restored, restored_meta = reader.restore(8, make_state())
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    assert restored_meta == meta == reader.read_meta(8)
    assert bits(train_step(restored)) == bits(train_step(state))


def test_restores_into_abstract_state(saved):
    checkpoints, states = saved
    restored, _ = checkpoints.restore(2, jax.eval_shape(make_state))
    assert bits(restored) == bits(states[2])


@pytest.mark.parametrize("placed", [False, True])
def test_restored_state_compiles_nothing(open_checkpoints, placed):
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, train_step(state)))
    mesh = jax.make_mesh((1,), ("data",))

    def fresh():
        replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        return jax.device_put(make_state(), replicated) if placed else make_state()

    step(fresh())
    checkpoints = open_checkpoints()
    checkpoints.save(0, fresh(), {}, None)
    restored, _ = checkpoints.restore(0, fresh())
    step(restored)
    assert step._cache_size() == 1


def test_state_may_be_donated_while_it_is_written(open_checkpoints):
    state = {"weights": jax.random.normal(jax.random.key(0), (2000, 1000))}
    expected = np.array(state["weights"])
    checkpoints = open_checkpoints()
    checkpoints.save(1, state, {}, None)
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 7, s), donate_argnums=0)
    overwritten = overwrite(state)
    for _ in range(3):
        overwritten = overwrite(overwritten)
    restored, _ = checkpoints.restore(1, overwritten)
    np.testing.assert_array_equal(restored["weights"], expected)


def test_saved_on_four_devices_restored_on_one(open_checkpoints, tmp_path):
    directory = tmp_path / "checkpoints"
    same = os.environ.get("XLA_FLAGS", "")  # the bits of a result depend on how it was compiled
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {same}", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, CHILD, "all_devices", directory], env=os.environ | flags, check=True, cwd=ROOT)
    checkpoints = open_checkpoints()
    assert checkpoints.read_meta(3) == {"devices": 4}
    restored, _ = checkpoints.restore(3, child_state(0))
    assert bits(restored) == bits(child_state(3))
    assert len(restored["weights"].sharding.device_set) == 1


@pytest.mark.parametrize(
    ("mode", "keep_best", "values", "expected", "best"),
    [
        ("max", 1, [0.9, 0.5, 0.8, 0.7, 0.1], [1, 4, 5], 1),
        ("min", 1, [0.9, 0.5, 0.8, 0.7, 0.6], [2, 4, 5], 2),
        ("max", 2, [0.9, 0.5, 0.8, 0.7, 0.1], [1, 3, 4, 5], 1),
        ("max", 1, [0.5, 0.5, 0.5, 0.5, 0.5], [1, 4, 5], 1),  # of equals the earliest
        ("min", 1, [0.5, 0.5, 0.5, 0.5, 0.5], [1, 4, 5], 1),
        ("max", 1, [0.1, 0.2, 0.3, 0.4, 0.5], [4, 5], 5),
        ("max", 1, [None, 0.2, float("nan"), None, None], [2, 4, 5], 2),  # neither None nor NaN is ever best
        ("max", 1, [None, None, None, None, None], [4, 5], None),
    ],
)
def test_keeps_the_best_and_the_last_two(open_checkpoints, mode, keep_best, values, expected, best):
    checkpoints = open_checkpoints(mode=mode, keep_best=keep_best)
    for step, value in enumerate(values, start=1):
        checkpoints.save(step, {"x": jnp.full(2, step)}, {}, value)
    checkpoints.wait()
    for seen in (checkpoints, open_checkpoints(mode=mode, keep_best=keep_best)):
        assert (seen.steps(), seen.best_step(), seen.latest_step()) == (expected, best, 5)
    for step in expected:
        assert int(checkpoints.restore(step, {"x": jnp.zeros(2, int)})[0]["x"][1]) == step
    assert not list((checkpoints.directory / ".trash").glob("*"))


def test_of_equal_metrics_the_lowest_loss_is_the_best(open_checkpoints):
    checkpoints = open_checkpoints(keep_best=2)
    losses = [0.3, 0.1, None, 0.2, 0.1, float("nan"), 0.0]
    for step, loss in enumerate(losses, start=1):
        checkpoints.save(step, {"x": jnp.zeros(2)}, {}, 0.5 if step < 7 else 0.4, loss=loss)
    checkpoints.wait()
    assert (checkpoints.best_step(), checkpoints.steps()) == (2, [2, 5, 6, 7])


def test_a_manifest_from_before_losses_were_kept_is_read(saved):
    checkpoints, states = saved
    path = checkpoints.directory / "2" / "manifest.json"
    body = json.loads(path.read_text())
    del body["loss"], body["sha256"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(body | {"sha256": digest}))
    assert checkpoints.best_step() == 2
    assert bits(checkpoints.restore(2, make_state())[0]) == bits(states[2])


def test_looking_touches_nothing(open_checkpoints, tmp_path):
    checkpoints = open_checkpoints()
    assert (checkpoints.steps(), checkpoints.latest_step(), checkpoints.best_step()) == ([], None, None)
    assert checkpoints.restore_latest(make_state()) is None
    assert not list(tmp_path.iterdir())


def test_same_step_is_saved_once(saved):
    checkpoints, states = saved
    assert checkpoints.save(2, make_state(99), {}, 0.0) is False
    assert bits(checkpoints.restore(2, make_state())[0]) == bits(states[2])


def test_leftovers_of_a_killed_run_are_removed_by_the_next_save(saved, open_checkpoints):
    directory = saved[0].directory
    for name in (".partial/7.orbax-checkpoint-tmp/state", ".trash/1/state"):
        (directory / name).mkdir(parents=True)
    (directory / "007").mkdir()  # nothing of ours: left alone
    checkpoints = open_checkpoints()
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(3, make_state(3), {}, 0.3, wait=True)
    assert sorted(path.name for path in directory.iterdir() if any(path.iterdir())) == ["2", "3"]


# ---- damage ------------------------------------------------------------------------------------------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"truncated": truncate, "flipped": flip_a_bit, "missing": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_is_found(saved, damage, tmp_path):
    checkpoints, _ = saved
    folder = checkpoints.directory / "2"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 8
    for path in files:
        backup = path.read_bytes()
        DAMAGES[damage](path)
        with pytest.raises(UserError, match=f"2` must be as its manifest.json says, but got .*{path.name}"):
            checkpoints.restore(2, make_state())
        if damage != "flipped" or path.name == "manifest.json":  # sizes and the manifest itself are always looked at
            assert checkpoints.steps() == [1]
        path.write_bytes(backup)
    assert checkpoints.steps() == [1, 2]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.json", "meta/metadata", "state/manifest.ocdbt"])
def test_falls_back_to_the_step_before(saved, open_checkpoints, damage, name):
    directory, states = saved[0].directory, saved[1]
    DAMAGES[damage](directory / "2" / name)
    checkpoints = open_checkpoints()
    restored = checkpoints.restore_latest(make_state())
    assert (restored.step, restored.meta) == (1, {"position": 1})
    assert bits(restored.state) == bits(states[1])
    assert len(restored.warnings) == 1
    assert f"{directory / '2'} is damaged" in restored.warnings[0]
    assert name in restored.warnings[0]
    assert checkpoints.steps() == [1] == [checkpoints.best_step()]
    assert (directory / "damaged" / "2").is_dir()  # nothing is thrown away
    checkpoints.save(2, make_state(22), {}, 0.2, wait=True)  # and the step can be saved anew
    assert bits(open_checkpoints().restore_latest(make_state()).state) == bits(make_state(22))


def test_a_damaged_older_step_is_set_aside_too(saved, open_checkpoints):
    directory = saved[0].directory
    flip_a_bit(next(path for path in (directory / "1/state/d").iterdir()))
    checkpoints = open_checkpoints()
    restored = checkpoints.restore_latest(make_state())
    assert restored.step == 2
    assert len(restored.warnings) == 1
    assert checkpoints.steps() == [2]


def test_a_damaged_folder_does_not_stand_in_the_way_of_a_save(saved, open_checkpoints):
    (saved[0].directory / "2" / "manifest.json").unlink()
    checkpoints = open_checkpoints()
    assert checkpoints.save(2, make_state(22), {}, 0.2, wait=True)
    assert bits(checkpoints.restore(2, make_state())[0]) == bits(make_state(22))


def test_refuses_when_every_step_is_damaged(saved):
    checkpoints, _ = saved
    for step in ("1", "2"):
        truncate(checkpoints.directory / step / "meta" / "metadata")
    before = sorted(checkpoints.directory.rglob("*"))
    with pytest.raises(UserError, match=r"must hold an undamaged checkpoint, but got .*/1 is damaged.*/2 is damaged"):
        checkpoints.restore_latest(make_state())
    assert sorted(checkpoints.directory.rglob("*")) == before


def test_read_meta_reads_no_array(saved):
    checkpoints, _ = saved
    shutil.rmtree(checkpoints.directory / "2" / "state")
    assert checkpoints.read_meta(2) == {"position": 2}
    flip_a_bit(checkpoints.directory / "2" / "meta" / "metadata")
    with pytest.raises(UserError, match="meta/metadata whose sha256 differs"):
        checkpoints.read_meta(2)


def test_a_copied_folder_under_another_name_is_found(saved):
    checkpoints, _ = saved
    shutil.copytree(checkpoints.directory / "1", checkpoints.directory / "9")
    assert checkpoints.steps() == [1, 2]
    with pytest.raises(UserError, match=r"a manifest.json of step 1"):
        checkpoints.restore(9, make_state())


def test_a_changed_metric_in_the_manifest_is_found(saved):
    checkpoints, _ = saved
    path = checkpoints.directory / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"value": 0.1', '"value": 0.9'))
    assert checkpoints.best_step() == 2
    with pytest.raises(UserError, match=r"a manifest\.json whose sha256 differs"):
        checkpoints.restore(1, make_state())


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_refuses_another_tree(saved):
    checkpoints, _ = saved
    with pytest.raises(UserError, match=r"hold the leaves of the model") as caught:
        checkpoints.restore(2, make_state(width=5))
    assert ".params['head']['kernel']: float32[4,3] saved, float32[4,5] expected" in str(caught.value)
    assert "scale" not in str(caught.value)
    other = make_state().replace(params={"tail": jnp.ones(2)}, opt_state=())
    with pytest.raises(UserError, match=r"\['tail'\]: nothing saved, float32\[2\] expected"):
        checkpoints.restore_latest(other)
    assert checkpoints.steps() == [1, 2]  # not damage: nothing is set aside


def test_refuses_an_unknown_step(saved):
    with pytest.raises(UserError, match=r"`step` must be one of the choices, but got 3\..*Choices: 1, 2"):
        saved[0].restore(3, make_state())


def test_refuses_an_earlier_step(saved):
    with pytest.raises(UserError, match="`step` must be greater than 2"):
        saved[0].save(0, make_state(), {}, None)


def test_refuses_another_metric(saved, open_checkpoints):
    checkpoints = open_checkpoints(metric="loss", mode="min")
    with pytest.raises(UserError, match="`metric` must be 'accuracy'"):
        checkpoints.best_step()
    with pytest.raises(UserError, match="`metric` must be 'accuracy'"):
        checkpoints.save(3, make_state(), {}, None)


@pytest.mark.parametrize(
    "meta", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": float("nan")}, {"a": np.ones(2)}, {"a": np.float32(1)}]
)
def test_refuses_meta_that_json_changes(open_checkpoints, meta):
    with pytest.raises(UserError, match="`meta` must be what JSON gives back"):
        open_checkpoints().save(1, make_state(), meta, None)


def test_refuses_leaves_that_are_not_arrays(open_checkpoints):
    with pytest.raises(UserError, match=r"`state\['count'\]` must be a jax.Array.*but got int"):
        open_checkpoints().save(1, {"count": 3}, {}, None)


def test_refuses_wrong_settings(open_checkpoints):
    with pytest.raises(UserError, match=r"`mode` must be one of the choices.*'max'"):
        open_checkpoints(mode="maximum")
    with pytest.raises(UserError, match="`keep_best` must be at least 1"):
        open_checkpoints(keep_best=0)


# ---- failing disks and kills -------------------------------------------------------------------------------------


def test_a_failed_save_is_told_and_the_former_steps_remain(saved, monkeypatch):
    checkpoints, states = saved

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qjax.training.checkpoint.write_manifest", full)
    assert checkpoints.save(3, make_state(3), {}, 0.3)
    with pytest.raises(UserError, match=r"take the checkpoint of step 3, but got .*No space left.*steps: \[1, 2\]"):
        checkpoints.wait()
    checkpoints.save(3, make_state(3), {}, 0.3)
    with pytest.raises(UserError, match="step 3"):  # or by the next save
        checkpoints.save(4, make_state(4), {}, 0.4)
    monkeypatch.undo()
    assert not (checkpoints.directory / ".partial").exists()
    assert bits(checkpoints.restore(2, make_state())[0]) == bits(states[2])
    assert checkpoints.save(3, make_state(3), {}, 0.3, wait=True)
    assert checkpoints.latest_step() == 3


def test_a_failed_save_does_not_hide_another_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qjax.training.checkpoint.write_manifest", full)

    def save_and_leave(error):
        with Checkpoints(tmp_path, metric="loss", mode="min", keep_best=1) as checkpoints:
            checkpoints.save(1, make_state(), {}, None)
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        save_and_leave(ZeroDivisionError())
    with pytest.raises(UserError, match="No space left"):
        save_and_leave(None)


def test_a_folder_that_cannot_be_made_is_told(open_checkpoints, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must take the checkpoint of step 1"):
        open_checkpoints(directory=tmp_path / "file" / "checkpoints").save(1, make_state(), {}, None, wait=True)


def test_a_full_disk(open_checkpoints, small_disk, capfd):
    checkpoints = open_checkpoints(directory=small_disk(3000))
    target = {"x": jnp.zeros((700, 700))}
    for step in (1, 2):  # 1.8 MB each: the second does not fit
        checkpoints.save(step, {"x": jax.random.normal(jax.random.key(step), (700, 700))}, {}, None)
    with pytest.raises(UserError, match=r"take the checkpoint of step 2, but got .*No space.*steps: \[1\]"):
        checkpoints.wait()
    assert checkpoints.steps() == [1]
    assert checkpoints.restore_latest(target).step == 1
    assert checkpoints.save(2, {"x": jnp.zeros((10, 10))}, {}, None, wait=True)  # the torso's space is free
    checkpoints.close()
    assert capfd.readouterr().err == ""  # the error is all that is said


def test_an_error_that_is_no_refusal_keeps_its_traceback(saved, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("qjax.training.checkpoint.write_manifest", broken)
    checkpoints = saved[0]
    assert checkpoints.save(3, make_state(3), {}, 0.3)
    with pytest.raises(ZeroDivisionError):
        checkpoints.wait()


def kill_while_saving(directory, delay):
    """Starts the child, waits until a step is listed, lets it save for `delay` seconds more and kills it."""
    child = subprocess.Popen(
        [sys.executable, CHILD, "until_killed", directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        text=True,
    )
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        deadline = time.monotonic() + 60
        while not any(path.name.isdigit() for path in directory.glob("*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()


def check_all_listed_restore(checkpoints):
    for step in checkpoints.steps():
        state, meta = checkpoints.restore(step, child_state(0))
        assert meta == {"position": step}
        assert bits(state) == bits(child_state(step))
    restored = checkpoints.restore_latest(child_state(0))
    assert restored is None or restored.step == checkpoints.latest_step()
    assert not (restored and restored.warnings)  # a kill is not damage
    return checkpoints.steps()


def test_a_killed_run_leaves_only_steps_that_restore(open_checkpoints, tmp_path):
    kill_while_saving(tmp_path / "checkpoints", 1.0)
    assert check_all_listed_restore(open_checkpoints())


@pytest.mark.slow
def test_many_kills(open_checkpoints, tmp_path):
    generator = random.Random(0)
    torn = 0
    latest = 0
    for _ in range(20):
        kill_while_saving(tmp_path / "checkpoints", 0.3 + generator.random())
        torn += any((tmp_path / "checkpoints" / ".partial").glob("*"))
        steps = check_all_listed_restore(open_checkpoints(keep_best=2))
        assert max(steps) >= latest
        latest = max(steps)
    assert torn > 5  # else the kills did not come in the middle of a save


def test_save_tree_can_be_read_with_orbax_alone(tmp_path):
    tree = {"weights": jnp.arange(3.0), "step": jnp.asarray(2)}
    save_tree(tmp_path / "tree", {"weights": jnp.zeros(3), "step": jnp.asarray(1)})
    save_tree(tmp_path / "tree", tree)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "tree")
    assert bits(jax.tree.map(jnp.asarray, restored)) == bits(tree)


def test_manifest_is_plain_json(saved):
    manifest = json.loads((saved[0].directory / "2" / "manifest.json").read_text())
    assert manifest["leaves"][".key"] == "key<fry>[]"
    assert manifest["leaves"][".params['head']['bias']"] == "bfloat16[3]"
    sha256 = subprocess.run(
        ["sha256sum", saved[0].directory / "2" / "meta" / "metadata"], capture_output=True, text=True, check=True
    )
    assert sha256.stdout.split()[0] == manifest["files"]["meta/metadata"]["sha256"]
