"""Simulations as functions with a reverse pass of their own, exact and in O(2**n) memory.

A circuit is unitary, so the reverse pass can compute the state at each step again from the one after it, instead of
keeping all of them (Jones & Gacon 2020, arXiv:2009.02823). Keeping them is faster where they fit: see
`saves_states`. Both ways use the same steps; either composes with jit, vmap, scan, shard_map and further derivatives
(`batch_last.py`).
"""

import sys
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.compile.compiler import Blocks, compile_circuit
from qjax.quantum.engines.batch_last import BatchLast, Shapes, batch_of, shapes_of, with_batch
from qjax.quantum.engines.choices import (
    MAX_KEPT_PLANS,
    block_qubits,
    chunk_size,
    is_wide,
    large_pays,
    native_keeps,
    native_pays,
    native_platform,
    one_matrix_pays,
)
from qjax.quantum.engines.memory import check_bytes
from qjax.quantum.engines.native.large import large_of
from qjax.quantum.engines.native.large_states import Large
from qjax.quantum.engines.native.table.coefficients import coefficients
from qjax.quantum.engines.native.table.entries import table_of
from qjax.quantum.engines.native.whole_states import Native, native_of
from qjax.quantum.engines.readouts import ExpectationReadout, Readout, is_linear
from qjax.quantum.engines.xla.chunks import batch_of_tree, in_chunks
from qjax.quantum.engines.xla.costs import check_memory, part_size, settle
from qjax.quantum.engines.xla.loop_step import run, run_back, run_saving
from qjax.quantum.engines.xla.plan import Plan, make_plan
from qjax.quantum.engines.xla.planes import from_complex, to_complex
from qjax.quantum.engines.xla.steps import GatherStep
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.barriers import barrier, stored
from qjax.types import Array

REVERSE_PASSES = ("auto", "store", "recompute", "rerun")


