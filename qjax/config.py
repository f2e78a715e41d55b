"""Configurations: loading, overriding, and their JSON form; with the two schemas, every config error is made here.

A file given by `--config` is Python and is executed; a saved `config.json` is data and never is.
"""

import copy
import hashlib
import itertools
import json
import os
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from qjax.algorithm_schema import (
    FILES,
    algorithm_keys,
    check_algorithm,
    config_file,
    file_choices,
    is_algorithm,
    validate_algorithm,
)
from qjax.checks import UserError, check, check_choice, fail
from qjax.config_schema import TYPE_WORDS, check_key, flatten, schema, validate_config
from qjax.configs import default
from qjax.configs.algorithms import shor
from qjax.files import check_no_links, make_folder, write_text
from qjax.untrusted import parse_json

# The folders of the configurations that come with qjax.
SHIPPED = (Path(str(default.__file__)).parent, Path(str(shor.__file__)).parent)

MODES = ("train", "evaluate", "predict", "export", "explain", "algorithm")
CONFIG_FILE = "config.json"
_CONFIG_JSON = "JSON as a run writes it"
_MAX_DIFFERENCES = 5  # that one error lists

# What may differ from a workdir's config.json. A resumed training may change where it runs and how often it logs;
# later modes may change where they run and where the files lie. All else is what the model is. A moved checkpoint is
# still the same one: prepare_run compares its sha256 with the run's.
MACHINE_KEYS = ("train.num_devices", "train.parallel", "encoder.checkpoint")
DATA_FILE_KEYS = ("data.path", "data.validation_path", "data.test_path", "data.text_column", "data.label_column")
CHANGEABLE: dict[str, tuple[str, ...]] = {
    "train": (*MACHINE_KEYS, "train.log_every", "train.keep_best"),
    "evaluate": (*MACHINE_KEYS, "train.batch_size", *DATA_FILE_KEYS),
    "predict": (*MACHINE_KEYS, "train.batch_size"),
    "export": (*MACHINE_KEYS, "train.batch_size", *DATA_FILE_KEYS),
    "explain": (*MACHINE_KEYS, "train.batch_size", "train.gradient_accumulation"),
}
# The modes that take the configuration of an algorithm; they may change nothing of a saved one.
ALGORITHM_MODES = ("algorithm", "export")


def find_config(path: str | Path) -> Path:
    """Returns the file of `path`, which may also be the name of a configuration of qjax, such as 'sentiment_mlp'."""
    if not os.path.isfile(path) and Path(path).name == str(path):
        shipped = [folder / f"{path}.py" for folder in SHIPPED]
        return next((file for file in shipped if os.path.isfile(file)), Path(path))
    return Path(path)


def load_config(path: str | Path) -> ConfigDict:
    """Executes the file that `path` names and returns what its `get_config()` returns, unchecked.

    Raises:
      UserError: there is no such file, or it fails; then with its line and its own message.
    """
    expectation = "name a Python file whose get_config() returns a ConfigDict, or a configuration of qjax"
    path = find_config(path)
    if not os.path.isfile(path) and path.name == str(path) and not path.suffix:
        fail("--config", expectation, str(path), sorted(f.stem for d in SHIPPED for f in d.glob("[!_]*.py")))
    check(os.path.isfile(path), "--config", expectation, f"{path}, which is not a file")
    flag_values = flags.FlagValues()  # type: ignore[no-untyped-call]
    argv = ["main.py", f"--config={path}"]
    config_flags.DEFINE_config_file("config", flag_values=flag_values, sys_argv=argv, lock_config=False)
    sys.modules.pop("config_config", None)  # where config_flags leaves a file's names for the next one to inherit
    try:
        flag_values(argv)
        config: Any = flag_values["config"].value
        getattr(config, "lock", None)  # raises the OSError that config_flags keeps back until the config is used
    except (Exception, SystemExit) as error:  # whatever the code in the file raises is the writer's mistake to mend
        fail("--config", expectation, _describe_failure(error, str(path)))
    check(isinstance(config, ConfigDict), "--config", expectation, f"{path}, which returns {config!r}")
    return config.copy_and_resolve_references()


