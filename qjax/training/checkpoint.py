"""Checkpoints that survive a kill at any moment, and say so when they are damaged.

Orbax copies the state to the host and writes it in the background; this module adds what orbax does not promise
(measured on 0.12.8): flipped bits are found, a listed step can be restored, damage leads to the step before. Layout:

    checkpoints/300/              one saved step: state/, meta/ and orbax's own files, with our manifest.json
    checkpoints/.partial/300/     being written; renamed to checkpoints/300 when it is whole and on the disk
    checkpoints/.trash/           being deleted; a step is renamed into it first
    checkpoints/damaged/300/      found damaged and set aside, for a person to look at

Both ways in and out of the list are one rename, so a step is listed exactly while all of it is there. That needs
the manifest inside the folder before the rename and nothing deleted before that, which is why this stands on
`ocp.AsyncCheckpointer`: `ocp.CheckpointManager` deletes old steps before anyone could have verified the new one.
"""

import math
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from qjax.checks import UserError, check, check_choice, fail
from qjax.files import flush_to_disk
from qjax.training.disk import refusal, silence_echoes
from qjax.training.leaves import abstract_leaf, as_fresh, check_fit, describe
from qjax.training.manifest import (
    DamageError,
    Manifest,
    check_file,
    check_sizes,
    checked_meta,
    find_damage,
    number_or_none,
    read_manifest,
    write_manifest,
)
from qjax.types import PyTree
from qjax.untrusted import read_json

# The last step and the one before it: where the last is also the best and is damaged, something is left to go on.
_NUM_LAST_KEPT = 2
_META_FILE = "meta/metadata"


