"""What the configuration of an algorithm may hold: the keys of `configs/algorithms/NAME.py`, and their ranges.

As for `config_schema`, the file is the schema: its keys, their types and their defaults. The key `algorithm` says
which file, and by it the configuration of an algorithm is told from that of a training run.
"""

import functools
import types
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from qjax.checks import check, check_choice
from qjax.config_schema import COUNT, QUBITS, SEED, Rule, between, checked_values, flatten, unflatten
from qjax.configs.algorithms import counting, grover, minimum, phase_estimation, shor
from qjax.untrusted import MAX_QUBITS

FILES = {
    "grover": grover,
    "shor": shor,
    "phase_estimation": phase_estimation,
    "counting": counting,
    "minimum": minimum,
}

# Keys whose value is one of a few names, whichever algorithm has them.
CHOICES: dict[str, tuple[str, ...]] = {"search": ("known", "unknown"), "simulation": ("circuit", "direct")}


def _are_states(value: tuple[Any, ...]) -> bool:
    return len(value) > 0 and any(all(type(entry) is kind for entry in value) for kind in (int, str))


def _are_numbers(value: tuple[Any, ...]) -> bool:
    return all(type(entry) in (int, float) and abs(entry) < 1e300 for entry in value)


RANGES: dict[str, Rule] = {
    "seed": SEED,
    "num_qubits": QUBITS,
    "num_precision_qubits": QUBITS,
    "marked": (_are_states, "be a tuple of basis indices, or one of bitstrings such as ('0101',), not empty"),
    "num_iterations": (lambda value: -1 <= value <= 1_000_000, "lie in 0..1000000, or be -1 for the optimal number"),
    "shots": between(1, 1_000_000),
    "number": (lambda value: 2 <= value <= 10**18, "lie in 2..10**18"),
    "num_counting_qubits": (lambda value: 0 <= value <= 128, "lie in 1..128, or be 0 for 2 ceil(log2 N)"),
    "max_attempts": COUNT,
    "phase": (lambda value: 0 <= value < 1, "lie in [0, 1)"),
    "table": (_are_numbers, "be a tuple of numbers below 1e300; () draws them at random"),
    "num_values": between(1, 2**MAX_QUBITS),
}

# Keys that are read only where another key has one value; elsewhere a changed value is an error.
CONDITIONS: dict[str, tuple[str, Any]] = {"num_iterations": ("search", "known"), "num_values": ("table", ())}


def is_algorithm(config: ConfigDict) -> bool:
    """Whether the configuration is that of an algorithm, and not of a training run."""
    return "algorithm" in config


def config_file(name: str) -> str:
    """Returns the file that holds the algorithm's keys, as one writes it after `--config=`."""
    return f"configs/algorithms/{name}.py"


def file_choices() -> list[str]:
    """Returns the configuration file of every algorithm."""
    return [config_file(name) for name in FILES]


@functools.cache
def algorithm_keys(name: str) -> Mapping[str, Any]:
    """Returns every key of an algorithm with its default value."""
    return types.MappingProxyType(flatten(FILES[name].get_config()))


def check_algorithm(config: ConfigDict) -> str:
    """Returns the name of the configuration's algorithm, or raises where there is none of that name."""
    name = config.algorithm
    check_choice("algorithm", name, FILES)
    return str(name)


def validate_algorithm(config: ConfigDict) -> ConfigDict:
    """Returns the configuration of an algorithm as a locked copy, or raises for its first mistake.

    Args:
      config: has every key of its algorithm's file and no other; lists stand for tuples, integers for floats.
    """
    name, given = check_algorithm(config), flatten(config)
    standard = algorithm_keys(name)
    values = checked_values(given, standard, config_file(name), CHOICES, RANGES)
    for key, (other, needed) in CONDITIONS.items():
        if key in values:
            is_read = values[other] == needed or values[key] == standard[key]
            expectation = f"keep its default {standard[key]!r} unless `{other}` is {needed!r}: nothing else reads it"
            check(is_read, key, expectation, f"{values[key]!r} with `{other}` {values[other]!r}")
    return unflatten(values).lock()
