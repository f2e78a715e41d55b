"""`--mode=train`: trains, or resumes, the run of a workdir; then reports its best checkpoint on the test split."""

import contextlib
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from qjax import signals
from qjax.checks import check, printable
from qjax.config import CONFIG_FILE, check_resumable, is_bound, save_config
from qjax.data import BatchStream, Dataset
from qjax.evaluation.reports import Report, compare_reports, format_report, majority_warning
from qjax.files import check_writable, write_text
from qjax.modes import scoring
from qjax.modes.description import describe, description_lines
from qjax.modes.header import print_cut, print_header
from qjax.modes.setup import ENCODER_FOLDER, INFO_FILE, Run, load_data, prepare_run, write_info
from qjax.training.checkpoint import Checkpoints
from qjax.training.clock import Clock
from qjax.training.display import Display
from qjax.training.inputs import Inputs, make_batch
from qjax.training.lock import workdir_lock
from qjax.training.loop import LoopOptions, LoopResult, Window, train_loop
from qjax.training.mesh import replicate, shard
from qjax.training.metrics_log import MetricsLog, read_rows
from qjax.training.optimizer import make_optimizer
from qjax.training.state import TrainState, init_state
from qjax.training.step import check_batch_size, make_train_step
from qjax.training.stopping import METRIC_MODES, EarlyStopping
from qjax.visualization.confusion import plot_confusion
from qjax.visualization.curves import plot_curves

MAX_STEPS = 2**31 - 1  # the state counts in int32
LARGEST_PADDED_BATCH = 1024  # rows of a batch that may be more than there are examples


def run(config: ConfigDict, workdir: str | Path) -> int:
    """Trains to the end and reports, or stops early on SIGTERM with everything saved.

    Returns:
      The exit status: 0, also after a signal.
    """
    workdir = Path(workdir)
    check_writable(workdir, "--workdir")
    if not scoring.is_main_process():
        return _locked_run(config, workdir)
    with workdir_lock(workdir):
        return _locked_run(config, workdir)


def _locked_run(config: ConfigDict, workdir: Path) -> int:
    check_resumable(config, workdir)
    is_new = not is_bound(workdir)
    for name in () if is_new else (CONFIG_FILE, INFO_FILE):
        found = f"{workdir}, without it"
        check((workdir / name).exists(), "--workdir", f"hold the {name} that its checkpoints go with", found)
    if (workdir / "report.json").exists():
        print(f"This run is finished; its report is in {workdir}/report.txt:\n")
        for line in (workdir / "report.txt").read_text(encoding="utf-8").splitlines():
            print(printable(line))
        return 0
    if scoring.is_main_process():
        state = "holds no run, a new one starts" if is_new else "resuming the run in it"
        print(f"workdir   {workdir}: {state}", flush=True)
    clock = Clock()
    dataset = load_data(config)
    assembled = _checked_run(config, workdir, dataset, is_new=is_new)
    if scoring.is_main_process():
        save_config(config, workdir)
        if is_new:
            write_info(workdir, assembled.info)
    before, frozen = scoring.initial_params(assembled)
    assembled = _described(assembled, describe(assembled, dataset, params=before, frozen=frozen))
    print_header(assembled, dataset, params=before, frozen=frozen)
    inputs = scoring.make_inputs(assembled, dataset.items)
    print_cut(assembled, inputs.num_cut, dataset.items)
    signals.set_phase("before the first step of this run")
    with signals.deferred() as request:
        result = _train(assembled, dataset, inputs, before=before, frozen=frozen, clock=clock, request=request)
    if result.reason.startswith("SIG"):
        print(f"Stopped by {result.reason} at step {int(result.state.step)}: saved. Run the same command to go on.")
        return 0
    signals.set_phase("in the report, with all steps saved")
    _report(assembled, dataset, inputs, before=before, frozen=frozen, clock=clock, result=result)
    return 0


def _described(assembled: Run, description: dict[str, Any]) -> Run:
    """Returns the run with what it is in its `info`, and in `run.json`; it began when its first part did."""
    earlier = assembled.info.description or description
    info = dataclasses.replace(assembled.info, description=description | {"started": earlier["started"]})
    if scoring.is_main_process():
        write_info(assembled.workdir, info)
    return dataclasses.replace(assembled, info=info)


