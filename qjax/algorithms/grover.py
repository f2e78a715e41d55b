"""Grover's search by reflections, in real arithmetic, on the full state.

One iteration changes the sign of the marked amplitudes and reflects all of them about their mean (Grover 1996,
arXiv:quant-ph/9605043; Boyer, Brassard, Hoyer and Tapp 1996, arXiv:quant-ph/9605034, section 3). From the even
superposition all amplitudes stay real, so a state is `[2**n]` real numbers.

There is no loop: any number of iterations is two passes over the state, a sum and an update, whose numbers follow in
closed form (`qjax.quantum.engines.xla.search_loop`). So nothing drifts, and the amplitudes are off by the rounding of
one sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from qjax.algorithms.marking import Marked, marked_mask
from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.engines.memory import device_bytes
from qjax.quantum.engines.xla.search_loop import iterate, search_weights
from qjax.quantum.measure.samples import sample_indices
from qjax.types import Array, Float, Key

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

    The compiled program is two passes over the state, whatever the number of iterations: see `search_weights`.

    Args:
      num_qubits: n.
      marked: which states; see `marked_mask`.
      num_iterations: None for the optimal number, for which the marked states are counted.
      key: typed random key, for shots.
      shots: how often to measure the final state.
      on_progress: called with the number of iterations that were done; that is once, since they are done at once.

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
    weights = search_weights(num_marked, len(mask), np.arange(iterations + 1))
    amplitudes = _state_after(mask, weights[-1], iterations % 2 == 1)
    probabilities = _success_probabilities(num_marked, len(mask), weights).astype(amplitudes.dtype)
    if on_progress is not None and iterations:
        on_progress(iterations)
    answers = [] if key is None or shots == 0 else sample_indices(key, amplitudes, shots, jnp.square).tolist()
    return SearchResult(amplitudes, jnp.asarray(probabilities), tuple(answers), iterations, num_marked)


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
    num_marked = int(jnp.count_nonzero(mask))  # for the simulation alone
    full, bound = math.sqrt(2**num_qubits), 1.0
    iterations: list[int] = []
    queries = failures = 0
    while limit < math.inf or failures < GIVE_UP_AFTER:
        key, draw, measurement = jax.random.split(key, 3)
        count = int(jax.random.randint(draw, (), 0, math.ceil(bound)))
        queries += count + 1
        if queries > limit:
            break
        outcome, found = _attempt(measurement, mask, num_marked, count)
        iterations.append(count)
        if found:
            return UnknownSearchResult(outcome, tuple(iterations))
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


@jax.jit
def _state_after(mask: Array, weights: Array, is_odd: Array) -> Array:
    """Returns the state after the iterations that some `search_weights` are of."""
    start = jnp.full((mask.shape[0], 1), mask.shape[0] ** -0.5, jnp.result_type(float))
    state = iterate(start, mask[:, None], weights, is_odd)[:, 0]
    return jnp.where(is_odd, -state, state)  # here a reflection keeps the even superposition, there its complement


def _success_probabilities(num_marked: int, num_states: int, weights: np.ndarray) -> np.ndarray:
    """Returns the probability after 0, 1, ... iterations, given the `search_weights` of these."""
    counts = np.array([num_marked, num_states - num_marked])
    signs = 1 - 2 * (np.arange(len(weights)) % 2)
    return (weights[:, 0] @ counts + signs) ** 2 * (num_marked / num_states)


def _attempt(key: Key[Array, ""], mask: Array, num_marked: int, num_iterations: int) -> tuple[int, bool]:
    """Returns the basis index that is measured after some iterations, and whether it is marked."""
    weights = search_weights(num_marked, len(mask), num_iterations)
    outcome, is_marked = _measured(key, mask, weights, num_iterations % 2 == 1)
    return int(outcome), bool(is_marked)


@jax.jit
def _measured(key: Array, mask: Array, weights: Array, is_odd: Array) -> tuple[Array, Array]:
    outcome = sample_indices(key, _state_after(mask, weights, is_odd), 1, jnp.square)[0]
    return outcome, mask[outcome]


def _angle(num_qubits: int, num_marked: int, *, at_least: int) -> float:
    """Returns theta with sin(theta)^2 the marked share of all states."""
    total = 2 ** as_index("num_qubits", num_qubits)
    count = as_index("num_marked", num_marked)
    check(at_least <= count <= total, "num_marked", f"be an integer in {at_least}..{total}", count)
    return math.asin(math.sqrt(count / total))
