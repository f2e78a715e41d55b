import json
import math
import pathlib
import subprocess
import sys

import pytest
from ml_collections import ConfigDict, config_dict

from qjax import config as config_lib
from qjax import config_schema
from qjax.checks import UserError
from qjax.config import (
    apply_overrides,
    changed_keys,
    check_resumable,
    config_hash,
    from_json,
    load_config,
    read_config,
    record_reads,
    resolve_config,
    save_config,
    split_overrides,
    to_json,
)
from qjax.config_schema import flatten, unflatten, validate_config
from qjax.configs import default

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


# config_flags loads a file by a method that Python 3.15 drops; nothing here can change that
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def with_values(**values):
    """Returns the default config with 'section__key' set, past ConfigDict's own type check."""
    config = default.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in values.items()})
    return config


def write_config(tmp_path, body, name="mine.py"):
    path = tmp_path / name
    path.write_text("from qjax.configs import default\n\n\ndef get_config():\n" + body, encoding="utf-8")
    return str(path)


def resolve(workdir, *arguments, mode="train", config_path=None):
    rest, overrides = split_overrides(list(arguments))
    assert rest == []
    return resolve_config(mode=mode, workdir=workdir, config_path=config_path, overrides=overrides)


# The files of configs/.


def test_every_config_of_the_issue_is_there():
    expected = {
        "default",
        "sentiment_variational",
        "sentiment_linear",
        "sentiment_mlp",
        "ner_variational",
        "ner_linear",
        "sentiment_grover",
        "ner_grover",
    }
    assert expected | {"tiny"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_configs_load_check_and_keep_their_values(name):
    loaded = load_config(ROOT / "configs" / f"{name}.py")
    checked = validate_config(loaded)
    assert changed_keys(checked, loaded) in ([], ["data.bucket_lengths"])
    assert checked.is_locked


@pytest.mark.parametrize("name", NAMES)
def test_configs_state_their_command(name):
    text = (ROOT / "configs" / f"{name}.py").read_text(encoding="utf-8")
    assert f"configs/{name}.py" in text
    for word in ("Command:", "Time:", "Result:"):
        assert word in text


def test_mlp_has_the_size_of_the_variational_head():
    variational, mlp = (load_config(ROOT / "configs" / f"sentiment_{n}.py").head for n in ("variational", "mlp"))
    features, classes = 384, 2
    qubits = variational.num_qubits
    angles = variational.reps * qubits * len(variational.rotations)
    size = features * qubits + qubits + angles + qubits * classes + classes
    mlp_size = features * mlp.hidden_size + mlp.hidden_size + mlp.hidden_size * classes + classes
    assert abs(mlp_size - size) / size < 0.05


def test_every_default_key_has_a_comment():
    lines = (ROOT / "configs" / "default.py").read_text(encoding="utf-8").splitlines()
    bare = [line for line in lines if " = " in line and "ConfigDict()" not in line and "#" not in line]
    assert bare == []


# The schema.


def test_tables_name_keys_of_the_schema_only():
    named = set(config_schema.CHOICES) | set(config_schema.RANGES) | set(config_schema.CONDITIONS)
    named |= {other for conditions in config_schema.CONDITIONS.values() for other, _ in conditions}
    named |= {key for keys in config_lib.CHANGEABLE.values() for key in keys}
    assert named <= set(config_schema.schema())


def test_every_number_and_name_is_checked():
    free = {"data.path", "data.validation_path", "data.test_path", "data.text_column", "data.label_column"}
    free |= {"encoder.remat"}
    covered = set(config_schema.CHOICES) | set(config_schema.RANGES)
    assert set(flatten(default.get_config())) - covered == free


def test_flatten_matches_the_nested_form_and_back():
    config = default.get_config()
    flat = flatten(config)
    assert flat["seed"] == 0
    assert flat["head.rotations"] == ("ry", "rz")
    assert unflatten(flat).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"task": "sentences"},
            r"`task` must be one of .*, but got 'sentences'\. Did you mean 'sentence'\?",
        ),
        ({"head__name": "variatonal"}, r"Did you mean 'variational'\? Choices: variational, linear, mlp"),
        ({"train__num_epochs": 2.5}, r"`train.num_epochs` must be an integer, but got 2.5"),
        ({"train__num_epochs": True}, r"`train.num_epochs` must be an integer, but got True"),
        ({"encoder__remat": 1}, r"`encoder.remat` must be true or false, but got 1"),
        ({"optimizer__learning_rate": "big"}, r"`optimizer.learning_rate` must be a finite number, but got 'big'"),
        ({"optimizer__learning_rate": math.nan}, r"`optimizer.learning_rate` must be a finite number, but got nan"),
        ({"optimizer__learning_rate": math.inf}, r"`optimizer.learning_rate` must be a finite number, but got inf"),
        ({"optimizer__learning_rate": -0.1}, r"must be a rate of 0 or more, but got -0.1"),
        ({"data__path": 3}, r"`data.path` must be text, but got 3"),
        ({"head__rotations": "ry"}, r"`head.rotations` must be a tuple, but got 'ry'"),
        ({"head__rotations": ()}, r"`head.rotations` must .* not empty"),
        ({"head__rotations": ("ry", "rw")}, r"`head.rotations` must .*, but got \('ry', 'rw'\)"),
        ({"seed": -1}, r"`seed` must lie in 0..2147483647"),
        ({"data__bucket_lengths": (32, 16)}, r"`data.bucket_lengths` must be a tuple of positive integers that incr"),
        (
            {"data__bucket_lengths": (16, 32)},
            r"must reach data.max_length \(64\) at its end, or be \(\) .*, but got \(16, 32\)",
        ),
        ({"data__validation_fraction": 0.0}, r"must lie strictly between 0 and 1"),
        ({"data__validation_fraction": 0.6, "data__test_fraction": 0.4}, r"`data.test_fraction` must leave examples"),
        ({"data__max_length": 2}, r"`data.max_length` must lie in 3\.\.1048576"),
        (
            {"data__path": "a\x1b[2J", "data__source": "file"},
            r"`data.path` must hold no control characters, but got 'a",
        ),
        ({"data__path": "\udcff", "data__source": "file"}, r"`data.path` must hold no control characters"),
        (
            {"data__source": "file", "data__path": "a", "data__labels": ("x", "\n")},
            r"`data.labels` must hold no control",
        ),
        (
            {"encoder__checkpoint": "random", "encoder__random_hidden_size": 10**7},
            r"must lie in 1\.\.262144, but got 1",
        ),
        ({"head__num_qubits": 1000}, r"`head.num_qubits` must lie in 1\.\.64, but got 1000\.$"),
        ({"head__rotations": ("ry",) * 9}, r"`head.rotations` must .* at most 8"),
        ({"train__batch_size": 10**9}, r"`train.batch_size` must lie in 1\.\.1048576"),
        ({"train__num_epochs": 10**12}, r"`train.num_epochs` must lie in 1\.\.2147483647"),
        ({"data__source": "file"}, r"`data.path` must name a file with data.source 'file'"),
        ({"data__source": "file", "data__path": "a", "data__labels": ("x", "x")}, r"two distinct names"),
        ({"data__source": "file", "data__path": "a", "data__labels": ("x",)}, r"two distinct names"),
        ({"task": "entities"}, r"`task` must be 'sentence' with the data.source 'movie_reviews', but got entities"),
        (
            {"task": "entities", "data__source": "twitter_ner", "train__metric": "balanced_accuracy"},
            r"`train.metric` must be a metric of whole entities .* Choices: accuracy, f1, macro_f1, loss\.",
        ),
        ({"data__source": "twitter_ner"}, r"`task` must be 'entities' with the data.source 'twitter_ner'"),
        ({"encoder__checkpoint": ""}, r"`encoder.checkpoint` must name a checkpoint"),
        ({"encoder__regime": "full", "encoder__dropout": -0.5}, r"`encoder.dropout` must lie in \[0, 1\), or be -1"),
        ({"encoder__checkpoint": "random", "encoder__random_num_heads": 3}, r"must be a multiple of the 3 heads"),
        ({"train__gradient_accumulation": 3}, r"`train.batch_size` must be a multiple of .* \(3\), but got 64"),
        (
            {"head__name": "grover", "head__num_iterations": -1},
            r"`head.num_iterations` must lie in 0\.\.2147483647, but got -1",
        ),
        (
            {"head__name": "grover", "head__num_iterations": 13},
            r"`head.num_iterations` must be at most 12 with head.num_qubits 8: .* one state of 256, but got 13",
        ),
        ({"head__name": "grover", "head__phases": "train"}, r"Did you mean 'trainable'\? Choices: fixed, trainable"),
        (
            {"head__name": "grover", "head__num_iterations": 0, "head__phases": "trainable"},
            r"`head.phases` must be 'fixed' with head.num_iterations 0, but got 'trainable'",
        ),
        ({"head__name": "grover", "head__readout": "log_probabilities"}, r"unless `head.name` is 'variational'"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(UserError, match=message):
        validate_config(with_values(**values))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("head.hidden_size", 16, "unless `head.name` is 'mlp'"),
        ("head.num_iterations", 2, "unless `head.name` is 'grover'"),
        ("head.phases", "trainable", "unless `head.name` is 'grover'"),
        ("head.simulation", "states", "unless `head.name` is 'grover'"),
        ("encoder.random_num_layers", 3, "unless `encoder.checkpoint` is 'random'"),
        ("encoder.remat", True, "unless `encoder.regime` is 'full'"),
        ("encoder.dropout", 0.1, "unless `encoder.regime` is 'full'"),
        ("encoder.num_frozen_layers", 2, "unless `encoder.regime` is 'full'"),
        ("optimizer.encoder_learning_rate", 1e-3, "unless `encoder.regime` is 'full'"),
        ("data.path", "x.tsv", "unless `data.source` is 'file'"),
        ("data.labels", ("a", "b"), "unless `data.source` is 'file'"),
    ],
)
def test_changed_keys_that_nothing_reads_are_errors(key, value, message):
    config = with_values(**{key.replace(".", "__"): value})
    with pytest.raises(UserError, match=f"`{key}` must keep its default .*{message}, for nothing else reads it"):
        validate_config(config)
    validate_config(config, unused_ok=(key,))