def _checked_run(config: ConfigDict, workdir: Path, dataset: Dataset, *, is_new: bool) -> Run:
    """Returns the run, checked in all that it will do; of a new one that is refused the random encoder is removed."""
    try:
        assembled = prepare_run(config, workdir, dataset, is_new=is_new)
        _check_plan(assembled, len(dataset.splits["train"]))
        scoring.check_head(assembled)
    except BaseException:
        if is_new and scoring.is_main_process() and not (workdir / CONFIG_FILE).exists():
            shutil.rmtree(workdir / ENCODER_FOLDER, ignore_errors=True)
        raise
    return assembled


def _check_plan(assembled: Run, num_examples: int) -> None:
    """Raises for batches that are mostly padding, or cannot be dealt out, and for more steps than can be counted."""
    settings = assembled.config.train
    batch_size, most = settings.batch_size, max(num_examples, LARGEST_PADDED_BATCH)
    expectation = f"be at most {most}, with {num_examples} training examples"
    check(batch_size <= most, "train.batch_size", expectation, batch_size)
    parts = settings.gradient_accumulation
    check_batch_size(batch_size, num_devices=assembled.mesh.size, num_micro_batches=parts)
    buckets = scoring.batching(assembled, batch_size).bucket_lengths
    most = MAX_STEPS // (num_examples // batch_size + len(buckets) + 1)
    expectation = f"be at most {most}: a run has at most {MAX_STEPS} steps"
    check(settings.num_epochs <= most, "train.num_epochs", expectation, settings.num_epochs)


def make_checkpoints(config: ConfigDict, workdir: Path) -> Checkpoints:
    """Returns the workdir's checkpoints, kept by the configured metric."""
    metric = config.train.metric
    return Checkpoints(
        workdir / "checkpoints", metric=metric, mode=METRIC_MODES[metric], keep_best=config.train.keep_best
    )


def make_stream(assembled: Run, dataset: Dataset, inputs: Inputs) -> BatchStream:
    """Returns the training batches by position."""
    config, subset = assembled.config, np.asarray(dataset.splits["train"])
    shapes = scoring.batching(assembled, config.train.batch_size)
    return BatchStream(
        lambda spec: make_batch(inputs, dataset.labels, subset, spec, words=shapes.words),
        lengths=inputs.lengths[subset],
        seed=config.seed,
        batch_size=config.train.batch_size,
        bucket_lengths=shapes.buckets(inputs),
        num_epochs=config.train.num_epochs,
    )


def make_run_optimizer(config: ConfigDict, num_steps: int) -> Any:
    """Returns the configured optimizer of a run of `num_steps` updates."""
    settings = config.optimizer
    return make_optimizer(
        name=settings.name,
        learning_rate=settings.learning_rate,
        circuit_learning_rate=settings.circuit_learning_rate,
        encoder_learning_rate=settings.encoder_learning_rate,
        schedule=settings.schedule,
        warmup_fraction=settings.warmup_fraction,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        num_steps=num_steps,
    )


def _fresh_or_restored(
    assembled: Run, checkpoints: Checkpoints, before: Any, optimizer: Any, clock: Clock
) -> tuple[TrainState, dict[str, Any]]:
    """Returns the state to start from, and what `train_loop` is to know about the steps before it."""
    config = assembled.config
    state = init_state(before, optimizer, jax.random.fold_in(jax.random.key(config.seed), 2))
    state = replicate(state, assembled.mesh)
    stopping = EarlyStopping(metric=config.train.metric, patience=config.train.patience)
    restored = checkpoints.restore_latest(state)
    if restored is None:
        return state, {"stopping": stopping, "window": Window(), "validation_due": False}
    if scoring.is_main_process():
        for warning in restored.warnings:
            print(warning, file=sys.stderr)
        print(f"resumed   from step {restored.step}", flush=True)
    clock.resume(restored.meta.get("seconds", 0.0))
    return restored.state, {
        "stopping": stopping.restored(restored.meta["early_stopping"]),
        "window": Window(**restored.meta["window"]),
        "validation_due": restored.meta.get("validation_due", False),
    }