class Restored(NamedTuple):
    """What `Checkpoints.restore_latest` found: the step, its state and meta, and a line for each damaged step."""

    step: int
    state: PyTree
    meta: dict[str, Any]
    warnings: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one run.

    Making one touches nothing on the disk; only `save` and `restore_latest` change the folder, so a finished or a
    live run can be looked at with the other methods. One writer a folder: hold the workdir's lock while saving.
    With several processes, all of them call `save`, `wait` and the restoring methods, on one shared folder.

    Args:
      directory: the folder, made by the first save.
      metric: name of the validation metric that ranks the steps.
      mode: 'max' where a larger metric is better, 'min' where a smaller one is.
      keep_best: number of best steps kept; the last two are kept beside them, whatever their metric.
    """

    def __init__(self, directory: str | Path, *, metric: str, mode: str, keep_best: int) -> None:
        check_choice("mode", mode, ("max", "min"))
        check(keep_best >= 1, "keep_best", "be at least 1", keep_best)
        self.directory = Path(directory).absolute()
        self._metric = metric
        self._sign = 1.0 if mode == "max" else -1.0
        self._keep_best = keep_best
        silence_echoes()
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: tuple[int, Future[None]] | None = None
        self._tidied = False

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._close(is_error=error is not None)
        except UserError as failure:
            if error is None:
                raise
            if not isinstance(error, UserError):  # raised, it would hide the error that is on its way out
                logging.error("%s", failure)

    # ---- looking -------------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Steps that can be restored, rising. Files are compared by size here and by sha256 when restored."""
        return list(self._manifests())

    def latest_step(self) -> int | None:
        """The last of `steps()`, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the best metric, of equals the one of the lowest loss; None where no step has a metric.

        Raises:
          UserError: a step was saved with another metric.
        """
        best = self._best(self._manifests())
        return best[0] if best else None

    def read_meta(self, step: int) -> dict[str, Any]:
        """The meta saved with `step`, its sha256 checked; no array is read.

        Raises:
          UserError: there is no such step, or its meta is damaged.
        """
        self.wait()
        return self._read_meta(step, self._whole_manifest(step))

    # ---- saving --------------------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        state: PyTree,
        meta: Mapping[str, Any],
        metric_value: float | None,
        *,
        loss: float | None = None,
        wait: bool = False,
    ) -> bool:
        """Starts saving; returns as soon as the state is copied, so its arrays may be donated or overwritten.

        Waits for the save before this one, whose error, if any, is raised here.

        Args:
          step: training step, at least the last one saved.
          state: pytree of `jax.Array`s, typed keys included.
          meta: what JSON can hold unchanged (text keys, no tuples, no NaN).
          metric_value: the metric at this step; None where it was not measured, which like NaN is never the best.
          loss: the validation loss, which ranks steps of equal metric; None and NaN come last.
          wait: return only when the checkpoint is whole and on the disk.

        Returns:
          False, with nothing written, where `step` is saved already: a run is a function of its step. A step that was
          saved without its metric is replaced by one that has it.

        Raises:
          UserError: an argument does not fit, or the system refused to write this or the former checkpoint.
        """
        self.wait()
        leaves = describe(state)
        kept_meta = checked_meta(meta)
        value, loss = number_or_none(metric_value), number_or_none(loss)
        manifests = self._manifests()
        self._best(manifests)  # refuses a folder of another metric before anything is written
        if step in manifests and (value is None or manifests[step].value is not None):
            return False
        latest = max(manifests.keys() - {step}, default=-1)
        check(step > latest, "step", f"be greater than {latest}, the last step in {self.directory}", step)

        partial = self.directory / ".partial" / str(step)
        try:
            self._tidy()
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(kept_meta))
            self._checkpointer.save(partial, args=items)
        except Exception as error:  # a full disk comes as OSError, ValueError or RuntimeError, by the layer it hits
            self._fail_to_save(step, error)
        manifest = {"step": step, "metric": self._metric, "value": value, "loss": loss, "leaves": leaves}
        self._pending = (step, self._background.submit(self._finish, partial, manifest))
        if wait:
            self.wait()
        return True

    def wait(self) -> None:
        """Returns when nothing is being written.

        Raises:
          UserError: the save that was under way failed, for example on a full disk; the steps before it remain.
        """
        self._wait()

    def _wait(self, *, is_error: bool = False) -> None:
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except Exception as error:  # as in `save`
            self._fail_to_save(step, error)
        finally:
            if not is_error:  # which the other processes may know nothing of
                multihost_utils.sync_global_devices(f"checkpoint {step}")  # no process lists it before all have it

    def close(self) -> None:
        """Waits as `wait` does, and ends the threads in any case."""
        self._close()

    def _close(self, *, is_error: bool = False) -> None:
        try:
            self._wait(is_error=is_error)
        finally:
            self._background.shutdown()
            try:
                self._checkpointer.close()
            except Exception as error:  # what the last save met, once more
                if refusal(error) is None:
                    raise

    def _finish(self, partial: Path, manifest: dict[str, Any]) -> None:
        """Background: waits for orbax, then vouches for the files, lists the step and prunes the others."""
        self._checkpointer.wait_until_finished()
        if jax.process_index() != 0:
            return
        write_manifest(partial, **manifest)
        final = self.directory / partial.name
        if int(partial.name) in self._manifests():  # saved without its metric
            self._throw_away(final)
        elif final.exists():  # a damaged one, or it would have been in the list
            self._set_aside(final)
        partial.rename(final)
        flush_to_disk(self.directory)
        self._prune()

    def _prune(self) -> None:
        manifests = self._manifests()
        kept = {*self._best(manifests)[: self._keep_best], *sorted(manifests)[-_NUM_LAST_KEPT:]}
        for step in manifests.keys() - kept:
            self._throw_away(self.directory / str(step))

    def _throw_away(self, folder: Path) -> None:
        trash = self.directory / ".trash" / folder.name
        trash.parent.mkdir(exist_ok=True)
        folder.rename(trash)
        shutil.rmtree(trash)

    def _tidy(self) -> None:
        """Removes, once, what a killed run left half written or half deleted."""
        if not self._tidied and jax.process_index() == 0:
            for leftover in (".partial", ".trash"):
                shutil.rmtree(self.directory / leftover, ignore_errors=True)
            self.directory.mkdir(parents=True, exist_ok=True)
        self._tidied = True

    def _fail_to_save(self, step: int, error: Exception) -> None:
        if jax.process_index() == 0:
            shutil.rmtree(self.directory / ".partial", ignore_errors=True)  # gives the space of the torso back
        reason = refusal(error)
        if reason is None:  # no mistake of the user
            raise error
        remaining = f"restorable steps: {self.steps()}"
        fail(str(self.directory), f"take the checkpoint of step {step}", f"the error: {reason} ({remaining})")

    # ---- restoring -----------------------------------------------------------------------------------------------

    def restore(self, step: int, target_state: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """Returns the state and meta of `step`, every file's sha256 checked first.

        Args:
          step: one of `steps()`.
          target_state: a state of the same tree, of arrays or `jax.ShapeDtypeStruct`s. Types, shardings and, for
            arrays, weak types and being committed to devices are taken from it, so a function compiled for a fresh
            state takes the restored one without compiling again. Devices may differ from those it was saved on.

        Raises:
          UserError: there is no such step, it is damaged, or its leaves are not those of `target_state`.
        """
        self.wait()
        folder = self.directory / str(step)
        manifest = self._whole_manifest(step)
        damage = find_damage(folder)
        if damage is not None:
            fail(str(folder), "be as its manifest.json says", damage)
        check_fit(folder, manifest.leaves, describe(target_state))
        abstract = jax.tree.map(abstract_leaf, target_state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        restored = self._checkpointer.restore(folder, args=items)
        state = jax.tree.map(as_fresh, restored.state, target_state)
        return state, self._read_meta(step, manifest)

    def restore_latest(self, target_state: PyTree) -> Restored | None:
        """Restores the last undamaged step, or returns None where nothing was ever saved.

        Every step is read and checked, so that after this all of `steps()` can be restored: damaged ones are moved to
        `damaged/` and named in the result's warnings (on process 0), which the caller shows. Where every step is
        damaged, nothing is moved.

        Raises:
          UserError: no step is undamaged, or the leaves of the one found are not those of `target_state`.
        """
        self.wait()
        damages = self._damages() if jax.process_index() == 0 else {}
        found = max((step for step, damage in damages.items() if damage is None), default=-1)
        found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        warnings = tuple(
            f"The checkpoint {self.directory / str(step)} is damaged and is not used: it has {damage}."
            for step, damage in damages.items()
            if damage is not None
        )
        if found < 0:
            check(not self._folders(), str(self.directory), "hold an undamaged checkpoint", " ".join(warnings))
            return None
        state, meta = self.restore(found, target_state)
        for step in (step for step, damage in damages.items() if damage is not None):
            self._set_aside(self.directory / str(step))
        return Restored(found, state, meta, warnings)

    def _damages(self) -> dict[int, str | None]:
        """What is wrong with each step's folder, None where nothing is."""
        return {step: find_damage(self.directory / str(step)) for step in self._folders()}

    def _set_aside(self, folder: Path) -> None:
        aside = self.directory / "damaged" / folder.name
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)

    # ---- reading the folder --------------------------------------------------------------------------------------

    def _folders(self) -> list[int]:
        """Steps that have a folder, whole or not, rising."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))

    def _manifests(self) -> dict[int, Manifest]:
        """Manifest of each step that is complete, by rising step."""
        found = {}
        for step in self._folders():
            folder = self.directory / str(step)
            try:
                manifest = read_manifest(folder)
                check_sizes(folder, manifest)
            except DamageError:
                continue
            found[step] = manifest
        return found

    def _best(self, manifests: Mapping[int, Manifest]) -> list[int]:
        """Steps that have a metric, best first; of equals the lower loss first, then the earlier."""
        for step, manifest in manifests.items():
            known = f"be {manifest.metric!r}, which ranks step {step} in {self.directory}"
            check(manifest.metric == self._metric, "metric", known, self._metric)
        ranked = [
            (-self._sign * m.value, math.inf if m.loss is None else m.loss, step)
            for step, m in manifests.items()
            if m.value is not None
        ]
        return [step for _, _, step in sorted(ranked)]

    def _whole_manifest(self, step: int) -> Manifest:
        folder = self.directory / str(step)
        if not folder.is_dir():
            check_choice("step", step, self.steps())
        try:
            return read_manifest(folder)
        except DamageError as damage:
            fail(str(folder), "be as its manifest.json says", str(damage))

    def _read_meta(self, step: int, manifest: Manifest) -> dict[str, Any]:
        folder = self.directory / str(step)
        try:
            check_file(folder, manifest, _META_FILE)
        except DamageError as damage:
            fail(str(folder), "be as its manifest.json says", str(damage))
        return read_json(folder / _META_FILE)


def save_tree(path: str | Path, tree: PyTree) -> None:
    """Writes a pytree of arrays to folder `path`, replacing it, and returns when it is there.

    For a person to look at: `orbax.checkpoint.StandardCheckpointer().restore(path)` reads it back.

    Raises:
      UserError: the system refused to write.
    """
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(Path(path).absolute(), args=ocp.args.StandardSave(tree), force=True)
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        fail(str(path), "be writable", f"the error: {reason}")