@pytest.mark.parametrize("num_qubits", range(1, 13))
def test_as_many_rounds_as_find_one_state_of_the_register(num_qubits):
    theta = math.asin(2 ** (-num_qubits / 2))
    found = [math.sin((2 * k + 1) * theta) ** 2 for k in range(100)]
    first_fall = next(k for k in range(99) if found[k + 1] < found[k] + 1e-12)
    assert config_schema.max_iterations(num_qubits) == first_fall


def test_unused_names_the_finding():
    with pytest.raises(UserError, match=r"but got 4 with `head.name` 'linear'"):
        validate_config(with_values(head__name="linear", head__num_qubits=4))
    with pytest.raises(UserError, match=r"unless `head.pattern` is 'ring' or 'linear' or 'full'"):
        validate_config(with_values(head__pattern="none", head__entangler="cz"))
    with pytest.raises(UserError, match=r"`encoder.pooling` must keep its default"):
        validate_config(with_values(task="entities", data__source="twitter_ner", encoder__pooling="cls"))
    with pytest.raises(UserError, match=r"`optimizer.weight_decay` must keep its default"):
        validate_config(with_values(optimizer__name="sgd", optimizer__weight_decay=0.5))
    file = {"data__source": "file", "data__path": "a.tsv", "data__validation_path": "b.tsv"}
    with pytest.raises(UserError, match=r"`data.validation_fraction` must keep its default 0.1 unless"):
        validate_config(with_values(**file, data__validation_fraction=0.2))


