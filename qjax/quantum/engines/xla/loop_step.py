"""Sequences of steps, run forwards and backwards, and the loop that repeats one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from qjax.quantum.engines.xla.passes import Pass, is_shared, passes_of, pull_pass, run_pass
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.search_loop import is_search, repeat_search
from qjax.quantum.engines.xla.steps import Step, Tensors
from qjax.quantum.states.batch import with_batch
from qjax.types import Array

# Of each step: None, a state, or what a loop has saved.
Saved = tuple[Any, ...]


def run(steps: Sequence[Step], state: Array, tensors: Sequence[Tensors]) -> Array:
    """Returns the state after all steps."""
    for one in passes_of(tuple(steps)):
        here, own = steps[one.first : one.end], tensors[one.first : one.end]
        if one.is_blocked and is_shared(state, own):
            state = run_pass(here, one, state, own)
            continue
        for step, mine in zip(here, own, strict=True):
            state = step.apply(state, mine)
    return state


def run_saving(steps: Sequence[Step], state: Array, tensors: Sequence[Tensors]) -> tuple[Array, Saved]:
    """Returns the state after all steps, and what `run_back` asks for: the state after each pass with tensors."""
    saved: list[Any] = [None] * len(steps)
    for one in passes_of(tuple(steps)):
        here, own = steps[one.first : one.end], tensors[one.first : one.end]
        if isinstance(here[0], LoopStep):
            state, saved[one.first] = here[0].apply_saving(state, own[0])
            continue
        state = run(here, state, own)
        saved[one.end - 1] = state if any(own) else None
    return state, tuple(saved)


def run_back(
    steps: Sequence[Step],
    after: Array | None,
    cotangent: Array,
    tensors: Sequence[Tensors],
    saved: Saved | None,
    per_example: bool,
) -> tuple[Array | None, Array, tuple[Tensors, ...]]:
    """Takes state and cotangent back through all steps.

    Args:
      steps: what was run.
      after: the state after them, from which the earlier ones are computed again; not read where they were saved.
      cotangent: of that state.
      tensors: of each step.
      saved: the states of `run_saving`, or None.
      per_example: see `Step.cotangents`.

    Returns:
      The state before all steps (None where the states were saved), its cotangent, and those of the tensors.
    """
    found: list[Tensors] = []
    for one in reversed(passes_of(tuple(steps))):
        here, own = steps[one.first : one.end], tensors[one.first : one.end]
        state = after if saved is None else saved[one.end - 1]
        if isinstance(here[0], LoopStep):
            kept = None if saved is None else state
            after, cotangent, slopes = here[0].back(after, cotangent, own[0], kept, saved is not None, per_example)
            found.append(slopes)
            continue
        state, cotangent, more = _pass_back(here, one, state, cotangent, own, per_example)
        found.extend(reversed(more))
        after = state if saved is None else None
    return after, cotangent, tuple(reversed(found))


def _pass_back(
    steps: Sequence[Step],
    one: Pass,
    state: Array | None,
    cotangent: Array,
    tensors: Sequence[Tensors],
    per_example: bool,
) -> tuple[Array | None, Array, tuple[Tensors, ...]]:
    """Returns state and cotangent before a pass, and the cotangents of its tensors; no state where none is known."""
    if one.is_blocked and not per_example and is_shared(cotangent, tensors):
        if state is None:  # then none of its steps has tensors
            return None, run_pass(steps, one, cotangent, tensors, back=True), ((),) * len(steps)
        if is_shared(state, tensors):
            return pull_pass(steps, one, state, cotangent, tensors)
    found: list[Tensors] = []
    for step, own in zip(reversed(steps), reversed(tensors), strict=True):
        found.append(step.cotangents(cast(Array, state), cotangent, own, per_example) if own else ())
        cotangent = step.undo(cotangent, own)
        state = None if state is None else step.undo(state, own)
    return state, cotangent, tuple(reversed(found))


@dataclass(frozen=True, eq=False)
class LoopStep:
    """Steps repeated by `lax.scan`; tensors: those of the steps, stacked where each repetition has its own.

    Attributes:
      before: layout of the state, before and after each repetition.
      after: the same.
      body: the steps.
      reps: number of repetitions.
      reverse: whether the last slice of the tensors comes first.
      sliced: whether each repetition has tensors of its own.
    """

    before: Layout
    after: Layout
    body: tuple[Step, ...]
    reps: int
    reverse: bool
    sliced: bool

    def _scan(self, function: Any, carry: Any, tensors: Tensors, more: Any, backwards: bool) -> Any:
        """Scans function(carry, tensors of the step, more of the step) -> (carry, result).

        A single state `[rows, 1]` is carried as `[rows]`: XLA would copy it from one order of its axes to the other.
        """
        own = tensors if self.sliced else None
        like = carry

        def flat(x: Array) -> Array:
            return x.reshape(-1) if x.ndim == 2 and x.shape[1] == 1 else x

        def step(carry: Any, slices: Any) -> Any:
            inner, rest = slices
            carry = jax.tree.map(lambda x, first: x.reshape(first.shape), carry, like)
            carry, result = function(carry, inner if self.sliced else tensors, rest)
            return jax.tree.map(flat, carry), result

        start = jax.tree.map(flat, carry)
        carry, results = lax.scan(step, start, (own, more), length=self.reps, reverse=self.reverse != backwards)
        return jax.tree.map(lambda x, first: x.reshape(first.shape), carry, like), results

    def _widen(self, state: Array, tensors: Tensors, *others: Array) -> Array:
        """The carry of a scan has the full batch from the start."""
        sizes = [x.shape[-1] for x in (state, *jax.tree.leaves(tensors), *others)]
        return with_batch(state, max(sizes))

    def apply(self, state: Array, tensors: Tensors) -> Array:
        if is_search(self.body):
            return repeat_search(self.body, self.reps, state, back=False)
        state = self._widen(state, tensors)
        return cast(Array, self._scan(lambda s, t, _: (run(self.body, s, t), None), state, tensors, None, False)[0])

    def undo(self, state: Array, tensors: Tensors) -> Array:
        if is_search(self.body):
            return repeat_search(self.body, self.reps, state, back=True)

        def back(state: Array, inner: Tensors, _: None) -> tuple[Array, None]:
            for step, own in zip(reversed(self.body), reversed(inner), strict=True):
                state = step.undo(state, own)
            return state, None

        return cast(Array, self._scan(back, self._widen(state, tensors), tensors, None, True)[0])

    def apply_saving(self, state: Array, tensors: Tensors) -> tuple[Array, Any]:
        """Returns the state after all repetitions, and what each has saved, stacked."""
        if is_search(self.body):
            return self.apply(state, tensors), None
        state = self._widen(state, tensors)
        final, saved = self._scan(lambda s, t, _: run_saving(self.body, s, t), state, tensors, None, False)
        return final, saved

    def back(
        self, after: Array | None, cotangent: Array, tensors: Tensors, saved: Any, stored: bool, per_example: bool
    ) -> tuple[Array | None, Array, Tensors]:
        """See `run_back`."""
        if is_search(self.body):
            before = None if after is None else self.undo(after, tensors)
            return before, self.undo(cotangent, tensors), tensors
        cotangent = self._widen(cotangent, tensors)
        if after is not None:
            after = self._widen(after, tensors)
        totals = None if self.sliced else self._zeros(tensors, cotangent.shape[-1], per_example)

        def step(carry: Any, inner: Tensors, kept: Any) -> Any:
            state, ct, totals = carry
            state, ct, slopes = run_back(self.body, state, ct, inner, kept if stored else None, per_example)
            if self.sliced:
                return (state, ct, None), slopes
            return (state, ct, jax.tree.map(jnp.add, totals, slopes)), None

        start = (None if stored else after, cotangent, totals)
        (state, cotangent, totals), slopes = self._scan(step, start, tensors, saved, True)
        return state, cotangent, slopes if self.sliced else totals

    def _zeros(self, tensors: Tensors, batch: int, per_example: bool) -> Tensors:
        def zeros(tensor: Array) -> Array:
            return jnp.zeros((*tensor.shape[:-1], batch if per_example else tensor.shape[-1]), tensor.dtype)

        return cast(Tensors, jax.tree.map(zeros, tensors))

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        return self.back(after, cotangent, tensors, None, False, per_example)[2]
