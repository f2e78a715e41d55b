"""Random circuits in two forms: a plain tree of steps for `dense_reference`, and qjax's Circuit built from it.

Everything follows from a seed: gates of the whole table and outside it, any controls, Repeat in Repeat (reversed,
shared), angles that are sums and products, and parameters shared between gates, bodies and repetitions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import jax
import jaxtyping
import numpy as np
from dense_reference import NUM_ANGLES, WIDTHS, Step
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qjax.quantum import Angle, Circuit, Operation, Repeat, input_angle, operation, parameter
from qjax.quantum.circuits.custom_gates import (
    barrier_gate,
    diagonal_gate,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)

NUM_INPUTS = 3
P_REPEAT = 0.15  # that the next item is a Repeat
LONG = 33  # repetitions: too many for the simulator to write them out
MAX_STEPS = 110  # of a circuit whose repetitions are written out
# What compiles a program that runs once in a quarter of the time. JAX 0.12 does not know the old emitters any more.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
if jax.__version_info__ < (0, 11):
    QUICK["xla_cpu_use_fusion_emitters"] = False
MAKE_GATE: dict[str, Callable[[Any], Any]] = {
    "unitary": unitary_gate,
    "diagonal": diagonal_gate,
    "permutation": permutation_gate,
    "pauli_rotation": pauli_rotation_gate,
    "barrier": barrier_gate,
}
SEEDS = st.integers(0, 2**24 - 1)  # hypothesis draws evenly from up to 24 bits
# ("number", value), ("parameter", name, *index), ("input", index), or (one of + - *, left, right)
Expression = tuple[Any, ...]
LookUp = Callable[[str, tuple[int, ...]], float]


def is_thorough(seed: int) -> bool:
    """One seed in ten is compiled as users do, and its types are checked while it runs: that doubles the time."""
    return seed % 10 == 0


def given_seeds(count: int) -> Callable[[Any], Any]:
    """Decorates a test of one seed: it runs for the same `count` of them each time; a seed has nothing to shrink."""
    run = settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=count,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test: Callable[..., None]) -> Any:
        @wraps(test)
        def checked(*args: Any, seed: int, **options: Any) -> None:
            before = jaxtyping.config.jaxtyping_disable
            jaxtyping.config.update("jaxtyping_disable", before or not is_thorough(seed))
            try:
                test(*args, seed=seed, **options)
            finally:
                jaxtyping.config.update("jaxtyping_disable", before)

        return run(given(seed=SEEDS)(checked))

    return decorate


def run_compiled(function: Callable[..., Any], *args: Any, as_users_do: bool = False) -> Any:
    """function(*args) under `jax.jit`, with its usual effort or in a hurry."""
    return jax.jit(function, compiler_options=None if as_users_do else QUICK)(*args)


@dataclass(frozen=True)
class PlainGate:
    name: str
    qubits: tuple[int, ...]
    angles: tuple[Expression, ...]
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()
    data: Any = None

    def build(self) -> Operation:
        kind = self.name if self.data is None else MAKE_GATE[self.name](self.data)
        angles = [as_angle(angle) for angle in self.angles]
        # Controls that are all 1 are left to the default.
        values = None if all(self.control_values) else self.control_values
        return operation(kind, self.qubits, *angles, controls=self.controls, control_values=values)


@dataclass(frozen=True)
class PlainRepeat:
    body: tuple["Item", ...]
    reps: int
    reverse: bool
    shared: bool


Item = PlainGate | PlainRepeat


@dataclass(frozen=True)
class Case:
    """A random circuit on `num_qubits` qubits."""

    num_qubits: int
    items: tuple[Item, ...]

    @cached_property
    def circuit(self) -> Circuit:
        return build(self.num_qubits, self.items)

    @cached_property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes_of(self.items)

    @cached_property
    def num_inputs(self) -> int:
        """The largest index in use, plus one."""
        found = (ref[1] for item in every_item(self.items) for ref in references(item) if ref[0] == "input")
        return 1 + max(found, default=-1)

    def reference_gates(self, params: dict[str, np.ndarray], inputs: Any) -> list[Step]:
        """Every step with the numbers of one example."""

        def look_up(name: str, index: tuple[int, ...]) -> float:
            return float(params[name][index])

        return list(steps(self.items, look_up, np.asarray(inputs)))


def build(num_qubits: int, items: tuple[Item, ...]) -> Circuit:
    operations = [
        Repeat(build(num_qubits, item.body), item.reps, reverse=item.reverse, shared=item.shared)
        if isinstance(item, PlainRepeat)
        else item.build()
        for item in items
    ]
    return Circuit(num_qubits, tuple(operations))


def steps(
    items: tuple[Item, ...], look_up: LookUp, inputs: np.ndarray, prefix: tuple[int, ...] = ()
) -> Iterator[Step]:
    """The steps one after another; `prefix` says which repetitions of the Repeats around them this is."""
    for item in items:
        if isinstance(item, PlainRepeat):
            for r in range(item.reps)[:: -1 if item.reverse else 1]:
                yield from steps(item.body, look_up, inputs, prefix if item.shared else (*prefix, r))
        else:
            angles = tuple(evaluate(angle, look_up, inputs, prefix) for angle in item.angles)
            yield Step(item.name, item.qubits, angles, item.controls, item.control_values, item.data)


def every_item(items: tuple[Item, ...]) -> Iterator[Item]:
    """The items and those inside them, each once."""
    for item in items:
        yield item
        if isinstance(item, PlainRepeat):
            yield from every_item(item.body)


def references(item: Item) -> list[Expression]:
    """The parameters and inputs in a gate's angles."""
    return [ref for angle in item.angles for ref in leaves(angle)] if isinstance(item, PlainGate) else []


