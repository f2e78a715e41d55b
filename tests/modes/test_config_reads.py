"""Every key of configs/default.py is read by some run: a key that nothing reads would be a promise not kept."""

from pathlib import Path

import pytest
from running import tiny

from qjax import main as command
from qjax.config import record_reads, save_config
from qjax.config_schema import CONDITIONS, flatten, unflatten
from qjax.configs import default
from qjax.modes import train

TEXTS = "text\tlabel\n" + "".join(f"a fine film of {i}\tgood\na bad one of {i}\tpoor\n" for i in range(20))
WORDS = "".join(f"Ada B-person\nsaw O\nnumber O\n{i} O\n\n" for i in range(20))
# one bucket, so that little is compiled
FEW = ("--config.data.bucket_lengths=(24,)", "--config.train.num_epochs=1", "--config.data.max_examples=40")

# configs/tiny.py shrinks the variational head, which the others' keys may not do
USUAL_HEAD = [f"--config.head.{key}={default.get_config().head[key]}" for key in ("num_qubits", "reps")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Name of a run -> its configuration, flat, and the keys that its training read."""
    folder = tmp_path_factory.mktemp("reads")
    (folder / "texts.tsv").write_text(TEXTS)
    (folder / "words.conll").write_text(WORDS)
    texts = ("--config.data.source=file", f"--config.data.path={folder / 'texts.tsv'}")
    words = ("--config.task=entities", "--config.data.source=file", f"--config.data.path={folder / 'words.conll'}")
    arguments = {
        "variational": (),
        "grover": ("--config.head.name=grover", "--config.head.phases=trainable", *texts),
        "mlp": ("--config.head.name=mlp", *USUAL_HEAD, *texts),
        "full": ("--config.head.name=linear", *USUAL_HEAD, *words, "--config.encoder.regime=full"),
    }
    recorded = {}
    resolve = command.resolve_config

    def recording(**options):
        config = resolve(**options)
        view, reads = record_reads(config)
        recorded[Path(options["workdir"]).name] = flatten(config), reads
        return view

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "resolve_config", recording)
        # writing config.json reads every key, and is not what is meant
        patch.setattr(train, "save_config", lambda view, workdir: save_config(unflatten(flatten(view)), workdir))
        for name, given in arguments.items():
            assert tiny(folder / name, *FEW, *given) == 0
    return recorded


def test_every_key_of_default_is_read(runs):
    assert set().union(*(reads for _, reads in runs.values())) == set(flatten(default.get_config()))


@pytest.mark.parametrize("name", ["variational", "grover", "mlp", "full"])
def test_a_run_reads_every_key_that_it_lets_a_person_change(name, runs):
    config, reads = runs[name]
    changeable = {key for key in config if all(config[other] in needed for other, needed in CONDITIONS.get(key, ()))}
    assert changeable <= reads


def test_the_record_is_not_of_everything(runs):
    assert {name for name, (_, reads) in runs.items() if "head.hidden_size" in reads} == {"mlp"}
    assert {name for name, (_, reads) in runs.items() if "head.readout" in reads} == {"variational"}
    assert {name for name, (_, reads) in runs.items() if "head.num_iterations" in reads} == {"grover"}
    assert {name for name, (_, reads) in runs.items() if "encoder.remat" in reads} == {"full"}