@pytest.mark.parametrize("key", sorted(config_schema.CONDITIONS))
def test_a_changed_key_is_accepted_where_it_is_read(key):
    changes = {other: needed[0] for other, needed in config_schema.CONDITIONS[key]}
    value = flatten(default.get_config())[key]
    other_choice = next((c for c in config_schema.CHOICES.get(key, ()) if c != value), None)
    special = {
        "head.num_iterations": 2,
        "encoder.dropout": 0.3,
        "data.labels": ("a", "b"),
        "encoder.random_hidden_size": 64,
    }
    changed = {int: 1, bool: True, float: 0.25, tuple: ("rx",), str: "other"}[type(value)]
    changes[key] = special.get(key, other_choice or changed)
    if changes.get("data.source") == "file":
        changes.setdefault("data.path", "somewhere.tsv")
    config = validate_config(with_values(**{k.replace(".", "__"): v for k, v in changes.items()}))
    assert flatten(config)[key] == changes[key] != value


def test_unknown_and_missing_keys():
    config = default.get_config()
    config.head.num_qubit = 4
    with pytest.raises(UserError, match=r"but got head.num_qubit\. Did you mean 'head.num_qubits'\? Choices: head\."):
        validate_config(config)
    config = default.get_config()
    config.optimiser = ConfigDict({"learning_rate": 1.0})
    with pytest.raises(UserError, match=r"Did you mean 'optimizer.learning_rate'\?"):
        validate_config(config)
    config = default.get_config()
    del config.train["patience"]
    with pytest.raises(UserError, match=r"`train.patience` must be in the configuration"):
        validate_config(config)
    config = default.get_config()
    with config.ignore_type():
        config.head = 3
    with pytest.raises(UserError, match=r"`head` must be a section that holds keys, but got 3"):
        validate_config(config)