def leaves(expression: Expression) -> list[Expression]:
    kind, *rest = expression
    if kind in ("parameter", "input"):
        return [expression]
    return [] if kind == "number" else [leaf for part in rest for leaf in leaves(part)]


def shapes_of(items: tuple[Item, ...]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each parameter: the largest index on each axis, plus one."""
    shapes: dict[str, tuple[int, ...]] = {}
    for item in items:
        if isinstance(item, PlainRepeat):
            leading = () if item.shared else (item.reps,)
            found = [(name, (*leading, *shape)) for name, shape in shapes_of(item.body).items()]
        else:
            found = [(ref[1], tuple(i + 1 for i in ref[2:])) for ref in references(item) if ref[0] == "parameter"]
        for name, shape in found:
            shapes[name] = tuple(map(max, shapes.get(name, shape), shape))
    return shapes


def count_steps(items: tuple[Item, ...]) -> int:
    return sum(item.reps * count_steps(item.body) if isinstance(item, PlainRepeat) else 1 for item in items)


# Angles -----------------------------------------------------------------------------------------------------------


def as_angle(expression: Expression) -> Angle | float:
    kind, *rest = expression
    if kind == "number":
        return float(rest[0])
    if kind in ("parameter", "input"):
        return parameter(*rest) if kind == "parameter" else input_angle(*rest)
    left, right = (as_angle(part) for part in rest)
    return left + right if kind == "+" else left - right if kind == "-" else left * right


def evaluate(expression: Expression, look_up: LookUp, inputs: np.ndarray, prefix: tuple[int, ...]) -> float:
    kind, *rest = expression
    if kind == "number":
        return float(rest[0])
    if kind == "parameter":
        return look_up(rest[0], (*prefix, *rest[1:]))
    if kind == "input":
        return float(inputs[rest[0]])
    left, right = (evaluate(part, look_up, inputs, prefix) for part in rest)
    return left + right if kind == "+" else left - right if kind == "-" else left * right


def random_expression(rng: np.random.Generator, scope: str) -> Expression:
    """An angle of a few radians in the parameters of this scope."""
    a, b = (("number", round(float(rng.uniform(-1, 1)), 3)) for _ in range(2))
    theta = ("parameter", f"w{scope}", int(rng.integers(4)))
    entry = ("parameter", f"m{scope}", int(rng.integers(2)), int(rng.integers(2)))
    scalar = ("parameter", f"s{scope}")
    x, y = (("input", int(j)) for j in rng.integers(NUM_INPUTS, size=2))
    choices: list[Expression] = [
        ("number", round(float(rng.uniform(-3.2, 3.2)), 3)),
        theta,
        x,
        ("-", a, theta),
        ("+", ("*", a, scalar), b),
        ("*", ("*", theta, x), b),
        ("*", ("-", a, entry), ("-", x, b)),
        ("-", entry, ("*", scalar, scalar)),
        ("+", ("*", x, y), ("*", b, theta)),
    ]
    return choices[int(rng.integers(len(choices)))]


# Gates ------------------------------------------------------------------------------------------------------------


def random_unitary(rng: np.random.Generator, dim: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(dim, dim)) + 1j * rng.normal(size=(dim, dim)))
    return q * (np.diag(r) / np.abs(np.diag(r)))


def _pick(rng: np.random.Generator, n: int, k: int) -> tuple[int, ...]:
    return tuple(int(q) for q in rng.permutation(n)[:k])


def random_gate(rng: np.random.Generator, n: int, scope: str) -> PlainGate:
    """A gate of the table, or one time in six another, with controls one time in four."""
    if rng.random() < 1 / 6:
        name = str(rng.choice(list(MAKE_GATE)))
        k = int(rng.integers(1, min(n, 3) + 1))
        data = random_data(rng, name, k)
        num_angles = int(name == "pauli_rotation")
    else:
        name = str(rng.choice([g for g, width in WIDTHS.items() if width <= n]))
        k, num_angles, data = WIDTHS[name], NUM_ANGLES[name], None
    most = 0 if name == "barrier" else n - k
    c = int(rng.integers(1, most + 1)) if most and rng.random() < 1 / 4 else 0
    touched = _pick(rng, n, k + c)
    values = tuple(int(v) for v in rng.integers(0, 2, c))
    angles = tuple(random_expression(rng, scope) for _ in range(num_angles))
    return PlainGate(name, touched[:k], angles, touched[k:], values, data)


def random_data(rng: np.random.Generator, name: str, k: int) -> Any:
    """What a gate outside the table is made of, on k qubits."""
    dim = 2**k
    if name == "unitary":
        return np.diag(np.exp(1j * rng.uniform(-3, 3, dim))) if rng.random() < 0.2 else random_unitary(rng, dim)
    if name == "diagonal":
        return rng.uniform(-4, 4, dim)
    if name == "permutation":
        return [int(i) for i in rng.permutation(dim)]
    if name == "pauli_rotation":
        letters = "".join(rng.choice(list("IZ" if rng.random() < 0.3 else "IXYZ"), k))
        return letters if set(letters) != {"I"} else "Z" + letters[1:]
    return k


# Circuits ---------------------------------------------------------------------------------------------------------


def random_case(
    seed: int, *, min_qubits: int = 1, max_qubits: int = 8, max_gates: int = 14, max_steps: int = MAX_STEPS
) -> Case:
    """A circuit of up to `max_gates` gates as written, and up to `max_steps` with its repetitions written out."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(min_qubits, max_qubits + 1))
    items = _random_items(rng, n, int(rng.integers(1, max_gates + 1)), scope="", depth=0, max_steps=max_steps)
    repeats = [item for item in items if isinstance(item, PlainRepeat)]
    if repeats and rng.random() < 0.4 and 2 * count_steps(items) <= max_steps:
        again = repeats[int(rng.integers(len(repeats)))]  # the same parameters once more, in the other order
        items = (*items, PlainRepeat(again.body, again.reps, not again.reverse, again.shared))
    return Case(n, (*items, *_gates_on_any_parameter(rng, n, items)))


def _random_items(
    rng: np.random.Generator, n: int, num_gates: int, *, scope: str, depth: int, max_steps: int
) -> tuple[Item, ...]:
    items: list[Item] = []
    while num_gates > 0:
        if depth < 2 and rng.random() < P_REPEAT:
            inner = int(rng.integers(1, 5))
            reps = int(rng.choice([1, 2, 3, LONG]))
            room = (max_steps - count_steps(tuple(items)) - num_gates) // reps
            if room > 0:
                inner = min(inner, room)
                body = _random_items(rng, n, inner, scope=f"{scope}_{len(items)}", depth=depth + 1, max_steps=room)
                reverse, shared = rng.random(2) < (0.4, 0.3)
                items.append(PlainRepeat(body, reps, bool(reverse), bool(shared)))
                num_gates -= inner
                continue
        items.append(random_gate(rng, n, scope))
        num_gates -= 1
    return tuple(items)


def _gates_on_any_parameter(rng: np.random.Generator, n: int, items: tuple[Item, ...]) -> list[PlainGate]:
    """Up to two rotations by entries of any parameter, those inside a Repeat too, by their place from outside."""
    shapes = shapes_of(items)
    if not shapes:
        return []
    gates = []
    for _ in range(int(rng.integers(3))):
        name = str(rng.choice(sorted(shapes)))
        angle = ("parameter", name, *(int(rng.integers(size)) for size in shapes[name]))
        gates.append(PlainGate(str(rng.choice(["rx", "ry", "p"])), _pick(rng, n, 1), (angle,)))
    return gates


def random_values(case: Case, seed: int, *, batch: int, dtype: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters, and inputs [batch, num_inputs]: float32 represents them exactly, whatever the dtype.

    Angles come to a few radians: `LONG` repetitions add up what float32 rounds off one angle.
    """
    rng = np.random.default_rng(seed)

    def draw(size: float, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(-size, size, shape).astype(np.float32).astype(dtype)

    params = {name: draw(1.5, shape) for name, shape in case.parameter_shapes.items()}
    return params, draw(1.5, (batch, case.num_inputs))


def random_state(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised complex amplitudes, by the last axis."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return state / np.linalg.norm(state, axis=-1, keepdims=True)
