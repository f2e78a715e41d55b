"""Grover's search by reflections, in real arithmetic, on the full state.

One iteration changes the sign of the marked amplitudes and reflects all of them about their mean (Grover 1996,
arXiv:quant-ph/9605043; Boyer, Brassard, Hoyer and Tapp 1996, arXiv:quant-ph/9605034, section 3). From the even
superposition all amplitudes stay real, so a state is `[2**n]` real numbers.

The loop carries the state after the oracle. An iteration then takes 2 / N of the sum of all amplitudes from each
marked one, and each other one from that. In `search` the sum is taken from the state once for `_FUSED` iterations:
from it and the sum of the marked amplitudes follow those after each of them. So the state is read once for the sum,
and read and written once, in place, for that many updates of every amplitude, one after the other. That is 0.2 passes
an iteration, a pass being one read and one write of the state. `search_unknown`, whose runs are short, takes the sum
in each: 1.6 passes.

Rounding. The sum is pairwise: a running sum of equal float32 numbers is off to the same side in many iterations,
which adds up, to 6e-5 of the norm after 800 iterations on 10 qubits. What is left is the rounding of the amplitudes,
below 1e-5 of the norm then, from which the results are freed: they are divided by it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.algorithms.marking import Marked, marked_mask
from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.engines.memory import device_bytes
from qjax.quantum.measure.samples import sample_indices
from qjax.types import Array, Bool, Float, Key

# Iterations that one pass over the state does. With 8 an iteration on 20 qubits takes 0.3 of the time of 1, with 16
# another tenth less.
_FUSED = 8
# Amplitudes that are updated between two calls of a search's `on_progress`: a fraction of a second on a CPU core.
_WORK_AT_ONCE = 2**31
# Rows that are added up in one go by the pairwise sum: as many streams as a core reads well.
_ROWS = 32
# Measurements at the full bound, all failed, after which an unknown search gives up.
GIVE_UP_AFTER = 32


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search gives.

    Attributes:
      state: the final amplitudes `[2**n]`, real; those of all marked states are equal.
      success_probabilities: of measuring a marked state after 0, 1, ... iterations, `[num_iterations + 1]`.
      answers: basis index of each shot.
      num_iterations: as many queries of the oracle.
      num_marked: number of marked states.
    """

    state: Float[Array, " states"]
    success_probabilities: Float[Array, " iterations"]
    answers: tuple[int, ...]
    num_iterations: int
    num_marked: int


@dataclass(frozen=True)
class UnknownSearchResult:
    """What a search gives that does not know how many states are marked.

    Attributes:
      answer: basis index of a marked state, or None where none was found.
      iterations: of each run of Grover's search, in order; one measurement and one check of its outcome follow each.
    """

    answer: int | None
    iterations: tuple[int, ...]

    @property
    def num_queries(self) -> int:
        """Queries of the oracle: one an iteration, and one for each check of a measured state."""
        return sum(self.iterations) + len(self.iterations)


def optimal_iterations(num_qubits: int, num_marked: int) -> int:
    """Returns the number of iterations that takes the success probability to its first maximum.

    With sin(theta) = sqrt(num_marked / 2**n), k iterations succeed with probability sin^2((2k + 1) theta), so that
    k = floor(pi / (4 theta)) is nearest to the maximum (Boyer et al. 1996, section 3). With half of the states marked
    or more it is 0: the first iteration would not help.

    Raises:
      UserError: `num_marked` is not in 1..2**n.

    >>> optimal_iterations(20, 1)
    804
    """
    theta = _angle(num_qubits, num_marked, at_least=1)
    return 0 if 2 * num_marked >= 2**num_qubits else math.floor(math.pi / (4 * theta))


def success_probability_after(num_qubits: int, num_marked: int, num_iterations: int) -> float:
    """Returns sin^2((2k + 1) theta), the probability of success after k iterations, in closed form.

    Args:
      num_qubits: n.
      num_marked: number of marked states, in 0..2**n; sin(theta) = sqrt(num_marked / 2**n).
      num_iterations: k.

    Raises:
      UserError: a number is out of range.

    >>> success_probability_after(2, 1, 1)
    1.0
    """
    count = as_index("num_iterations", num_iterations)
    return math.sin((2 * count + 1) * _angle(num_qubits, num_marked, at_least=0)) ** 2


def search_bytes(num_qubits: int) -> int:
    """Returns how much memory a search takes at its peak, at most: two states and the mask, in bytes.

    >>> search_bytes(20)
    9437184
    """
    return (2 * jnp.dtype(jnp.result_type(float)).itemsize + 1) * 2 ** as_index("num_qubits", num_qubits)


