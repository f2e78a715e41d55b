"""Grover iterations of a compiled circuit, many in a pass: the same as the steps one by one, forwards and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantum import Circuit, PauliString, Repeat, expectation, explain, operation, parameter, state
from qjax.quantum.engines.xla import search_loop
from qjax.quantum.engines.xla.planes import Layout
from qjax.quantum.engines.xla.search_loop import MAX_FUSED, is_search, repeat_search
from qjax.quantum.engines.xla.steps import FlipStep, MoveStep, ReflectionStep

FLIPS = {
    "one amplitude": (operation("z", 2, controls=(0, 1), control_values=(1, 0)),),
    "two of them": (operation("z", 2, controls=(0, 1)), operation("z", 1, controls=(0, 2), control_values=(0, 1))),
    "half of all": (operation("z", 0),),
    "overlapping": (operation("cz", (0, 1)), operation("z", 2)),
}


def search_steps(place: int | None, flips: Any, flip_first: bool) -> tuple[Any, ...]:
    layout = Layout(3, place)
    steps = (FlipStep(layout, layout, flips), ReflectionStep(layout, layout, (0, 1, 2)))
    return steps if flip_first else steps[::-1]


@pytest.mark.parametrize("name", FLIPS)
@pytest.mark.parametrize("place", [None, 2])
@pytest.mark.parametrize("flip_first", [True, False])
@pytest.mark.parametrize("reps", [1, MAX_FUSED, 2 * MAX_FUSED + 5])
@pytest.mark.parametrize("mask_qubits", [0, 3])
def test_all_repetitions_are_the_steps_one_by_one(
    name: str, place: int | None, flip_first: bool, reps: int, mask_qubits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_loop, "MAX_MASK_QUBITS", mask_qubits)
    body = search_steps(place, FLIPS[name], flip_first)
    assert is_search(body)
    first = jnp.asarray(np.random.default_rng(reps).normal(size=(8 if place is None else 16, 3)))
    wanted = first
    for _ in range(reps):
        for step in body:
            wanted = step.apply(wanted, ())
    found = repeat_search(body, reps, first, back=False)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_allclose(repeat_search(body, reps, found, back=True), first, atol=2e-5)


def test_other_bodies_are_no_search() -> None:
    layout = Layout(3, 0)
    flip = FlipStep(layout, layout, FLIPS["one amplitude"])
    whole, part = (ReflectionStep(layout, layout, qubits) for qubits in ((0, 1, 2), (0, 1)))
    for body in ((flip,), (flip, part), (flip, flip), (whole, whole), (flip, whole, flip)):
        assert not is_search(body)
    assert not is_search((MoveStep(layout, Layout(3, 1)), whole))


def grover(n: int, marked: int, reps: int, as_loop: bool) -> Circuit:
    """The iterations after a product state that is trained."""
    everything = tuple(range(n))
    hadamards = Circuit(n, tuple(operation("h", q) for q in everything))

    def mark(index: int) -> Circuit:
        bits = tuple(index >> (n - 1 - q) & 1 for q in everything)
        return Circuit(n).append("gphase", (), np.pi, controls=everything, control_values=bits)

    step = mark(marked) + hadamards + mark(0) + hadamards
    first = Circuit(n, tuple(operation("rx", q, parameter("a", q)) for q in everything))
    return first + Circuit(n, (Repeat(step, reps),) if as_loop else step.operations * reps)


@pytest.mark.parametrize("reverse_pass", ["store", "recompute", "rerun"])
@pytest.mark.parametrize("n", [3, 5])
def test_states_and_gradients_of_a_loop_are_those_of_the_gates_written_out(n: int, reverse_pass: str) -> None:
    params = {"a": jnp.linspace(0.1, 2.0, n)}
    observable = (PauliString("Z" + "I" * (n - 1)),)
    found, expected = (grover(n, 2, MAX_FUSED + 3, as_loop) for as_loop in (True, False))
    np.testing.assert_allclose(state(found, params), state(expected, params), atol=2e-6)

    def slope(circuit: Circuit) -> Any:
        return jax.grad(lambda p: expectation(circuit, p, None, observable, reverse_pass=reverse_pass)[0])(params)[
            "a"
        ]

    np.testing.assert_allclose(slope(found), slope(expected), atol=5e-6)


def test_many_iterations_have_the_closed_form_and_cost_few_passes() -> None:
    n, reps = 10, 400
    angle = np.arcsin(2 ** (-n / 2))
    hadamards = Circuit(n, tuple(operation("h", q) for q in range(n)))
    search = hadamards + Circuit(n, grover(n, 77, reps, True).operations[n:])
    np.testing.assert_allclose(abs(state(search)[77]), abs(np.sin((2 * reps + 1) * angle)), atol=1e-4)
    (loop,) = (step for step in explain(search).steps if step.kind == "repeat")
    assert loop.forward.passes == 2 * reps / MAX_FUSED
