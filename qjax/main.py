"""Trains, evaluates, predicts with, exports or explains one model; or runs a quantum algorithm.

usage: python main.py --config=configs/NAME.py --workdir=DIR [--mode=MODE] [--config.SECTION.KEY=VALUE ...]
       qjax           --config=NAME            --workdir=DIR ...    where qjax is installed; does the same

--mode=train      the default: train, or resume what DIR holds (which --workdir=DIR alone does), and report on test
--mode=evaluate   report on --split=train, validation or test (default test), or on a labelled file, --input=FILE
--mode=predict    one JSON line for each line of --input=FILE or of standard input
--mode=export     the trained circuit for Qiskit and OpenQASM, checked against Aer; --input=FILE gives its texts
--mode=explain    what the head's circuit compiles to and costs, counted; of --config, --workdir or both
--mode=algorithm  --config=configs/algorithms/NAME.py against theory; --workdir saves it, and can be exported
--config defaults to DIR/config.json; for a new run to configs/default.py, which explains every key.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from absl import flags

from qjax import signals
from qjax.checks import UserError, check, check_choice, fail
from qjax.config import MODES, resolve_config, split_overrides
from qjax.installation import check_alone

SPLITS = ("train", "validation", "test")
READ_BY = {"split": ("evaluate",), "input": ("evaluate", "predict", "export")}  # all modes read the other flags


def define_flags() -> flags.FlagValues:
    """Returns the flags of the command line, a set of its own so that no library's flags are among them."""
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.DEFINE_string("config", None, "file of the configuration", values)
    flags.DEFINE_string("workdir", None, "folder of the run", values)
    flags.DEFINE_string("mode", "train", "what to do", values)
    flags.DEFINE_string("split", None, "split to evaluate", values)
    flags.DEFINE_string("input", None, "file of examples", values)
    flags.DEFINE_boolean("help", False, "show the usage", values, short_name="h")
    return values


def parse_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns flag -> value, refusing unknown flags, stray words and flags that the mode does not read."""
    values = define_flags()
    try:
        stray = values(["main.py", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        known = [f"--{name}" for name in values if name != "h"]
        fail("command line", "hold known flags only", f"--{error.flagname}", [*known, "--config.KEY"])
    except flags.Error as error:
        fail("command line", "give every flag its value", str(error))
    check(not stray, "command line", "hold flags only, --name=value", " ".join(map(repr, stray)))
    given = values.flag_values_dict()
    if given["help"]:
        return given
    check_choice("--mode", given["mode"], MODES)
    for name, modes in READ_BY.items():
        is_read = given[name] is None or given["mode"] in modes
        check(is_read, f"--{name}", f"be left out unless --mode is {' or '.join(modes)}", given["mode"])
    if given["input"] is not None:
        check(given["split"] is None, "--split", "be left out with --input", given["split"])
        is_file = os.path.exists(given["input"]) and not os.path.isdir(given["input"])
        is_stream = given["mode"] == "predict" and given["input"] == "-"
        check(is_file or is_stream, "--input", "name a file", repr(given["input"]))
    given["split"] = "test" if given["split"] is None else given["split"]
    check_choice("--split", given["split"], SPLITS)
    return given


def run(arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` ask for and returns its exit status."""
    check_alone()
    rest, overrides = split_overrides(arguments)
    given = parse_flags(rest)
    if given["help"]:
        print((__doc__ or "").strip())
        return 0
    mode, workdir = given["mode"], given["workdir"] or None
    if mode == "train":
        signals.set_resumable()
    config = resolve_config(mode=mode, workdir=workdir, config_path=given["config"], overrides=overrides)
    options = {"input_path": given["input"] or ""} if mode in READ_BY["input"] else {}
    options |= {"split": given["split"]} if mode == "evaluate" else {}
    # JAX, loaded only below so that mistakes show at once, would else multiply float32 on a GPU in TF32 (10 bits).
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    with import_module("qjax.modes.cluster").joined():
        return int(import_module(f"qjax.modes.{mode}").run(config=config, workdir=workdir, **options))


def main(arguments: Sequence[str]) -> int:
    """Like `run`, with a person's mistakes as one line on standard error and status 2; and ended by signals."""
    for stream in (sys.stdout, sys.stderr):  # a name of a file may hold what the terminal's encoding does not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with signals.caught():
        try:
            return run(arguments)
        except UserError as error:
            return signals.end(f"error: {error}", 2)


def command() -> int:
    """The console command `qjax`: `main` with the arguments of the process."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