def test_integers_become_floats_and_lists_tuples():
    config = validate_config(with_values(optimizer__clip_norm=2, head__rotations=["rx"]))
    assert type(config.optimizer.clip_norm) is float
    assert config.head.rotations == ("rx",)


# Files of one's own.


def test_load_config_executes_the_file_and_resolves_references(tmp_path):
    body = "    config = default.get_config()\n    config.seed = config.get_ref('data').get()['split_seed'] + 5\n"
    config = load_config(write_config(tmp_path, body + "    return config\n"))
    assert validate_config(config).seed == 5
    reference = "    config = default.get_config()\n    config.seed = config.data.get_ref('split_seed') + 7\n"
    config = load_config(write_config(tmp_path, reference + "    return config\n", name="reference.py"))
    assert not isinstance(config._fields["seed"], config_dict.FieldReference)
    assert validate_config(config).seed == 7


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "    config = default.get_config()\n    config.train.num_epochs = 2.5\n    return config\n",
            "line 6: Type",
        ),
        ("    config = default.get_config()\n    return config.hed\n", "line 6: AttributeError.*hed"),
        ("    return default.get_config(\n", "line 5: SyntaxError"),
        ("    return open('no such file')\n", "line 5: .*no such file"),
        ("    raise RuntimeError('my reason')\n", "line 5: RuntimeError: my reason"),
        ("    import sys\n    sys.exit(0)\n", "line 6: SystemExit: 0"),
        ("    return {'seed': 0}\n", r"which returns \{'seed': 0\}"),
        ("    default.get_config()\n", "which returns None"),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_line(tmp_path, body, message):
    path = write_config(tmp_path, body)
    with pytest.raises(UserError, match=f"`--config` must name a Python file .*mine.py.*{message}") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"`--config` must name a Python file .*absent.py, which is not a file"):
        load_config(tmp_path / "absent.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=r"empty.py: AttributeError.*get_config"):
        load_config(tmp_path / "empty.py")


# Overrides.


def test_split_overrides_takes_every_form_and_leaves_the_rest():
    arguments = [
        "--workdir=w",
        "--config.head.num_qubits=6",
        "-config.seed",
        "3",
        "--config=c.py",
        "--config",
        "d.py",
    ]
    arguments += ["--config.encoder.remat", "--mode", "train", "--noconfig.encoder.remat"]
    arguments += ["--config.encoder.dropout", "-1", "--config.data.path=a=b", "--config.encoder.remat", "false"]
    rest, overrides = split_overrides(arguments)
    assert rest == ["--workdir=w", "--config=c.py", "--config", "d.py", "--mode", "train"]
    assert overrides == [
        ("head.num_qubits", "6"),
        ("seed", "3"),
        ("encoder.remat", "true"),
        ("encoder.remat", "false"),
        ("encoder.dropout", "-1"),
        ("data.path", "a=b"),
        ("encoder.remat", "false"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.head.num_qubit=3"], "Did you mean 'head.num_qubits'"),
        (["--config.train.learning_rate=3"], "Did you mean 'optimizer.learning_rate'"),
        (["--config.num_epochs=3"], "Did you mean 'train.num_epochs'"),
        (["--config.zzz=3"], "but got zzz. Choices: data.bucket_lengths, .*train.patience"),
        (["--config.head=3"], "`--config.head` must name a key .*Choices: head.dropout"),
        (["--config.seed"], "`--config.seed` must be followed by a value"),
        (["--config.data.path", "--mode=train"], "`--config.data.path` must be followed by a value"),
        (["--noconfig.seed"], "must be the negation of a true-or-false key"),
    ],
)
def test_wrong_override_keys_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        split_overrides(arguments)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("head.num_qubits", "6", 6),
        ("optimizer.learning_rate", "1e-4", 1e-4),
        ("optimizer.clip_norm", "2", 2.0),
        ("head.rotations", "('ry',)", ("ry",)),
        ("head.rotations", "ry", ("ry",)),
        ("head.rotations", "['rx', 'rz']", ("rx", "rz")),
        ("data.bucket_lengths", "32,64", (32, 64)),
        ("data.labels", "()", ()),
        ("encoder.remat", "true", True),
        ("encoder.checkpoint", "dir with space", "dir with space"),
        ("data.path", "", ""),
    ],
)
def test_override_values_get_the_type_of_their_key(key, text, value):
    config = apply_overrides(default.get_config(), [(key, "0"), (key, text)] if key == "seed" else [(key, text)])
    found = flatten(config)[key]
    assert found == value
    assert type(found) is type(value)
    assert changed_keys(config, default.get_config()) == (
        [key] if value != flatten(default.get_config())[key] else []
    )


