"""Runs what a test measures by the engine that it names, whatever the simulation would choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from qjax.quantum.engines.base import Engine, Task
from qjax.quantum.engines.choose import ENGINES, XLA
from qjax.quantum.engines.simulation import Simulation

BY_NAME = {engine.name: engine for engine in ENGINES}


@dataclass(frozen=True)
class OneEngine(Simulation):
    """A simulation by one engine."""

    forced: str = ""

    def chosen(self, task: Task) -> Engine:
        return BY_NAME[self.forced] if task.platform else XLA


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Whatever is traced inside runs by the engine of that name."""

    def made(**fields: Any) -> OneEngine:
        return OneEngine(**fields, forced=name)

    with mock.patch("qjax.quantum.simulate.Simulation", made):
        yield


def by(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns function(*args) by the engine of that name; 'auto' leaves the choice to the simulation."""
    if name == "auto":
        return function(*args, **kwargs)
    with engine(name):
        return function(*args, **kwargs)


def by_xla(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns function(*args) by XLA's engine."""
    return by(XLA.name, function, *args, **kwargs)
