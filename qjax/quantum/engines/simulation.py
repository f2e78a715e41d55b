"""A simulation under all transformations of JAX: a primitive whose rules run the engine that was chosen.

A circuit is unitary, so the reverse pass can compute the state at each step again from the one after it, in place of
keeping all of them (Jones & Gacon 2020, arXiv:2009.02823). Values and first derivatives in reverse mode are those of
the chosen engine; forward mode and higher derivatives are those of XLA's, which JAX can differentiate.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.engines.base import Engine, Task, nothing_saved, platform_here
from qjax.quantum.engines.batch_last import BatchLast
from qjax.quantum.engines.choose import XLA, choose
from qjax.quantum.engines.memory import check_bytes, fits
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.states.batch import Shapes, batch_of, batch_of_shapes, shapes_of, with_batch
from qjax.types import Array


@dataclass(frozen=True)
class Simulation(BatchLast):
    """From the operands of a `Task` to what is read from the final state.

    Attributes:
      circuit: what to run.
      readout: what is read from the final state.
      given: arrays of the first state; see `Task`.
      engine: name of the engine whose reverse pass follows; '' until `settled`.
      rows: real numbers of each example that this engine saves for it.
    """

    circuit: Circuit = field(kw_only=True)
    readout: Readout = field(kw_only=True)
    given: int = field(default=0, kw_only=True)
    engine: str = ""
    rows: int = 0

    def task(self, platform: str, shapes: Shapes, batch: int | None = None) -> Task:
        """Returns the task for operands of these shapes; `batch` where cotangents have more examples."""
        names = (*self.circuit.parameter_shapes, "inputs")
        batched = frozenset(name for name, (shape, _) in zip(names, shapes, strict=False) if shape[-1] > 1)
        dtype: Any = np.dtype(shapes[-1][1])
        return Task(
            self.circuit, self.readout, self.given, batched, max(batch_of_shapes(shapes), batch or 1), dtype, platform
        )

    def chosen(self, task: Task) -> Engine:
        """Returns the engine that runs the task; without a platform XLA's, which JAX can differentiate."""
        return choose(task) if task.platform else XLA

    def settled(self, operands: Shapes) -> "Simulation":
        if self.engine:
            return self
        task = self.task(platform_here(), operands)
        engine = self.chosen(task)
        check_bytes(engine.bytes_held(task, True), task.num_qubits, task.batch, True)
        return replace(self, engine=engine.name, rows=engine.rows_saved(task))

    def check_memory(self, operands: Shapes) -> None:
        """Raises a `UserError` where a run, with what is read, cannot be in the device's memory."""
        task = self.task(platform_here(), operands)
        if fits(task.num_qubits, task.batch, task.dtype):  # any engine; to ask the one that runs takes a while
            return
        held = self.chosen(task).bytes_held(task, False)
        check_bytes(held, task.num_qubits, task.batch, False)  # first: what is read of too large a state has no shape
        read = sum(math.prod(shape) for shape, _ in self.shapes(operands)) * task.dtype.itemsize
        check_bytes(held + read, task.num_qubits, task.batch, False)

    def run(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        task = self.task(platform, shapes_of(operands))
        return self.chosen(task).forward(task, operands, 0)[0]

    def saving(self, platform: str, *operands: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        task = self.task(platform, shapes_of(operands))
        engine = self.chosen(task)
        if engine.name == self.engine:
            results, saved = engine.forward(task, operands, self.rows)
            return results, (saved,)
        return engine.forward(task, operands, 0)[0], (jnp.zeros((self.rows, task.batch), task.dtype),)

    def pull_back(
        self,
        platform: str,
        operands: tuple[Array, ...],
        saved: tuple[Array, ...],
        cotangents: tuple[Array, ...],
        per_example: bool,
    ) -> tuple[Array, ...]:
        task = self.task(platform, shapes_of(operands), batch_of((*operands, *cotangents)))
        engine = self.chosen(task.widened(operands)[0] if per_example else task)
        kept = saved[0] if engine.name == self.engine else nothing_saved(task.batch, task.dtype)
        full = tuple(with_batch(x, task.batch) for x in cotangents)
        return engine.backward(task, operands, with_batch(kept, task.batch), full, per_example)

    def shapes(self, operands: Shapes) -> Shapes:
        batch = batch_of_shapes(operands)
        read = _shapes_read(self.readout, self.circuit.num_qubits, operands[-1][1])  # type: ignore[arg-type]
        return tuple(((*shape[:-1], batch), dtype) for shape, dtype in read)

    def saved_shapes(self, operands: Shapes) -> Shapes:
        return (((self.rows, batch_of_shapes(operands)), operands[-1][1]),)


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _shapes_read(readout: Readout, num_qubits: int, dtype: Any) -> Shapes:
    """Returns shape and dtype of what is read from one state of this real dtype."""
    state = jax.ShapeDtypeStruct((2**num_qubits, 1), np.result_type(dtype, np.complex64))  # type: ignore[no-untyped-call]
    return shapes_of(jax.eval_shape(lambda x: readout(x), state))