def test_the_last_override_wins_and_the_config_itself_stays():
    config = default.get_config()
    assert apply_overrides(config, [("seed", "1"), ("seed", "2")]).seed == 2
    assert config.seed == 0


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("head.num_qubits", "six", "`--config.head.num_qubits` must be an integer, but got 'six'"),
        ("head.num_qubits", "2.5", "must be an integer, but got '2.5'"),
        ("optimizer.learning_rate", "fast", "must be a finite number, but got 'fast'"),
        ("encoder.remat", "maybe", "must be true or false, but got 'maybe'"),
        ("head.rotations", "('ry', ", "must be a tuple, but got"),
    ],
)
def test_wrong_override_values_are_named(key, text, message):
    with pytest.raises(UserError, match=message):
        apply_overrides(default.get_config(), [(key, text)])


# The saved form.


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip_is_equal_and_sorted(name):
    config = validate_config(load_config(ROOT / "configs" / f"{name}.py"))
    text = to_json(config)
    back = from_json(text)
    assert back == config
    assert isinstance(back.data.bucket_lengths, tuple)
    assert to_json(back) == text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_json_written_by_hand_may_hold_an_integer_for_a_number():
    text = to_json(validate_config(default.get_config()))
    assert text.count('"clip_norm": 1.0') == 1
    assert to_json(from_json(text.replace('"clip_norm": 1.0', '"clip_norm": 1'))) == text


def test_hash_tells_apart_what_a_resumed_training_may_not_change():
    config = validate_config(default.get_config())
    assert config_hash(validate_config(with_values(seed=1))) != config_hash(config)
    assert config_hash(validate_config(with_values(train__log_every=3))) == config_hash(config)  # may be changed