@dataclass(frozen=True)
class Simulation(BatchLast):
    """From parameters and inputs to what is read from the final state.

    Operands: the parameters in the order of `circuit.parameter_shapes`, each `[*shape, 1 or batch]`; the inputs
    `[num_inputs, 1 or batch]`; and, with `given`, real and imaginary parts of the first state, `[2**n, 1 or batch]`,
    or the real part alone.

    Attributes:
      circuit: what to run.
      readout: what is read from the final state.
      given: planes of the first state: 0 where the run starts from |0...0>, 1 where it is real, 2 where complex.
      reverse_pass: whether the reverse pass keeps the states ('store'), computes them again from the last one
        ('recompute'), or runs the circuit anew, a part of the batch at a time ('rerun'); 'auto' until `settled`.
      batching: for which operands with a batch, and for which number of examples, the plan is made; None until
        `settled`, when it is made for those at hand.
      native: whether the reverse pass is that of the native code, where the simulation runs on a CPU; False until
        `settled`.
    """

    circuit: Circuit = field(kw_only=True)
    readout: Readout = field(kw_only=True)
    given: int = field(default=0, kw_only=True)
    reverse_pass: str = "auto"
    batching: tuple[frozenset[str], int] | None = None
    native: bool = False

    def __call__(self, *operands: Array) -> tuple[Array, ...]:
        plan = self._plan(operands)
        begin = self._begin(plan, operands)
        batch = batch_of(operands)

        def forward(begin: Any) -> tuple[Array, ...]:
            first, tensors = begin
            return self._read(plan, run(plan.steps, self._first(plan, first), tensors), batch_of_tree(begin))

        chunk = self._chunk(plan, begin) if self.reverse_pass in ("auto", "rerun") else 0
        if not chunk:
            return self._full(forward(begin), batch)
        return self._full(in_chunks(lambda part: (forward(part), ()), begin, batch, chunk)[0], batch)

    def settled(self, operands: Shapes) -> "Simulation":
        if self.batching is not None:
            return self
        batch = max((shape[-1] for shape, _ in operands), default=1)
        platform = native_platform()
        if platform is not None and self.native_form(platform, operands) is not None:
            return replace(self, reverse_pass="rerun", native=True, batching=(self._batched(operands), batch))
        fixed = replace(self, batching=(self._batched(operands), batch))
        large = self.large_form(platform, operands) if platform is not None else None
        if large is not None:
            check_bytes(large.bytes_held(True), large.num_qubits, batch, True)
            return replace(fixed, reverse_pass="recompute", native=True)
        plan, dtype = fixed._plan(operands), operands[-1][1]
        reverse_pass = settle(plan, batch, dtype, self.reverse_pass)
        check_memory(plan, batch, dtype, True, reverse_pass)
        return replace(fixed, reverse_pass=reverse_pass)

    def examples_at_once(self, operands: Shapes) -> int:
        """Returns of how many examples a run has the states in the memory at once."""
        batch = max((shape[-1] for shape, _ in operands), default=1)
        if self.given or not isinstance(self.readout, ExpectationReadout):
            return batch
        platform = native_platform()
        if platform is not None and self.native_form(platform, operands) is not None:
            # As many as a thread has, or a multiprocessor; but for strings of I and Z alone it hands all states over.
            return 1 if self.readout.folds else batch
        if platform is not None and self.large_form(platform, operands) is not None:
            return batch
        return part_size(self.circuit.num_qubits, batch, self.reverse_pass)  # type: ignore[arg-type]

    def natively(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        native = self.any_native_form(platform, shapes_of(operands))
        if native is None:
            return self(*operands)
        if isinstance(native, Large):
            return self._run_large(native, operands, False)[0]
        return native.run(*coefficients(native.table.level, self._values(operands)))[0]

    def saving_natively(self, platform: str, *operands: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        native = self.any_native_form(platform, shapes_of(operands)) if self.native else None
        if native is None:
            return self.saving(*operands)
        if isinstance(native, Large):
            found, final = self._run_large(native, operands, True)
            assert final is not None
            return found, (final,)
        keep = self._rows_kept(shapes_of(operands)) > 0
        results, kept = native.run(*coefficients(native.table.level, self._values(operands)), keep)
        return results, (kept,)

    def pull_back_natively(
        self,
        platform: str,
        operands: tuple[Array, ...],
        saved: tuple[Array, ...],
        cotangents: tuple[Array, ...],
        per_example: bool,
    ) -> tuple[Array, ...]:
        batch = batch_of((*operands, *cotangents))
        wide = tuple(with_batch(x, batch) for x in operands) if per_example else operands
        native = self.any_native_form(platform, shapes_of(wide), batch) if self.native else None
        if native is None:
            return self.pull_back(operands, saved, cotangents, per_example)
        if isinstance(native, Large):
            return self._pull_back_large(native, wide, with_batch(saved[0], batch), cotangents)
        numbers, pull = jax.vjp(lambda *xs: coefficients(native.table.level, self._values(xs)), *wide)
        return tuple(pull(native.pull_back(*numbers, saved[0], cotangents)))

    def _run_large(
        self, large: Large, operands: tuple[Array, ...], keep: bool
    ) -> tuple[tuple[Array, ...], Array | None]:
        values = self._values(operands)
        made = large.begin(values), *coefficients(large.table.level, values)
        return large.run_and_read(self.readout, *made, keep)

    def _pull_back_large(
        self, large: Large, operands: tuple[Array, ...], final: Array, cotangents: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        def numbers(*operands: Array) -> Any:
            values = self._values(operands)
            return large.begin(values), coefficients(large.table.level, values)

        (tensors, made), pull = jax.vjp(numbers, *operands)
        known = tuple(with_batch(x, large.batch) for x in cotangents)
        first, *sums = large.pull_back_read(self.readout, final, known, *made)
        return tuple(pull((large.pull_back_first(tensors, first), tuple(sums))))

    def saving(self, *operands: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        if self.native:  # XLA's own code does not need what the native code keeps
            return self(*operands), tuple(jnp.zeros(*shape) for shape in self.saved_shapes(shapes_of(operands)))
        if self.reverse_pass == "rerun":
            return self(*operands), ()
        plan, batch = self._plan(operands), batch_of(operands)
        first, tensors = self._begin(plan, operands)
        saved: Any = ()
        if self.reverse_pass == "store":
            final, saved = run_saving(plan.steps, self._first(plan, first), tensors)
        else:
            final = run(plan.steps, self._first(plan, first), tensors)
        return self._full(self._read(plan, final, batch), batch), tuple(jax.tree.leaves((final, saved)))

    def pull_back(
        self, operands: tuple[Array, ...], saved: tuple[Array, ...], cotangents: tuple[Array, ...], per_example: bool
    ) -> tuple[Array, ...]:
        plan = self._plan(operands)
        begin, batch = self._begin(plan, operands), batch_of((*operands, *cotangents))
        wide = operands
        if per_example:  # then nothing is shared, and what each example's cotangent is pulled to is its own
            wide = tuple(with_batch(x, batch) for x in operands)
            cotangents = tuple(with_batch(x, batch) for x in cotangents)
        tensors, pull = jax.vjp(lambda *xs: self._begin(plan, xs), *wide)
        chunk = self._chunk(plan, begin)
        if chunk and self.reverse_pass == "rerun":
            own = jax.tree.map(lambda x: per_example or x.shape[-1] > 1, begin)
            one = lambda part: _sort_out(self._back(plan, part[0], part[1], (), per_example), own)  # noqa: E731
            found = _put_together(in_chunks(one, (begin, cotangents), batch, chunk), own)
        else:
            found = self._back(plan, begin, cotangents, saved, per_example)
        return tuple(pull(jax.tree.map(_fit, found, tensors)))

    def _back(self, plan: Plan, begin: Any, cotangents: Any, saved: Any, per_example: bool) -> Any:
        """Returns the cotangents of the first state's tensors and of all others, for some of the examples."""
        first, tensors = begin
        state = self._first(plan, first)
        states: Any = None
        if self.reverse_pass == "rerun":
            final, states = run_saving(plan.steps, state, tensors)
        elif self.reverse_pass == "store":
            like = jax.eval_shape(lambda s, t: run_saving(plan.steps, s, t), state, tensors)
            final, states = jax.tree.unflatten(jax.tree.structure(like), saved)
        else:  # what the native code has saved is not in the plan's order
            final = run(plan.steps, state, tensors) if self.native else saved[0]
        batch = batch_of_tree((begin, cotangents))
        amplitudes = with_batch(final, batch) if per_example else final
        cotangent = barrier(jax.vjp(lambda x: self._read(plan, x, batch), amplitudes)[1](cotangents)[0])
        _, cotangent, slopes = run_back(plan.steps, final, cotangent, tensors, states, per_example)
        if per_example:
            first = jax.tree.map(lambda x: with_batch(x, batch), first)
            cotangent = with_batch(cotangent, batch)
        elif cotangent.shape != state.shape:  # the first state is shared
            cotangent = cotangent.sum(axis=-1, keepdims=True)
        return self._pull_back_first(plan, first, cotangent), slopes

    def any_native_form(self, platform: str, shapes: Shapes, batch: int | None = None) -> Native | Large | None:
        """Returns the simulation by native code: of whole states where that can be, else pass by pass."""
        return self.native_form(platform, shapes, batch) or self.large_form(platform, shapes, batch)

    def native_form(self, platform: str, shapes: Shapes, batch: int | None = None) -> Native | None:
        """Returns the simulation by the native code of a platform, where it can be and, unless settled, pays."""
        if self.given or self.reverse_pass not in ("auto", "rerun"):
            return None
        batch = max(shape[-1] for shape, _ in shapes) if batch is None else batch
        if not self.native and not native_pays(platform, self.circuit.num_qubits, batch):
            return None
        batched, dtype = self._batched(shapes), jnp.dtype(shapes[-1][1])
        found = native_of(self.circuit, self.readout, batched, batch, dtype, platform)  # type: ignore[arg-type]
        settled = self.native and platform == "cpu"
        return found if found is not None and (settled or found.pays) else None

    def large_form(self, platform: str, shapes: Shapes, batch: int | None = None) -> Large | None:
        """Returns the simulation of large states by the native code of a platform, where it can be."""
        possible = not self.given and self.reverse_pass in ("auto", "recompute")
        batch = max(shape[-1] for shape, _ in shapes) if batch is None else batch
        if not possible or not large_pays(platform, self.circuit.num_qubits, batch):
            return None
        batched, dtype = self._batched(shapes), jnp.dtype(shapes[-1][1])
        found = large_of(self.circuit, batched, batch, dtype, platform)  # type: ignore[arg-type]
        return found if found is not None and found.pays else None

    def shapes(self, operands: Shapes) -> Shapes:
        batch = max((shape[-1] for shape, _ in operands), default=1)
        read = _shapes_read(self.readout, self.circuit.num_qubits, operands[-1][1])  # type: ignore[arg-type]
        return tuple(((*shape[:-1], batch), dtype) for shape, dtype in read)

    def saved_shapes(self, operands: Shapes) -> Shapes:
        if self.native:
            batch = max((shape[-1] for shape, _ in operands), default=1)
            return (((self._rows_kept(operands), batch), operands[-1][1]),)
        return () if self.reverse_pass == "rerun" else super().saved_shapes(operands)

    def _rows_kept(self, operands: Shapes) -> int:
        """Returns how many rows of the final states the native code keeps for the reverse pass."""
        table = table_of(self.circuit, self._batched(operands))
        assert self.batching is not None
        if table is None:
            return 0
        facts = self.circuit.num_qubits, self.batching[1], operands[-1][1], table.work
        return table.num_kept if self.reverse_pass == "recompute" or native_keeps(*facts) else 0

    # What is run. -------------------------------------------------------------------------------------------

    def _values(self, operands: tuple[Array, ...]) -> Values:
        names = tuple(self.circuit.parameter_shapes)
        params = dict(zip(names, operands[: len(names)], strict=True))
        return Values(params, operands[len(names)], operands[len(names)].dtype)

    def _plan(self, operands: Any) -> Plan:
        """Returns the plan for operands, arrays or their shapes."""
        if self.batching is not None:
            return plan_of(self.circuit, self.given, *self.batching, self.readout.folds)
        return plan_of(
            self.circuit, self.given, self._batched(shapes_of(operands)), batch_of(operands), self.readout.folds
        )

    def _batched(self, operands: Shapes) -> frozenset[str]:
        """Returns the names of the parameters that differ between examples, and 'inputs' where these do."""
        names = (*self.circuit.parameter_shapes, "inputs")
        return frozenset(name for name, (shape, _) in zip(names, operands, strict=False) if shape[-1] > 1)

    def _begin(self, plan: Plan, operands: tuple[Array, ...]) -> tuple[Any, Any]:
        """Returns what the first state is made of, and the tensors of the steps."""
        values = self._values(operands)
        first = operands[len(operands) - self.given :] if self.given else plan.start_tensors(values)
        return first, plan.tensors(values)

    def _chunk(self, plan: Plan, begin: Any) -> int:
        """Returns how many examples are run at once, 0 for all of them."""
        return chunk_size(plan.num_qubits, batch_of_tree(begin))

    def _first(self, plan: Plan, parts: Any) -> Array:
        """Returns the first state."""
        if not self.given:
            return plan.prepare(parts)
        return from_complex(parts[0] if self.given == 1 else jax.lax.complex(*parts), plan.before)

    def _pull_back_first(self, plan: Plan, parts: Any, cotangent: Array) -> Any:
        """Returns the cotangent of what the first state is made of."""
        if not self.given:
            return plan.pull_back_start(parts, cotangent)
        return jax.vjp(lambda x: self._first(plan, x), parts)[1](cotangent)[0]

    def _read(self, plan: Plan, final: Array, batch: int) -> tuple[Array, ...]:
        readout = self.readout.before(plan.dropped) if plan.dropped else self.readout
        return tuple(with_batch(x, batch) for x in readout(to_complex(final, plan.after)))

    def _full(self, results: tuple[Array, ...], batch: int) -> tuple[Array, ...]:
        """Returns the results with the whole batch.

        Values are stored: XLA would make their turning a part of the product that sums, which is slow then.
        """
        wide = tuple(with_batch(x, batch) for x in results)
        return tuple(map(stored, wide)) if isinstance(self.readout, ExpectationReadout) else wide


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _shapes_read(readout: Readout, num_qubits: int, dtype: Any) -> Shapes:
    """Returns shape and dtype of what is read from one state of this real dtype."""
    state = jax.ShapeDtypeStruct((2**num_qubits, 1), np.result_type(dtype, np.complex64))  # type: ignore[no-untyped-call]
    return shapes_of(jax.eval_shape(lambda x: readout(x), state))


def _fit(cotangent: Array, tensor: Array) -> Array:
    """Returns the cotangent in the shape of its tensor; one for each example of a constant goes nowhere."""
    return cotangent if cotangent.shape == tensor.shape else cotangent[..., :1]


def _sort_out(found: Any, own: Any) -> tuple[Any, Any]:
    """Splits cotangents into those that each example has and those that are added up over the chunks."""
    return (
        jax.tree.map(lambda ct, keep: ct if keep else ct[..., :0], found, own),
        jax.tree.map(lambda ct, keep: ct[..., :0] if keep else ct, found, own),
    )


def _put_together(parts: tuple[Any, Any], own: Any) -> Any:
    """Undoes `_sort_out`."""
    return jax.tree.map(lambda each, added, keep: each if keep else added, *parts, own)


@lru_cache(maxsize=MAX_KEPT_PLANS)
def plan_of(circuit: Circuit, given: int, batched: frozenset[str], batch: int, folds: bool = False) -> Plan:
    """Returns the plan of a circuit for a batch.

    Args:
      circuit: see `Simulation`, as for `given`.
      given: likewise.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      folds: whether a linear permutation at the end is left to the readout.
    """
    n = circuit.num_qubits
    blocks = Blocks(
        block_qubits(n, batch),
        batched,
        take_permutations=False,
        across_layers=is_wide(n, batch),
        num_all=n,
        joined=batch if one_matrix_pays(n, batch, sys.maxsize) else 0,  # for however many stages there are
    )
    plan = make_plan(compile_circuit(circuit, given == 0, blocks), real_start=given == 1)
    last = plan.steps[-1] if plan.steps else None
    if not folds or not isinstance(last, GatherStep) or not is_linear(last.operations):
        return plan
    rest = {"steps": plan.steps[:-1], "sources": plan.sources[:-1]}
    return replace(plan, after=last.before, dropped=last.operations, **rest)  # type: ignore[arg-type]
