"""Which simulations of large states the native code does, pass by pass."""

from functools import lru_cache
from typing import Any

import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.engines.native.cpu.large_states import LargeOnCpu
from qjax.quantum.engines.native.cuda.large_states import LargeOnGpu
from qjax.quantum.engines.native.ir.jit import is_available
from qjax.quantum.engines.native.large_states import LargePlan
from qjax.quantum.engines.native.table.entries import large_table_of


@lru_cache(maxsize=MAX_KEPT_PLANS)
def large_plan_of(
    circuit: Circuit, batched: frozenset[str], batch: int, dtype: np.dtype[Any], platform: str, given: int = 0
) -> LargePlan | None:
    """Returns the simulation of a circuit, pass by pass; None where it can't be.

    Args:
      circuit: what to run.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      dtype: real dtype, as NumPy has it.
      platform: 'cpu' or 'cuda'.
      given: arrays that hold the first states, see `WholePlan.run`; 0 for |0...0>.
    """
    usable = is_available() and (platform == "cpu" or not given)
    table = large_table_of(circuit, batched, platform == "cuda", given) if usable else None
    kind = {"cpu": LargeOnCpu, "cuda": LargeOnGpu}[platform]
    return None if table is None else kind(table, batch, dtype)