def test_save_and_read(tmp_path):
    workdir = tmp_path / "a" / "b"
    config = validate_config(default.get_config())
    save_config(config, workdir)
    save_config(config, str(workdir))
    assert read_config(workdir) == config
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    config = validate_config(default.get_config())
    save_config(config, tmp_path)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(UserError, match=r"config.json` must be writable, but got the error: No space left on device"):
        save_config(validate_config(with_values(seed=1)), tmp_path)
    assert read_config(tmp_path) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_file_in_the_way_of_the_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"`--workdir` must be a folder that can be written to"):
        save_config(default.get_config(), tmp_path / "file")
    with pytest.raises(UserError, match=r"`--workdir` must hold the config.json"):
        read_config(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"seed": 0,\n', r"must be JSON as a run writes it, but got no JSON: .*line 2"),
        (b"[1, 2]", "must be JSON as a run writes it, but got a JSON list"),
        (b'{"items": 0}', "config.json: Argument `items` must name a key"),
        (b'{"to_dict": {"lock": 0}}', "config.json: Argument `to_dict.lock` must name a key"),
        (b'{"se.ed": 0}', "must be JSON as a run writes it, but got .*se.ed"),
        (b'{"seed": 0}', r"config.json: Argument `data.bucket_lengths` must be in the configuration"),
        (b'{"sede": 0}', r"config.json: Argument `sede` .*Did you mean 'seed'"),
        (b'{"seed": NaN}', r"config.json: "),
    ],
)
def test_a_damaged_config_json_is_an_error(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_config(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_saved_config_is_never_executed(tmp_path):
    (tmp_path / "config.json").write_text("raise SystemExit('executed')\n")
    with pytest.raises(UserError, match=r"must be JSON"):
        resolve(tmp_path, mode="evaluate")


# One command's configuration.


def test_train_starts_from_default_or_the_given_file(tmp_path):
    assert resolve(tmp_path) == validate_config(default.get_config())
    tiny = resolve(tmp_path, "--config.seed=5", config_path=str(ROOT / "configs" / "tiny.py"))
    assert (tiny.seed, tiny.head.num_qubits, tiny.encoder.checkpoint) == (5, 3, "random")


def test_resumed_training_must_agree_with_the_saved_config(tmp_path):
    save_config(resolve(tmp_path), tmp_path)
    assert resolve(tmp_path, "--config.seed=1").seed == 1  # before the first checkpoint
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    assert resolve(tmp_path, "--config.train.num_devices=2", "--config.train.log_every=1").train.num_devices == 2
    message = r"train.num_epochs 3 \(saved: 10\).*"
    with pytest.raises(UserError, match=message) as caught:
        resolve(tmp_path, "--config.train.num_epochs=3", "--config.seed=1")
    assert "seed 1 (saved: 0)" in str(caught.value)
    assert "leave it out to resume that run, or take another --workdir" in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    check_resumable(resolve(tmp_path), tmp_path)
    with pytest.raises(UserError, match=message):
        check_resumable(validate_config(with_values(train__num_epochs=3)), tmp_path)
    check_resumable(validate_config(with_values(seed=3)), tmp_path / "new")


@pytest.mark.parametrize("mode", ["evaluate", "predict", "export", "explain"])
def test_later_modes_start_from_the_workdir(tmp_path, mode):
    save_config(resolve(tmp_path, config_path=str(ROOT / "configs" / "tiny.py")), tmp_path)
    assert resolve(tmp_path, mode=mode).head.num_qubits == 3
    assert resolve(tmp_path, "--config.train.num_devices=1", mode=mode).train.num_devices == 1
    same = resolve(tmp_path, "--config.head.num_qubits=3", mode=mode, config_path=str(ROOT / "configs" / "tiny.py"))
    assert same == read_config(tmp_path)
    with pytest.raises(
        UserError, match=rf"--mode={mode} may change train.num_devices, .*head.num_qubits 4 \(saved: 3"
    ):
        resolve(tmp_path, "--config.head.num_qubits=4", mode=mode)
    with pytest.raises(
        UserError, match=r"agree with the config.json .*data.max_examples 0 \(saved: 200\).* more keys"
    ):
        resolve(tmp_path, mode=mode, config_path=str(ROOT / "configs" / "default.py"))


def test_evaluate_may_name_the_columns_of_a_new_file(tmp_path):
    save_config(resolve(tmp_path), tmp_path)
    assert resolve(tmp_path, "--config.data.text_column=body", mode="evaluate").data.text_column == "body"
    with pytest.raises(UserError, match=r"`data.text_column` must keep its default"):
        resolve(tmp_path, "--config.data.text_column=body", mode="predict")


def test_training_in_a_workdir_alone_resumes_its_run(tmp_path):
    tiny = resolve(tmp_path, "--config.seed=5", config_path=str(ROOT / "configs" / "tiny.py"))
    save_config(tiny, tmp_path)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)  # from then on the folder is bound to its run
    assert resolve(tmp_path) == tiny
    assert resolve(tmp_path, "--config.train.log_every=1").train.log_every == 1
    with pytest.raises(UserError, match=r"`--config` must agree .*, but got seed 6 \(saved: 5\)\.$"):
        resolve(tmp_path, "--config.seed=6")


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [(3, (3,)), (24, (16, 24)), (64, (16, 24, 32, 48, 64)), (100, (16, 24, 32, 48, 64, 96, 100))],
)
def test_bucket_lengths_follow_max_length(tmp_path, max_length, expected):
    assert resolve(tmp_path, f"--config.data.max_length={max_length}").data.bucket_lengths == expected
    given = resolve(tmp_path, f"--config.data.max_length={max_length}", "--config.data.bucket_lengths=7,200")
    assert given.data.bucket_lengths == (7, 200)


