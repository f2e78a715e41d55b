"""The primitive of batch-last functions against the same functions in plain JAX, under every transformation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantum.engines.batch_last import BatchLast, call

QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
SIZE, BATCH = 3, 4


@dataclass(frozen=True)
class Toy(BatchLast):
    """Two results of three operands, `[3, .]`, `[3, .]` and `[.]`, each with the full batch."""

    def run(self, platform: str, *operands: Any) -> Any:
        a, b, c = operands
        return jnp.sin(a * b) + c[None] * a, (jnp.cos(b) + a).sum(0) * c**2


@dataclass(frozen=True)
class SavingToy(Toy):
    """The same with a reverse pass by hand, from what was saved: cos(a b)."""

    def saving(self, platform: str, *operands: Any) -> Any:
        return self(*operands), (jnp.cos(operands[0] * operands[1]),)

    def pull_back(self, platform: str, operands: Any, saved: Any, cotangents: Any, per_example: bool) -> Any:
        (a, b, c), (ct, last), (cos,) = operands, cotangents, saved
        found = [
            ct * (cos * b + c[None]) + (last * c**2)[None],
            ct * cos * a - (last * c**2)[None] * jnp.sin(b),
            (ct * a).sum(0) + last * (jnp.cos(b) + a).sum(0) * 2 * c,
        ]
        fits = lambda x, like: x if per_example or like.shape[-1] > 1 else x.sum(-1, keepdims=True)  # noqa: E731
        full = max(x.shape[-1] for x in (*operands, *cotangents))
        found = [jnp.broadcast_to(x, (*x.shape[:-1], full)) for x in found]
        return tuple(fits(x, like) for x, like in zip(found, operands, strict=True))


TOYS = [Toy(), SavingToy()]
# Whether each operand has the batch.
BATCHES = [(0, 1, 1), (1, 0, 0), (0, 0, 0)]


def operands(batched: tuple[int, ...], leading: tuple[int, ...] = ()) -> list[Any]:
    rng = np.random.default_rng(sum(batched) + len(leading))
    sizes = [BATCH if has else 1 for has in batched]
    shapes = [(*leading, SIZE, sizes[0]), (*leading, SIZE, sizes[1]), (*leading, sizes[2])]
    return [jnp.asarray(rng.uniform(0.2, 1.4, shape), jnp.float32) for shape in shapes]


def both(toy: BatchLast, transform: Callable[[Callable[..., Any]], Callable[..., Any]], *args: Any) -> None:
    """transform(function)(*args) of the primitive equals that of the plain function, compiled or not."""
    expected = jax.jit(transform(lambda *xs: Toy()(*xs)), compiler_options=QUICK)(*args)
    found = jax.jit(transform(lambda *xs: call(toy, *xs)), compiler_options=QUICK)(*args)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def loss(function: Callable[..., Any]) -> Callable[..., Any]:
    def total(*xs: Any) -> Any:
        first, second = function(*xs)
        return (first**2).sum() + (second**3).mean()

    return total


toys = pytest.mark.parametrize("toy", TOYS, ids=["plain", "saving"])


@toys
@pytest.mark.parametrize("batched", BATCHES, ids=str)
def test_value_and_gradient_of_every_operand(toy: BatchLast, batched: tuple[int, ...]) -> None:
    args = operands(batched)
    both(toy, lambda f: jax.value_and_grad(loss(f), argnums=(0, 1, 2)), *args)
    # A result that nothing depends on has no cotangent.
    both(toy, lambda f: jax.grad(lambda *xs: f(*xs)[1].sum(), argnums=(0, 2)), *args)


def test_eager_equals_plain() -> None:
    args = operands((0, 1, 1))
    found = jax.value_and_grad(loss(lambda *xs: call(SavingToy(), *xs)))(*args)
    for a, b in zip(found, jax.value_and_grad(loss(lambda *xs: Toy()(*xs)))(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize("in_axes", [(0, 0, 0), (None, 0, 0), (0, None, None), (None, 2, -1)])
def test_vmap_and_gradients_around_it_and_inside(in_axes: Any) -> None:
    over = lambda f: jax.vmap(f, in_axes)  # noqa: E731
    for toy, batched in ((Toy(), (0, 0, 0)), (SavingToy(), (0, 1, 1))):
        args = operands(batched)
        if in_axes == (0, 0, 0):
            args = operands(batched, (2,))
        else:
            args = [
                x if axis is None else jnp.stack([x, 0.5 * x + 0.1], axis)
                for x, axis in zip(args, in_axes, strict=True)
            ]
        both(toy, lambda f: lambda *xs: (over(f)(*xs), over(jax.grad(loss(f), argnums=(0, 1, 2)))(*xs)), *args)
        both(toy, lambda f: jax.grad(lambda *xs: over(loss(f))(*xs).sum(), argnums=(0, 1, 2)), *args)


@pytest.mark.parametrize(("outer", "inner"), [((0, None, None), (None, 0, 0)), ((None, 0, 0), (0, None, 0))])
def test_nested_vmap(outer: Any, inner: Any) -> None:
    args = operands((0, 1, 0))
    for axes, size in ((inner, 2), (outer, 3)):
        args = [
            x if a is None else jnp.stack([x * (1 - 0.2 * i) for i in range(size)])
            for x, a in zip(args, axes, strict=True)
        ]
    over = lambda f: jax.vmap(jax.vmap(f, inner), outer)  # noqa: E731
    both(SavingToy(), lambda f: over(jax.grad(loss(f), argnums=(0, 1))), *args)
    both(SavingToy(), lambda f: jax.grad(lambda *xs: over(loss(f))(*xs).sum(), argnums=(0, 1)), *args)


@pytest.mark.parametrize(("toy", "batched"), [(SavingToy(), (0, 1, 1)), (Toy(), (0, 0, 0))], ids=str)
def test_forward_mode(toy: BatchLast, batched: tuple[int, ...]) -> None:
    args = operands(batched)
    along = [0.3 * x + 0.1 for x in args]
    both(toy, lambda f: lambda a, b, c: jax.jvp(lambda a: f(a, b, c), (a,), (along[0],)), *args)
    both(toy, lambda f: jax.jacfwd(f, argnums=(0, 2)), *args)
    both(toy, lambda f: jax.jacrev(f, argnums=(0, 1, 2)), *args)
    both(toy, lambda f: lambda *xs: jax.linearize(f, *xs)[1](*along), *args)


@pytest.mark.parametrize("batched", [(0, 1, 1)])
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_second_derivatives(batched: tuple[int, ...], outer: Any, inner: Any) -> None:
    both(SavingToy(), lambda f: outer(inner(loss(f), argnums=(0, 1)), argnums=(0, 1)), *operands(batched))


@pytest.mark.parametrize(("toy", "batched"), [(SavingToy(), (0, 1, 1)), (Toy(), (1, 0, 0))], ids=str)
def test_hessian_vector_products(toy: BatchLast, batched: tuple[int, ...]) -> None:
    """Forward over reverse, reverse over reverse and reverse over forward, without any vmap."""
    args = operands(batched)
    both(toy, lambda f: lambda *xs: jax.jvp(jax.grad(loss(f), argnums=(0, 1, 2)), xs, xs), *args)

    def norm(f: Any) -> Any:
        return lambda *xs: sum((g**2).sum() for g in jax.grad(loss(f), argnums=(0, 1, 2))(*xs))

    both(toy, lambda f: jax.grad(norm(f), argnums=(0, 1, 2)), *args)
    both(toy, lambda f: jax.grad(lambda *xs: jax.jvp(loss(f), xs, xs)[1], argnums=(0, 1, 2)), *args)


def test_third_derivative() -> None:
    args = operands((0, 1, 1))

    def third(f: Any) -> Any:
        first = lambda *xs: (jax.grad(loss(f))(*xs) * xs[0]).sum()  # noqa: E731
        second = lambda *xs: (jax.grad(first)(*xs) ** 2).sum()  # noqa: E731
        return jax.grad(second)

    both(SavingToy(), third, *args)


def test_linear_transpose_of_a_vmapped_derivative() -> None:
    args = operands((0, 0, 0))
    many = jnp.stack([args[0], 2 * args[0]])

    def pulled(f: Any) -> Any:
        def run(a: Any, b: Any, c: Any) -> Any:
            along = jax.vmap(jax.linearize(lambda a: f(a, b, c), a)[1])
            return jax.linear_transpose(along, many)(along(many))

        return run

    both(SavingToy(), pulled, *args)


def test_inside_scan_checkpoint_and_cond() -> None:
    args = operands((0, 1, 1))

    def scanned(f: Any) -> Any:
        def run(a: Any, b: Any, c: Any) -> Any:
            def step(carry: Any, x: Any) -> Any:
                first, second = f(carry * x, b, c)
                return jnp.tanh(first.mean(-1, keepdims=True)), second

            return jax.lax.scan(step, a, jnp.linspace(0.5, 1.0, 3))

        return lambda *xs: (lambda out: (out[0] ** 2).sum() + (out[1] ** 2).sum())(run(*xs))

    def chosen(f: Any) -> Any:
        return lambda a, b, c: jax.lax.cond(a.sum() > 0, loss(f), lambda *xs: 0.0 * xs[0].sum(), a, b, c)

    for change in (scanned, lambda f: jax.checkpoint(loss(f)), chosen):
        both(SavingToy(), lambda f, change=change: jax.grad(change(f), argnums=(0, 1, 2)), *args)


def test_a_shared_operand_is_summed_over_the_batch_and_never_broadcast() -> None:
    args = operands((0, 1, 1))
    f = lambda *xs: loss(lambda *ys: call(SavingToy(), *ys))(*xs)  # noqa: E731
    assert jax.grad(f)(*args).shape == args[0].shape
    jaxpr = jax.make_jaxpr(jax.vmap(lambda *xs: call(Toy(), *xs), (None, 0, 0)))(
        args[0], args[1][None], args[2][None]
    )
    bound = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "batch_last"]
    assert [v.aval.shape for v in bound[0].invars] == [(SIZE, 1), (SIZE, BATCH), (BATCH,)]


def test_a_map_over_nothing() -> None:
    shared, none = jnp.ones((SIZE, 1)), (jnp.ones((0, SIZE, 1)), jnp.ones((0, 1)))
    found = jax.vmap(lambda *xs: call(Toy(), *xs), (None, 0, 0))(shared, *none)
    assert [x.shape for x in found] == [(0, SIZE, 1), (0, 1)]
