"""Large states on a GPU, pass by pass, emulated on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_engine import by
from cuda_emulation import (
    assert_alike,
    both,
    check_random_circuit,
    classifier,
    loss_of_states,
    loss_of_values,
    of_all_kinds,
    real,
    values_of,
)
from random_circuits import given_seeds

from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    angle_encoding,
    expectation,
    hardware_efficient,
    operation,
    parameter,
)
from qjax.quantum.engines.native.cuda import kernel_launch
from qjax.quantum.engines.native.cuda import large_states as cuda_large
from qjax.quantum.engines.native.engine import large_plan_of
from qjax.quantum.engines.native.table.passes import span
from qjax.quantum.engines.native.table.z_strings import in_coset


@pytest.mark.usefixtures("in_passes")
@pytest.mark.slow
@given_seeds(30)
def test_random_circuits_in_passes_are_those_of_xlas_code(seed: int) -> None:
    check_random_circuit(seed, 2, max_qubits=9, min_qubits=8)


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize(
    ("make", "n", "batch"), [(classifier, 8, 1), (real, 10, 3), (of_all_kinds, 10, 3), (of_all_kinds, 8, 1)]
)
def test_passes_are_xlas_code(make: Callable[..., Circuit], n: int, batch: int) -> None:
    circuit = make(n)
    params, inputs = values_of(circuit, batch)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(batch, n)), jnp.float32)
    assert_alike(*both(loss_of_values(circuit, weights), params, inputs))


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize("bits", [pytest.param(12, marks=pytest.mark.slow), 13])
def test_passes_of_the_sizes_that_gpus_have(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_large, "coset_bits", lambda *_: (bits, 0))
    monkeypatch.setattr(kernel_launch, "gpu", lambda: (1, 2**18))
    circuit = angle_encoding(13) + hardware_efficient(13, 2)
    params, inputs = values_of(circuit, 1)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(1, 13)), jnp.float32)
    assert_alike(*both(loss_of_values(circuit, weights), params, inputs))


@pytest.mark.usefixtures("in_passes")
@pytest.mark.parametrize(
    ("letters", "make"),
    [("IZ", classifier), ("XZ", classifier), ("many", classifier), ("IZ", real)],
    ids=["strings", "others", "too many strings", "strings of a real state"],
)
def test_what_the_last_pass_reads_is_what_is_read_from_the_states(make: Callable[..., Circuit], letters: str) -> None:
    """Strings of I and Z are read in the last pass, some of them alike in a part; all others from the states."""
    n, rng = 9, np.random.default_rng(2)
    circuit = make(n)
    params, inputs = values_of(circuit, 2)
    count = 300 if letters == "many" else 40
    texts = {"".join(rng.choice(list("IZ" if letters == "many" else letters), n)) for _ in range(count)}
    strings = [PauliString(text) for text in sorted(texts)]
    sums = [PauliSum(tuple(zip(rng.normal(size=len(strings)).tolist(), strings, strict=True))), strings[0]]

    def value(way: Any, params: Any, inputs: Any) -> Any:
        found = by(way, expectation, circuit, params, inputs, sums)
        return (found**2).sum(), found

    gradient = lambda way, *xs: jax.value_and_grad(value, (1, 2), has_aux=True)(way, *xs)  # noqa: E731
    assert_alike(*both(gradient, params, inputs))
    assert_alike(*both(lambda way, *xs: value(way, *xs)[1], params, inputs))


@pytest.mark.usefixtures("in_passes")
def test_states_of_passes_are_those_of_xlas_code() -> None:
    circuit = classifier(9)
    assert_alike(*both(loss_of_states(circuit), *values_of(circuit, 2)))


@pytest.mark.usefixtures("in_passes")
def test_gates_whose_matrices_have_zeros_on_the_diagonal() -> None:
    """They are applied as unit-diagonal matrices times a diagonal, which is not 0 but nearly so."""
    layer = [operation("ry", q, parameter("w", q)) for q in range(9)]
    flips = [operation(name, q) for q, name in enumerate(["y", "x", "y", "h", "z", "s", "sx", "y", "t"])]
    phases = [operation("rz", q, parameter("v", q)) for q in range(9)]  # with those before them, rows of one phase
    ring = [operation("cx", (q, (q + 1) % 9)) for q in range(9)]
    gates = ring + layer + phases + ring + layer + flips + ring + flips
    circuit = angle_encoding(9) + Circuit(9, tuple(gates)) + hardware_efficient(9, 1)
    params, inputs = values_of(circuit, 1)
    params["w"] = jnp.asarray([0, 0, np.pi, -np.pi, 3 * np.pi, 1, 2 * np.pi, np.pi, np.pi / 2], jnp.float32)
    weights = jnp.ones((1, 9), jnp.float32)
    assert_alike(*both(loss_of_values(circuit, weights), params, inputs))


@pytest.mark.parametrize("seed", range(5))
def test_the_sign_of_a_string_is_that_of_its_parts_in_and_out_of_the_coset(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = [0b000010011, 0b000100100, 0b101000000, 0b000001000]
    masks = np.unique(rng.integers(0, 2**9, 12)).astype(np.int32)
    table, order = in_coset(masks, basis)
    parity = lambda x: int(x).bit_count() % 2  # noqa: E731
    for mask, (row, rest, *_) in zip(masks[order], table, strict=True):
        for first in rng.integers(0, 2**9, 4):
            for number, own in enumerate(span(basis)):
                assert parity(mask & (first ^ own)) == parity(row & number) ^ parity(rest & first)
    counts = table[:, 2]
    assert counts.sum() == len(masks)
    for place in np.flatnonzero(counts):
        assert len(set(table[place : place + counts[place], 0].tolist())) == 1


@pytest.mark.parametrize(
    ("n", "batch", "expected"),
    [(16, 1, [12, 12, 11]), (22, 1, [13, 12, 11]), (16, 32, [13, 12, 11]), (16, 8, [12, 12, 11])],
)
def test_parts_are_smaller_where_memory_or_work_is_little(
    n: int, batch: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for memory in (232448, 101376, 65536):
        monkeypatch.setattr(kernel_launch, "gpu", lambda memory=memory: (100, memory))
        large = large_plan_of.__wrapped__(classifier(n), frozenset(), batch, np.dtype(np.float32), "cuda")
        found.append(large.num_coset_bits)
        assert large._shape(True).memory <= memory
    assert found == expected