@pytest.mark.parametrize("mode", ["train", "evaluate", "explain"])
def test_a_workdir_with_a_name_that_no_folder_can_have(tmp_path, mode):
    """The folder itself is refused where it is made, or where its config.json is read."""
    long = tmp_path / ("x" * 300)
    if mode == "train":
        assert resolve(long) == validate_config(default.get_config())
        return
    with pytest.raises(UserError, match="File name too long"):
        resolve(long, mode=mode)
    with pytest.raises(UserError, match="x, which is not a file"):
        resolve(tmp_path, config_path=str(long))


def test_later_modes_need_a_trained_workdir(tmp_path):
    with pytest.raises(UserError, match=r"`--workdir` must hold the config.json of a run of --mode=train"):
        resolve(tmp_path, mode="evaluate")
    with pytest.raises(UserError, match=r"`--mode` must be one of the choices.*Did you mean 'export'"):
        resolve(tmp_path, mode="exports")


def test_explain_needs_a_run_or_a_file(tmp_path):
    path = str(ROOT / "configs" / "tiny.py")
    for workdir in (None, "", tmp_path, tmp_path / "new"):
        assert resolve(workdir, "--config.seed=5", mode="explain", config_path=path).seed == 5
    with pytest.raises(UserError, match=r"`head.hidden_size` must keep its default"):
        resolve(None, "--config.head.hidden_size=5", mode="explain", config_path=path)
    with pytest.raises(UserError, match=r"`--workdir` must name the folder of the run, or be left out with --config"):
        resolve(None, mode="explain")
    with pytest.raises(UserError, match=r"`--workdir` must hold the config.json"):
        resolve(tmp_path, mode="explain")
    for mode in ("train", "export"):
        with pytest.raises(UserError, match=r"`--workdir` must name the folder of the run, but got nothing"):
            resolve(None, mode=mode, config_path=path)


# Recording.


def test_recorded_reads_are_exactly_the_keys_that_were_read():
    view, reads = record_reads(default.get_config())
    assert isinstance(view, ConfigDict)
    assert reads == set()
    flatten(view)
    assert reads == set()
    assert view.head.num_qubits == 8
    assert view["data"]["path"] == ""
    assert view.seed == 0
    section = view.train
    assert reads == {"head.num_qubits", "data.path", "seed"}
    assert section[["train", "num_epochs"][1]] == 10
    assert dict(**view.optimizer)["name"] == "adamw"
    assert {key for key in reads if key.startswith("optimizer")} == {
        f"optimizer.{key}" for key in default.get_config().optimizer
    }
    assert validate_config(view) == validate_config(default.get_config())


def test_config_errors_need_no_jax():
    code = "import sys; import main; assert main.main(['--config.sed=1']) == 2; assert 'jax' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("error: Argument `--config.sed` must name a key")
