"""Trained runs that the tests of the modes share; each is made once a session."""

import shutil

import pytest
from interrupted import compilation_cache
from running import tiny


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A folder of compiled programs, which nearly all of a tiny run's time would go into making anew."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(compiled):
    with compilation_cache(compiled):
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory, compiled):
    """The workdir of a finished run of configs/tiny.py."""
    workdir = tmp_path_factory.mktemp("tiny")
    with compilation_cache(compiled):
        assert tiny(workdir) == 0
    return workdir


@pytest.fixture
def unreported(trained, tmp_path):
    """A copy of the finished run, as a kill before the report leaves it."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "report.json").unlink()
    return copy


@pytest.fixture(scope="session")
def trained_grover(tmp_path_factory, compiled):
    """The workdir of a finished run of configs/tiny.py with the Grover head, its phases trained."""
    workdir = tmp_path_factory.mktemp("grover")
    changes = {"head.name": "grover", "head.num_iterations": 2, "head.phases": "trainable", "data.max_examples": 40}
    with compilation_cache(compiled):
        assert tiny(workdir, *(f"--config.{key}={value}" for key, value in changes.items())) == 0
    return workdir


@pytest.fixture(scope="session")
def trained_entities(tmp_path_factory, compiled):
    """The workdir of a finished tiny run on entities, its encoder trained in part."""
    workdir = tmp_path_factory.mktemp("entities")
    conll = workdir / "data.conll"
    sentence = "Ada B-person\nLovelace I-person\nlives O\nin O\nLondon B-place\n. O\n\n"
    other = "Rain O\nfell O\non O\nParis B-place\ntoday O\n\n"
    conll.write_text("".join(f"Nr{i} O\n{sentence}Nr{i} O\n{other}" for i in range(30)), encoding="utf-8")
    with compilation_cache(compiled):
        status = tiny(
            workdir / "run",
            "--config.task=entities",
            "--config.data.source=file",
            f"--config.data.path={conll}",
            "--config.data.max_examples=0",
            "--config.encoder.regime=full",
            "--config.encoder.num_frozen_layers=1",
            "--config.optimizer.encoder_learning_rate=0.01",
            "--config.optimizer.learning_rate=0.03",
            "--config.optimizer.circuit_learning_rate=0.03",
            "--config.train.metric=f1",
            "--config.train.num_epochs=6",
            "--config.train.gradient_accumulation=2",
        )
    assert status == 0
    return workdir / "run"