def _describe_failure(error: BaseException, path: str) -> str:
    """Returns 'FILE, line N: TypeError: ...' for what was raised while the file was executed."""
    reason = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, flags.Error):  # config_flags puts the file's own traceback into the message
        reason = str(error).strip().splitlines()[-1]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else None
    cause: BaseException | None = error
    while cause is not None and line is None:
        frames = traceback.extract_tb(cause.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)
        cause = cause.__cause__ or cause.__context__
    return f"{path}, line {line}: {reason}" if line else f"{path}: {reason}"


def apply_overrides(config: ConfigDict, overrides: Sequence[tuple[str, str]]) -> ConfigDict:
    """Returns a copy of `config` with each (key, text) of `overrides` parsed to the key's type, later ones last."""
    config = copy.deepcopy(config)
    keys, file = schema(), "configs/default.py"
    if is_algorithm(config):
        name = check_algorithm(config)
        keys, file = algorithm_keys(name), config_file(name)
    for key, text in overrides:
        check_key(f"--config.{key}", key, keys, file)
        advice = "be left out: give the algorithm's own file as --config"
        check(key != "algorithm", f"--config.{key}", advice, text, file_choices())
        argv = ["main.py", f"--config.{key}={text}"]
        flag_values = flags.FlagValues()  # type: ignore[no-untyped-call]
        try:
            config_flags.DEFINE_config_dict(
                "config", config, flag_values=flag_values, sys_argv=argv, lock_config=False
            )
            flag_values(argv)
        except (flags.Error, ValueError, TypeError):
            fail(f"--config.{key}", f"be {TYPE_WORDS[type(keys[key])]}", repr(text))
        config = flag_values["config"].value
    return config


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Takes `--config.key=value`, `--config.key value`, `--config.flag` and `--noconfig.flag` out of `argv`.

    Returns:
      the arguments that are left, and (key, text) for each override, in order.
    """
    rest: list[str] = []
    overrides: list[tuple[str, str]] = []
    waiting = list(argv)
    # The keys that count are those of the configuration's own schema, which `apply_overrides` asks.
    known = {**schema(), **{key: value for name in FILES for key, value in algorithm_keys(name).items()}}
    any_key = _asks_for_algorithm(argv)
    while waiting:
        argument = waiting.pop(0)
        name, has_value, text = argument.lstrip("-").partition("=")
        prefix, _, key = name.partition(".")
        if not (argument.startswith("-") and prefix in ("config", "noconfig") and key):
            rest.append(argument)
            continue
        if key not in known and not any_key:
            check_key(f"--{name}", key)
        is_flag = isinstance(known.get(key), bool)
        if prefix == "noconfig":
            check(is_flag and not has_value, f"--{name}", "be the negation of a true-or-false key", argument)
            text = "false"
        elif not has_value and is_flag and not (waiting and waiting[0].lower() in ("true", "false")):
            text = "true"
        elif not has_value:
            check(bool(waiting) and not waiting[0].startswith("--"), f"--{name}", "be followed by a value", "none")
            text = waiting.pop(0)
        overrides.append((key, text))
    return rest, overrides


def _asks_for_algorithm(argv: Sequence[str]) -> bool:
    flags_given = [argument.lstrip("-") for argument in argv]
    return "mode=algorithm" in flags_given or ("mode", "algorithm") in itertools.pairwise(flags_given)


def validate(config: ConfigDict, *, unused_ok: Collection[str] = ()) -> ConfigDict:
    """Returns the configuration of a training run or of an algorithm, checked by its schema and locked."""
    return validate_algorithm(config) if is_algorithm(config) else validate_config(config, unused_ok=unused_ok)


def to_json(config: ConfigDict) -> str:
    """Returns `config` as JSON, keys sorted; tuples become lists, which `from_json` turns back."""
    return json.dumps(config.to_dict(), sort_keys=True, indent=2, allow_nan=False) + "\n"


def from_json(text: str | bytes, *, name: str = CONFIG_FILE) -> ConfigDict:
    """Returns the checked config that `to_json` wrote as `text`; `name` is the file named in errors."""
    values = parse_json(text, name, _CONFIG_JSON)
    try:
        return validate(ConfigDict(values))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except (ValueError, KeyError, RecursionError) as error:  # ConfigDict refuses some keys, and such depths
        fail(name, f"be {_CONFIG_JSON}", str(error))


def config_hash(config: ConfigDict) -> str:
    """Returns the sha256, in hexadecimal, of all keys but those that a resumed training may change."""
    bound = {key: value for key, value in flatten(config).items() if key not in CHANGEABLE["train"]}
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def save_config(config: ConfigDict, workdir: str | Path) -> None:
    """Writes `config.json` into `workdir`, made if need be; a reader sees the old file or the new one, whole."""
    make_folder(workdir, argument="--workdir")
    write_text(Path(workdir, CONFIG_FILE), to_json(config))


def read_config(workdir: str | Path) -> ConfigDict:
    """Returns the config that `save_config` left in `workdir`, read as data and checked."""
    path = Path(workdir, CONFIG_FILE)
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        fail("--workdir", f"hold the {CONFIG_FILE} of a run of --mode=train", f"{workdir}, which has none")
    except OSError as error:
        fail(str(path), "be a file that can be read", error.strerror or str(error))
    return from_json(text, name=str(path))


def changed_keys(config: ConfigDict, other: ConfigDict) -> list[str]:
    """Returns the keys whose values differ, sorted."""
    left, right = flatten(config), flatten(other)
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def resolve_config(
    *, mode: str, workdir: str | Path | None, config_path: str | None, overrides: Sequence[tuple[str, str]]
) -> ConfigDict:
    """Returns the checked configuration of one command.

    All modes start from the workdir's config.json; where `config_path` is given too, it must say the same but for the
    keys of `CHANGEABLE[mode]`. In a workdir without one, training starts from `config_path` (None:
    `configs/default.py`). To explain a configuration no run is needed: `config_path` may come without a workdir, or
    with one that holds no run.

    Args:
      mode: one of `MODES`.
      workdir: folder of the run; None only for 'explain' with a `config_path`.
      config_path: the file given by `--config`, or None.
      overrides: (key, text) pairs of `split_overrides`.

    Raises:
      UserError: the configuration is wrong or not that of the workdir; or the workdir holds links.
    """
    check_choice("--mode", mode, MODES)
    if workdir:
        check_no_links(workdir)
    if mode == "algorithm":
        return _resolve_algorithm(workdir, config_path, overrides)
    if mode == "explain" and config_path is not None and not holds_run(workdir):
        return validate_config(apply_overrides(_checked_kind(load_config(config_path), mode), overrides))
    if not workdir:
        if config_path is not None and os.path.isfile(find_config(config_path)):
            _checked_kind(load_config(config_path), mode)  # a forgotten --mode=algorithm, which needs no workdir
        also = ", or be left out with --config" if mode == "explain" else ""
        fail("--workdir", f"name the folder of the run{also}", "nothing")
    starts_anew = mode == "train" and (config_path is not None or not holds_run(workdir))
    saved = None if starts_anew else _checked_kind(read_config(workdir), mode)
    base = default.get_config() if saved is None else saved
    if config_path is not None:
        base = _checked_kind(load_config(config_path), mode)
    # evaluate --input reads the column names whatever the run's own source was
    unused_ok = () if mode == "train" else CHANGEABLE[mode]
    config = validate(apply_overrides(base, overrides), unused_ok=unused_ok)
    if mode == "train":
        check_resumable(config, workdir)
    else:
        assert saved is not None
        _refuse_changes(config, saved, mode=mode, workdir=workdir)
    return config


def _checked_kind(config: ConfigDict, mode: str) -> ConfigDict:
    """Returns the configuration, refusing that of an algorithm in a mode that cannot use it."""
    if is_algorithm(config) and mode not in ALGORITHM_MODES:
        fail("--mode", f"be {' or '.join(ALGORITHM_MODES)} for the algorithm '{check_algorithm(config)}'", mode)
    return config


def _resolve_algorithm(
    workdir: str | Path | None, config_path: str | None, overrides: Sequence[tuple[str, str]]
) -> ConfigDict:
    """Returns the configuration of `--mode=algorithm`: of the file, or of the run that the workdir holds."""
    saved = read_config(workdir) if workdir and holds_run(workdir) else None
    base = saved if config_path is None else load_config(config_path)
    expectation = "name the configuration of an algorithm with --mode=algorithm"
    check(base is not None, "--config", expectation, "nothing", file_choices())
    assert base is not None
    source = config_path or f"{workdir}, which holds a training run"
    check(is_algorithm(base), "--config", expectation, source, file_choices())
    config = validate(apply_overrides(base, overrides))
    if saved is not None and workdir:
        _refuse_changes(config, saved, mode="algorithm", workdir=workdir)
    elif workdir and os.path.isdir(workdir):
        others = sorted(name for name in os.listdir(workdir) if not name.startswith("."))
        expectation = "be new or empty, or hold a run of --mode=algorithm"
        check(not others, "--workdir", expectation, f"{workdir}, which holds {'; '.join(others[:1])}")
    return config


def holds_run(workdir: str | Path | None) -> bool:
    """Whether the folder holds the configuration of a run; False where there is no such folder, or no name of one."""
    return bool(workdir) and os.path.exists(Path(workdir or "", CONFIG_FILE))


def is_bound(workdir: str | Path) -> bool:
    """Whether the training run in `workdir` has come to its first checkpoint, or to its report.

    From then on the folder belongs to this run. Before, nothing in it is worth keeping: any training may start anew
    there, with another configuration too.
    """
    steps = (path.name for path in Path(workdir, "checkpoints").glob("*"))
    return any(map(str.isdecimal, steps)) or os.path.exists(Path(workdir, "report.json"))


def check_resumable(config: ConfigDict, workdir: str | Path) -> None:
    """Raises, listing the keys, if `workdir` holds a run whose config.json differs where training may not change."""
    if holds_run(workdir):
        saved = read_config(workdir)
        if is_algorithm(saved) or is_bound(workdir):
            _refuse_changes(config, saved, mode="train", workdir=workdir)


def _refuse_changes(config: ConfigDict, saved: ConfigDict, *, mode: str, workdir: str | Path) -> None:
    """Raises if `config` differs from `saved` in more than `mode` may change."""
    new, old = flatten(config), flatten(saved)
    wanted, found = (_kind_of_run(values) for values in (new, old))
    check(wanted == found, "--workdir", f"hold nothing or {wanted}", f"{workdir}, which holds {found}")
    changeable = () if is_algorithm(config) else CHANGEABLE[mode]
    refused = [key for key in changed_keys(config, saved) if key not in changeable]
    if refused:
        differences = ", ".join(f"{key} {new[key]!r} (saved: {old[key]!r})" for key in refused[:_MAX_DIFFERENCES])
        more = len(refused) - _MAX_DIFFERENCES
        differences += f" and {more} more keys" if more > 0 else ""
        if is_algorithm(config):
            expectation = f"agree with the {CONFIG_FILE} in {workdir}; take another --workdir for another run"
            fail("--config", expectation, differences)
        advice = "; leave it out to resume that run, or take another --workdir" if mode == "train" else ""
        may = f"--mode={mode} may change {', '.join(CHANGEABLE[mode])}"
        fail("--config", f"agree with the {CONFIG_FILE} in {workdir}{advice} ({may})", differences)


def _kind_of_run(values: Mapping[str, Any]) -> str:
    return f"a run of {values['algorithm']}" if "algorithm" in values else "a training run"


class _RecordedConfig(ConfigDict):  # type: ignore[misc]
    """A config that notes in a shared set which of its keys were read."""

    def __init__(self, config: ConfigDict, *, reads: set[str], prefix: str = "") -> None:
        object.__setattr__(self, "_reads", reads)
        object.__setattr__(self, "_prefix", prefix)
        super().__init__()
        for name, value in config.items():
            is_section = isinstance(value, ConfigDict)
            self[name] = _RecordedConfig(value, reads=reads, prefix=f"{name}.") if is_section else value

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if not isinstance(value, ConfigDict):
            self._reads.add(self._prefix + key)
        return value


def record_reads(config: ConfigDict) -> tuple[ConfigDict, set[str]]:
    """Returns a view of `config`, and the set that fills with the keys read through the view."""
    reads: set[str] = set()
    return _RecordedConfig(config, reads=reads), reads