def search(
    num_qubits: int,
    marked: Marked,
    num_iterations: int | None = None,
    *,
    key: Key[Array, ""] | None = None,
    shots: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> SearchResult:
    """Searches for marked states, starting from the even superposition of all.

    The compiled program is a loop: its size does not depend on the number of iterations.

    Args:
      num_qubits: n.
      marked: which states; see `marked_mask`.
      num_iterations: None for the optimal number, for which the marked states are counted.
      key: typed random key, for shots.
      shots: how often to measure the final state.
      on_progress: called now and then with the number of iterations that were done since the last call.

    Raises:
      UserError: `marked` is wrong, nothing is marked and `num_iterations` is None, shots are asked for without a key,
        or the search does not fit into memory.

    >>> search(3, [5]).num_iterations
    2
    """
    check_search_fits(num_qubits)
    check(as_index("shots", shots) == 0 or key is not None, "key", f"be given for {shots} shots", key)
    mask = marked_mask(num_qubits, marked)
    num_marked = int(jnp.count_nonzero(mask))
    iterations = optimal_iterations(num_qubits, num_marked) if num_iterations is None else num_iterations
    iterations = as_index("num_iterations", iterations)
    amplitudes, probabilities = _search(mask, num_marked, iterations, on_progress)
    answers = [] if key is None or shots == 0 else sample_indices(key, amplitudes, shots, jnp.square).tolist()
    return SearchResult(amplitudes, probabilities, tuple(answers), iterations, num_marked)


def search_unknown(
    num_qubits: int, marked: Marked, key: Key[Array, ""], *, growth: float = 6 / 5, max_queries: int | None = None
) -> UnknownSearchResult:
    """Searches without knowing how many states are marked (Boyer et al. 1996, section 4).

    With a bound m, 1 at first: run a number of iterations drawn evenly from the integers in [0, m), measure, and ask
    the oracle about the outcome. If it is not marked, m grows by the factor `growth`, up to sqrt(2**n). With t of N
    states marked, t at most 3N/4, the expected number of iterations is at most 9/2 N / (2 sqrt((N - t) t)), below
    9/2 sqrt(N / t) for `growth` 6/5 (theorem 3).

    At the full bound each measurement succeeds with probability at least 1/4 if anything is marked (lemma 2). The
    search gives up after `GIVE_UP_AFTER` that failed, 32: it misses what is marked with a probability of at most
    (3/4)**32 = 1e-4, and where nothing is marked it takes about 16 sqrt(N) queries for these and 3 sqrt(N) before.

    Args:
      num_qubits: n.
      marked: which states, possibly none; see `marked_mask`.
      key: typed random key.
      growth: above 1 and below 4/3, beyond which the expectation has no such bound; 8/7 and 6/5 are usual.
      max_queries: if given, the search gives up only before a run that would take more queries than this in all.

    Raises:
      UserError: `marked`, `growth` or `max_queries` is wrong, or the search does not fit into memory.
    """
    check(bool(1 < growth < 4 / 3), "growth", "be above 1 and below 4/3", growth)
    limit = math.inf if max_queries is None else as_index("max_queries", max_queries)
    check_search_fits(num_qubits)
    mask = marked_mask(num_qubits, marked)
    full, bound = math.sqrt(2**num_qubits), 1.0
    iterations: list[int] = []
    queries = failures = 0
    while limit < math.inf or failures < GIVE_UP_AFTER:
        key, draw, measurement = jax.random.split(key, 3)
        count = int(jax.random.randint(draw, (), 0, math.ceil(bound)))
        queries += count + 1
        if queries > limit:
            break
        outcome, found = _attempt(measurement, mask, count)
        iterations.append(count)
        if found:
            return UnknownSearchResult(int(outcome), tuple(iterations))
        failures += bound == full
        bound = min(bound * growth, full)
    return UnknownSearchResult(None, tuple(iterations))


def check_search_fits(num_qubits: int) -> None:
    """Raises a `UserError` where a search cannot be in the device's memory."""
    needed, available = search_bytes(num_qubits), device_bytes()
    if needed > available:
        largest = max((available // search_bytes(0)).bit_length() - 1, 0)
        expectation = f"be at most {largest} on this device, which has {available:,} bytes of memory"
        fail("num_qubits", expectation, f"{num_qubits} qubits, for which a search needs {needed:,} bytes")


def after_oracle(mask: Bool[Array, " states"]) -> Float[Array, " states"]:
    """Returns the even superposition after one oracle: what the loop starts from."""
    amplitude = jnp.full((), mask.shape[0] ** -0.5, jnp.result_type(float))
    return jnp.where(mask, -amplitude, amplitude)


def reflect(flipped: Float[Array, " states"], mask: Bool[Array, " states"]) -> Float[Array, " states"]:
    """Returns the state after the oracle one iteration on: reflected about its mean, and through the oracle again."""
    return _reflected(flipped, mask, pairwise_sum(flipped) * (2 / flipped.shape[0]))


def _reflected(flipped: Array, mask: Array, doubled_mean: Array) -> Array:
    return jnp.where(mask, flipped - doubled_mean, doubled_mean - flipped)


def pairwise_sum(values: Float[Array, " states"]) -> Float[Array, ""]:
    """Returns the sum of `[2**n]` numbers, added in pairs: the rounding error grows with n, not with 2**n."""
    while values.shape[0] > 2:
        rows = list(values.reshape(min(_ROWS, values.shape[0] // 2), -1))
        while len(rows) > 1:
            rows = [first + second for first, second in zip(rows[::2], rows[1::2], strict=True)]
        values = lax.optimization_barrier(rows[0])
    # The last pair as a reduction: XLA would take an addition into the update, and do it anew for each amplitude.
    return values.sum()


def _search(
    mask: Array, num_marked: int, num_iterations: int, on_progress: Callable[[int], None] | None
) -> tuple[Array, Array]:
    """Returns the final state and the success probabilities, in as many calls as are reported."""
    at_once = num_iterations
    if on_progress is not None:
        at_once = max(_WORK_AT_ONCE // mask.shape[0] // _FUSED, 1) * _FUSED
    flipped = after_oracle(mask)
    counts = jnp.asarray([float(num_marked), float(mask.shape[0] - num_marked)], flipped.dtype)
    start = np.full(2, mask.shape[0] ** -0.5, flipped.dtype)
    last, parts = jnp.asarray(start * [-1, 1], flipped.dtype), [start[None]]
    for done in range(0, num_iterations, max(at_once, 1)):
        count = min(at_once, num_iterations - done)
        flipped, last, pairs = _iterate(flipped, last, mask, counts, num_iterations=count)
        parts.append(np.asarray(pairs))
        if on_progress is not None:
            on_progress(count)
    return _normalised(flipped, mask, np.concatenate(parts), counts)


@partial(jax.jit, static_argnames="num_iterations", donate_argnums=0)
def _iterate(
    flipped: Array, last: Array, mask: Array, counts: Array, num_iterations: int
) -> tuple[Array, Array, Float[Array, "iterations 2"]]:
    """Returns the state after the oracle some iterations on, and after each a marked amplitude and another one.

    These need no pass: all marked amplitudes are equal, bit for bit, since they start equal and have the same done to
    them, and so are all others. So one of each, `last`, is updated beside the state. Where all states or none are
    marked, the one of those that are not there is any number. `counts` are the numbers of marked and other states.
    """

    def iterations(carry: tuple[Array, Array], count: int) -> tuple[tuple[Array, Array], Array]:
        state, pair = carry
        marked = counts[0] * pair[0]
        unmarked = pairwise_sum(state) - marked
        taken, pairs = [], []
        for _ in range(count):
            taken.append((marked + unmarked) * (2 / mask.shape[0]))
            marked, unmarked = marked - counts[0] * taken[-1], counts[1] * taken[-1] - unmarked
            pair = jnp.stack([pair[0] - taken[-1], taken[-1] - pair[1]])
            pairs.append(pair)
        for doubled_mean in lax.optimization_barrier(taken):
            state = _reflected(state, mask, doubled_mean)
        return (lax.optimization_barrier(state), pair), jnp.stack(pairs)

    carry, pairs = lax.scan(
        lambda carry, _: iterations(carry, _FUSED), (flipped, last), None, length=num_iterations // _FUSED
    )
    pairs = pairs.reshape(-1, 2)
    if num_iterations % _FUSED:
        carry, more = iterations(carry, num_iterations % _FUSED)
        pairs = jnp.concatenate([pairs, more])
    return *carry, pairs


@partial(jax.jit, donate_argnums=0)
def _normalised(flipped: Array, mask: Array, pairs: Array, counts: Array) -> tuple[Array, Array]:
    """Returns the final state and the success probabilities, from the pairs of `_iterate`."""
    weights = pairs**2 * counts[None]
    norms = weights.sum(axis=1)
    return jnp.where(mask, -flipped, flipped) / jnp.sqrt(norms[-1]), weights[:, 0] / norms


@jax.jit
def _attempt(key: Array, mask: Array, num_iterations: Array) -> tuple[Array, Array]:
    """Returns the basis index that is measured after some iterations, and whether it is marked."""
    flipped = lax.fori_loop(0, num_iterations, lambda _, state: reflect(state, mask), after_oracle(mask))
    outcome = sample_indices(key, flipped, 1, jnp.square)[0]
    return outcome, mask[outcome]


def _angle(num_qubits: int, num_marked: int, *, at_least: int) -> float:
    """Returns theta with sin(theta)^2 the marked share of all states."""
    total = 2 ** as_index("num_qubits", num_qubits)
    count = as_index("num_marked", num_marked)
    check(at_least <= count <= total, "num_marked", f"be an integer in {at_least}..{total}", count)
    return math.asin(math.sqrt(count / total))
