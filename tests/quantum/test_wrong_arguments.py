"""Every public function of `qjax.quantum` answers an argument of another kind with a `UserError`."""

import contextlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from qjax import quantum
from qjax.checks import UserError
from qjax.quantum import Circuit, PauliString, PauliSum, Projector, real_amplitudes, z_observables

CIRCUIT = real_amplitudes(2, 1)
KEY = jax.random.key(0)
PARAMS = quantum.init_params(KEY, CIRCUIT)
WRONG = {
    "None": None,
    "text": "abc",
    "negative": -1,
    "float": 2.5,
    "circuit": CIRCUIT,
    "key": KEY,
    "array": jnp.ones(3),
    "list": [],
    "dict": {},
    "object": object(),
}
# No arguments, data for other code, plain arithmetic; what is cached by its argument's hash; and what compiles all
# native code where it is given nothing, half a minute.
SKIPPED = {
    *("Explanation", "Program", "Gate", "device_bytes", "state_bytes"),
    *("compile_circuit", "free_angles", "register_native_code"),
}
PUBLIC = [
    name
    for name, value in vars(quantum).items()
    if not name.startswith("_")
    and callable(value)
    and not inspect.ismodule(value)
    and name not in SKIPPED
    and getattr(value, "__module__", "").startswith("qjax")
]


@pytest.fixture(autouse=True)
def without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user runs it: the tests' own type checker would answer first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("kind", WRONG)
def test_arguments_of_another_kind_are_user_errors(name: str, kind: str) -> None:
    function = getattr(quantum, name)
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    with contextlib.suppress(UserError):  # and what happens to fit is fine
        function(*[WRONG[kind]] * max(len(needed), 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CIRCUIT.draw("mpl"), "`width` must be an integer of at least 40; .*, but got mpl"),
        (lambda: quantum.init_params(CIRCUIT, KEY), "`key` must be a random key, such as .*, but got Circuit"),
        (lambda: quantum.init_params(KEY, PARAMS), "`circuit` must be a Circuit, but got {'ansatz'"),
        (lambda: quantum.sample(3, CIRCUIT, PARAMS), "`key` must be a random key"),
        (lambda: quantum.state(PARAMS, CIRCUIT), "`circuit` must be a Circuit"),
        (lambda: quantum.qaoa("ZZ", 1), "`hamiltonian` must be a PauliSum or a PauliString, but got ZZ"),
    ],
)
def test_swapped_or_foreign_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


ONE = PauliSum.from_text("0.5 ZI + XX")
PROJECTOR = Projector.from_bits("01")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ZI", (PauliString("ZI"),)),
        (PauliString("XY"), (PauliString("XY"),)),
        (ONE, (ONE,)),
        (PROJECTOR, (PROJECTOR,)),
        (("ZI", ONE, "YY"), (PauliString("ZI"), ONE, PauliString("YY"))),
        (["ZI", "IZ"], z_observables(2)),
    ],
)
@pytest.mark.parametrize("name", ["expectation", "variance", "covariance"])
def test_one_observable_and_letters_stand_for_what_they_say(name: str, given: Any, meant: Any) -> None:
    function = getattr(quantum, name)
    found, expected = (function(CIRCUIT, PARAMS, None, observables) for observables in (given, meant))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert quantum.explain(CIRCUIT, observables=given) == quantum.explain(CIRCUIT, observables=meant)


@pytest.mark.parametrize("name", ["parameter_shift", "hessian"])
def test_gradients_take_one_observable_too(name: str) -> None:
    circuit, params = Circuit(1).append("ry", 0, quantum.parameter("a")), {"a": jnp.float32(0.3)}
    function = getattr(quantum, name)
    found, expected = (function(circuit, params, None, given) for given in ("Z", (PauliString("Z"),)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("observables", "message"),
    [
        ("ZZZ", "`observables` must have 2 letters, one a qubit, but got 'ZZZ'"),
        ("zz", "`paulis` must be text with one letter of I, X, Y, Z"),
        (["ZZ", "Z"], "`observables` must have 2 letters"),
        ([3], "`observables` must hold PauliString"),
        (3, "`observables` must be a sequence"),
        ((), "`observables` must hold at least one observable"),
    ],
)
def test_observables_that_say_nothing_are_refused(observables: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        quantum.expectation(Circuit(2), None, None, observables)
