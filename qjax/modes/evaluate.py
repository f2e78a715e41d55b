"""`--mode=evaluate`: the best checkpoint of a workdir on a split, or on a labelled file."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from qjax.checks import check
from qjax.data import read_labelled
from qjax.modes import scoring
from qjax.modes.setup import load_data, prepare_run, read_info
from qjax.modes.train import restore_best, write_report

DATA_ENDINGS = (".tsv", ".csv", ".jsonl", ".conll", ".txt")


def run(config: ConfigDict, workdir: str | Path, split: str, input_path: str) -> int:
    """Prints the classification report and writes it as `evaluation_NAME.json` and `.txt`.

    Args:
      config: the workdir's.
      workdir: of a trained run.
      split: 'train', 'validation' or 'test'; not used with `input_path`.
      input_path: a labelled file in the format of the run's task; '' evaluates `split`.

    Returns:
      The exit status, 0.
    """
    workdir = Path(workdir)
    info = read_info(workdir)
    check(info is not None, "--workdir", "hold a trained run (run.json)", str(workdir))
    assert info is not None
    if input_path:
        dataset = read_labelled(
            input_path,
            task=config.task,
            label_names=info.label_names,
            text_column=config.data.text_column,
            label_column=config.data.label_column,
        )
        file = Path(input_path)  # of a name such as eng.testb the end matters
        split, name = input_path, f"evaluation_{file.stem if file.suffix in DATA_ENDINGS else file.name}"
        subset = np.arange(len(dataset.items))
        assembled = prepare_run(config, workdir, None)
    else:
        dataset = load_data(config)
        subset, name = np.asarray(dataset.splits[split]), f"evaluation_{split}"
        assembled = prepare_run(config, workdir, dataset)
    before, frozen = scoring.initial_params(assembled)
    params, step = restore_best(assembled, before)
    inputs = scoring.make_inputs(assembled, dataset.items, announce=False)
    score = scoring.make_scorer(assembled, frozen, inputs, announce=True)
    reports = scoring.compare(assembled, score, before=before, after=params, subset=subset, labels=dataset.labels)
    if scoring.is_main_process():
        print(write_report(workdir, name, reports, description=info.description, split=split, step=step))
        print(f"written   {name}.json and {name}.txt in {workdir}")
    return 0
