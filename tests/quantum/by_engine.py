"""Runs what a test measures by the engine that it names, whatever the simulation would choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from qjax.quantum.engines.base import platform_here
from qjax.quantum.engines.choose import ENGINES, XLA
from qjax.quantum.engines.simulation import Simulation
from qjax.quantum.states.batch import batch_of, shapes_of

BY_NAME = {engine.name: engine for engine in ENGINES}


@dataclass(frozen=True)
class OneEngine(Simulation):
    """A simulation by one engine."""

    forced: str = ""

    def settled(self, operands: Any) -> Simulation:
        rows = BY_NAME[self.forced].rows_saved(self.task(platform_here(), operands))
        return self if self.engine else replace(self, engine=self.forced, rows=rows)

    def natively(self, platform: str, *operands: Any) -> Any:
        return BY_NAME[self.forced].forward(self.task(platform, shapes_of(operands)), operands, 0)[0]

    def saving_natively(self, platform: str, *operands: Any) -> Any:
        return self._saving(BY_NAME[self.forced], self.task(platform, shapes_of(operands)), operands)

    def pull_back_natively(self, platform: str, operands: Any, saved: Any, cotangents: Any, per_example: bool) -> Any:
        task = self.task(platform, shapes_of(operands), batch_of((*operands, *cotangents)))
        return self._pull_back(BY_NAME[self.forced], task, operands, saved, cotangents, per_example)


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
