"""The choice of the engine that runs a task: made here, and nowhere else."""

from qjax.quantum.engines.base import Engine, Task
from qjax.quantum.engines.native.engine import LargeStates, WholeStates
from qjax.quantum.engines.segments import Segments
from qjax.quantum.engines.xla.engine import XlaEngine

# The first that does not refuse a task runs it. The last one refuses none.
XLA = XlaEngine()
ENGINES: tuple[Engine, ...] = (WholeStates(), LargeStates(), Segments(), XLA)


def choose(task: Task) -> Engine:
    """Returns the engine that runs the task."""
    return next(engine for engine in ENGINES if not engine.refusal(task))


def refusals(task: Task) -> tuple[tuple[str, str], ...]:
    """Returns the engines that come before the one that runs the task, and why each refuses it."""
    chosen = ENGINES.index(choose(task))
    return tuple((engine.name, engine.refusal(task)) for engine in ENGINES[:chosen])