def _train(
    assembled: Run,
    dataset: Dataset,
    inputs: Inputs,
    *,
    before: Any,
    frozen: Any,
    clock: Clock,
    request: signals.StopRequest,
) -> LoopResult:
    config, mesh = assembled.config, assembled.mesh
    micro_batches = config.train.gradient_accumulation
    stream = make_stream(assembled, dataset, inputs)
    options = LoopOptions(num_steps=len(stream), eval_every=config.train.eval_every, log_every=config.train.log_every)
    optimizer = make_run_optimizer(config, options.num_steps)
    step = make_train_step(
        assembled.model.apply, optimizer, mesh=mesh, parallel=config.train.parallel, num_micro_batches=micro_batches
    )
    score = scoring.make_scorer(assembled, frozen, inputs, check_stop=request.check)
    validation = np.asarray(dataset.splits["validation"])
    labels = [dataset.labels[i] for i in validation]
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(make_checkpoints(config, assembled.workdir))
        state, progress = _fresh_or_restored(assembled, checkpoints, before, optimizer, clock)
        first_step, main = int(state.step), scoring.is_main_process()
        log = stack.enter_context(MetricsLog(assembled.workdir, step=first_step)) if main else None
        rows = -(-options.eval_every // options.log_every)
        display = Display(num_steps=options.num_steps, first_step=first_step, rows_a_validation=rows, enabled=main)
        stack.callback(display.close)
        return train_loop(
            state,
            frozen=replicate(frozen, mesh),
            train_step=step,
            place_batch=lambda batch: shard(batch, mesh),
            stream=stream,
            validate=lambda params: scoring.model_report(assembled, score(params, validation), labels),
            checkpoints=checkpoints,
            log=log,
            display=display,
            options=options,
            **progress,
            clock=clock,
            request=request,
            failure_directory=assembled.workdir,
        )


def restore_best(assembled: Run, before: Any) -> tuple[Any, int]:
    """Returns the best checkpoint's trainable parameters and its step; `before` gives their shapes."""
    target = init_state(before, make_run_optimizer(assembled.config, num_steps=1), jax.random.key(0))
    with make_checkpoints(assembled.config, assembled.workdir) as checkpoints:
        step = checkpoints.best_step()
        check(step is not None, "--workdir", "hold a validated checkpoint", f"{assembled.workdir}, which has none")
        assert step is not None
        state, _ = checkpoints.restore(step, replicate(target, assembled.mesh))
    return state.params, step


def write_report(
    workdir: Path, name: str, reports: dict[str, Report], *, description: dict[str, Any] | None, split: str, step: int
) -> str:
    """Writes `name`.json and `name`.txt, the text last but one; returns the text."""
    about = "".join(f"{line}\n" for line in description_lines(description)) + "\n" if description else ""
    warning = majority_warning(reports["after training"], reports["majority class"])
    text = (
        f"{about}best checkpoint (step {step}) on {split}\n\n{format_report(reports['after training'])}\n"
        f"{compare_reports(reports)}"
    )
    text += f"\nwarning   {warning}\n" if warning else ""
    content = {
        "run": description,
        "split": split,
        "step": step,
        "warnings": [warning] if warning else [],
        "reports": reports,
    }
    write_text(workdir / f"{name}.txt", text)
    # The JSON last: where it stands, the report is whole and the run is finished.
    write_text(workdir / f"{name}.json", json.dumps(content, indent=1) + "\n")
    return text


def _report(
    assembled: Run, dataset: Dataset, inputs: Inputs, *, before: Any, frozen: Any, clock: Clock, result: LoopResult
) -> None:
    why = "no better validation for a while" if result.reason == "patience" else "all steps done"
    params, step = restore_best(assembled, before)
    score = scoring.make_scorer(assembled, frozen, inputs, announce=True)
    subset = np.asarray(dataset.splits["test"])
    reports = scoring.compare(assembled, score, before=before, after=params, subset=subset, labels=dataset.labels)
    if not scoring.is_main_process():
        return
    best = result.stopping
    if best.best is not None and step != best.best_step:  # it was found damaged and set aside, now or in a run before
        print(
            f"The best checkpoint, of step {best.best_step}, is lost; this report is of the next best.",
            file=sys.stderr,
        )
    workdir, after = assembled.workdir, reports["after training"]
    assert assembled.info.description is not None
    description = assembled.info.description | {"seconds": round(clock.seconds(), 3)}
    of_run = f"{description['name']}: {dataset.name}"
    of_model = f"{assembled.config.head.name} head, seed {assembled.config.seed}"
    plot_curves(read_rows(workdir), workdir / "curves.png", title=f"{of_run}\n{of_model}", best_step=step)
    title = f"{of_run}\n{of_model}, test split, step {step}"
    plot_confusion(np.asarray(after["confusion"]), after["label_names"], workdir / "confusion.png", title=title)
    _described(assembled, description)
    text = write_report(workdir, "report", reports, description=description, split="test", step=step)
    print(f"finished  at step {int(result.state.step)}: {why}\n")
    print(text)
    print(f"written   report.json, report.txt, curves.png, confusion.png, metrics.jsonl in {workdir}")
