"""One JAX primitive for functions of arrays whose last axis is the batch.

A simulation is fastest with the batch last and in one piece. `vmap` would put a second batch axis in front of it, and
`custom_vjp` or `custom_vmap` cannot keep it from doing so: the first has no batching rule, the second no reverse mode
(DESIGN.md, section 5). So a simulation is bound as a primitive of its own, whose rules return to the same form:

- batching folds the new axis into the last one, so that a vmapped call becomes the batched call;
- the JVP binds `Tangent` of the function, whose transpose binds its `Pullback`: the reverse pass by hand;
- both are functions of the same kind, so that derivatives of any order take the same way.

Operands are floating-point arrays `[..., 1]`, shared by all examples, or `[..., batch]`. These rules never broadcast
a shared operand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.states.batch import Shapes, batch_of, batch_of_shapes, shapes_of, with_batch
from qjax.types import Array

# How many compiled programs calls outside of jit keep, the latest: 0.2 MiB each where native code runs, 1 to 5 MiB
# where XLA's own does (n = 4, 50 gates); a gradient takes two.
MAX_KEPT_PROGRAMS = 128


@dataclass(frozen=True)
class BatchLast:
    """A function of arrays `[..., 1 or batch]`; subclasses are frozen and hashable, and define what it computes.

    Attributes:
      per_example: whether every result has the full batch, also one that is otherwise summed over the examples (the
        cotangent of an operand that they share).
    """

    per_example: bool = False

    @property
    def sums(self) -> bool:
        """Whether some results are summed over the batch."""
        return False

    def __call__(self, *operands: Array) -> tuple[Array, ...]:
        """Returns the results in a way that JAX can differentiate, on any platform."""
        return self.run("", *operands)

    def run(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        """Returns the results, each `[..., batch]`, or `[..., 1]` for what is summed over the batch.

        Args:
          platform: 'cpu' or 'cuda' for the best way there; '' for one that JAX can differentiate.
          *operands: arrays `[..., 1 or batch]`.
        """
        raise NotImplementedError

    def saving(self, platform: str, *operands: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Returns what `run` does, and the arrays `[..., 1 or batch]` that are saved for the reverse pass.

        These have the same shapes on every platform, but may hold something else.
        """
        return self.run(platform, *operands), ()

    def pull_back(
        self,
        platform: str,
        operands: tuple[Array, ...],
        saved: tuple[Array, ...],
        cotangents: tuple[Array, ...],
        per_example: bool,
    ) -> tuple[Array, ...]:
        """Returns the cotangent of each operand: of its shape, or `[..., batch]` with `per_example`."""
        function, full = self, batch_of((*operands, *cotangents))
        if per_example:  # nothing is shared then, so that nothing is summed
            function = replace(self, per_example=True)
            operands = tuple(with_batch(x, full) for x in operands)
            cotangents = tuple(with_batch(ct, full) for ct in cotangents)
        return tuple(jax.vjp(function, *operands)[1](cotangents))

    def settled(self, operands: Shapes) -> "BatchLast":
        """Returns the function with all that `saving` decides by size decided: no later batching may change it."""
        return self

    def shapes(self, operands: Shapes) -> Shapes:
        """Returns shape and dtype of each result, given those of the operands."""
        return _traced_shapes(self, operands)

    def saved_shapes(self, operands: Shapes) -> Shapes:
        """Returns shape and dtype of what `saving` saves, given those of the operands."""
        return _traced_shapes(_Saving(function=self), operands)[len(self.shapes(operands)) :]


@dataclass(frozen=True)
class _Saving(BatchLast):
    """The results of a function, followed by what it saves for the reverse pass."""

    function: BatchLast = BatchLast()

    @property
    def sums(self) -> bool:
        return self.function.sums

    def run(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        results, saved = _like(self, self.function).saving(platform, *operands)
        full = batch_of(operands)  # so that no array that is shared looks like one that is summed
        return (*results, *(with_batch(x, full) for x in saved))

    def shapes(self, operands: Shapes) -> Shapes:
        function = _like(self, self.function)
        return (*function.shapes(operands), *function.saved_shapes(operands))


@dataclass(frozen=True)
class _Linear(BatchLast):
    """The base of `Tangent` and `Pullback`. Operands: the function's, what it saved, then tangents or cotangents.

    Attributes:
      function: what is differentiated.
      wanted: for each operand of the function, whether its tangent (or cotangent) takes part.
      num_saved: number of arrays that the function saved.
    """

    function: BatchLast = BatchLast()
    wanted: tuple[bool, ...] = ()
    num_saved: int = 0

    def split(self, operands: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        """Returns the function's operands, what was saved, and the tangents or cotangents."""
        n, m = len(self.wanted), len(self.wanted) + self.num_saved
        return tuple(operands[:n]), tuple(operands[n:m]), tuple(operands[m:])

    def chosen(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """Returns the operands that are wanted."""
        return tuple(x for x, wanted in zip(operands, self.wanted, strict=True) if wanted)


@dataclass(frozen=True)
class Tangent(_Linear):
    """The derivative of a function along tangents, by forward mode."""

    @property
    def sums(self) -> bool:
        return self.function.sums

    def run(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        primals, _, tangents = self.split(operands)
        function = _like(self, self.function)

        def of_wanted(*chosen: Array) -> tuple[Array, ...]:
            rest = iter(chosen)
            return function(*(next(rest) if w else x for x, w in zip(primals, self.wanted, strict=True)))

        chosen = self.chosen(primals)
        sizes = [batch_of(pair) for pair in zip(chosen, tangents, strict=True)]
        points, directions = (tuple(map(with_batch, arrays, sizes)) for arrays in (chosen, tangents))
        return tuple(jax.jvp(of_wanted, points, directions)[1])

    def shapes(self, operands: Shapes) -> Shapes:
        primals, _, tangents = self.split(operands)
        left, widened = iter(tangents), []
        for (shape, dtype), wanted in zip(primals, self.wanted, strict=True):
            size = max(shape[-1], next(left)[0][-1]) if wanted else shape[-1]
            widened.append(((*shape[:-1], size), dtype))
        return _like(self, self.function).shapes(tuple(widened))


@dataclass(frozen=True)
class Pullback(_Linear):
    """The transpose of `Tangent`: from cotangents of the results to cotangents of the wanted operands."""

    @property
    def sums(self) -> bool:
        return True

    def run(self, platform: str, *operands: Array) -> tuple[Array, ...]:
        return self.chosen(self.function.pull_back(platform, *self.split(operands), self.per_example))

    def shapes(self, operands: Shapes) -> Shapes:
        primals, _, cotangents = self.split(operands)
        full = batch_of_shapes((*primals, *cotangents))
        chosen = self.chosen(primals)
        return tuple(((*shape[:-1], full), dtype) for shape, dtype in chosen) if self.per_example else chosen


def _like(outer: BatchLast, inner: BatchLast) -> BatchLast:
    """Returns the inner function, with results per example where the outer one has them."""
    return replace(inner, per_example=True) if outer.per_example and not inner.per_example else inner


# The primitive and its rules. -------------------------------------------------------------------------------


def call(function: BatchLast, *operands: Array) -> tuple[Array, ...]:
    """Returns function(*operands), under any transformation of JAX.

    Args:
      function: what to compute.
      *operands: floating-point arrays `[..., 1 or batch]`.
    """
    return tuple(_batch_last_p.bind(*_vary_alike(operands), function=function))


_batch_last_p = Primitive("batch_last")
_batch_last_p.multiple_results = True


def _run(*operands: Any, function: BatchLast) -> list[Array]:
    """Returns what a call outside of jit computes, by the program that jit would run."""
    settings: Any = jax.config
    if settings.jax_disable_jit:
        return list(function(*operands))
    arrays = [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in operands]
    kinds = tuple((jax.typeof(x), x.sharding if x.committed else None) for x in arrays)
    chosen = settings.jax_enable_x64, settings.jax_default_device, settings.jax_default_matmul_precision
    return list(_compiled(function, kinds, chosen)(*arrays))


@lru_cache(maxsize=MAX_KEPT_PROGRAMS)
def _compiled(function: BatchLast, kinds: tuple[tuple[Any, Any], ...], chosen: tuple[Any, ...]) -> Any:
    """Returns the compiled program of a function.

    It is compiled ahead of time: what `jax.jit` returns would also keep the module that was compiled, 1.3 MiB each.

    Args:
      function: what to compute.
      kinds: type of each operand, and where it must be; None where it may be anywhere.
      chosen: JAX's settings that change the program; they are part of the key alone.
    """
    like = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place, weak_type=x.weak_type)  # type: ignore[no-untyped-call]
        for x, place in kinds
    ]
    return jax.jit(lambda *xs: _batch_last_p.bind(*xs, function=function)).lower(*like).compile()


@lru_cache(maxsize=MAX_KEPT_PLANS)
def _traced_shapes(function: BatchLast, operands: Shapes) -> Shapes:
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in operands]
    return tuple((x.shape, x.dtype) for x in jax.eval_shape(lambda *xs: function(*xs), *arrays))


def _vary_alike(operands: Sequence[Array]) -> tuple[Array, ...]:
    """Under shard_map, casts all operands to vary over the mesh axes that any of them varies over.

    The transpose of that cast is the sum over devices that the gradient of a shared operand needs.
    """
    axes: frozenset[Any] = frozenset().union(*(_varying_axes(x) for x in operands))
    if not axes:
        return tuple(operands)
    missing = [tuple(axes - _varying_axes(x)) for x in operands]
    return tuple(jax.lax.pcast(x, m, to="varying") if m else x for x, m in zip(operands, missing, strict=True))


def _varying_axes(value: Any) -> frozenset[Any]:
    """Returns the axes of a shard_map over which the value varies."""
    aval = value if isinstance(value, jax.core.ShapedArray) else jax.typeof(value)
    kind = getattr(aval, "manual_axis_type", None)  # its name before jax 0.10 was vma
    return frozenset(kind.varying if kind is not None else getattr(aval, "vma", None) or ())


def _abstract(*operands: Any, function: BatchLast) -> list[Any]:
    """Returns the types of the results; they vary over the axes of a shard_map over which the operands do."""
    plain = [jax.core.ShapedArray(shape, dtype) for shape, dtype in function.shapes(shapes_of(operands))]
    like = next((x for x in operands if _varying_axes(x)), None)
    if like is None:
        return plain
    if not hasattr(like, "manual_axis_type"):
        return [x.update(vma=_varying_axes(like)) for x in plain]
    sharding = [NamedSharding(like.sharding.mesh, PartitionSpec(*[None] * x.ndim)) for x in plain]
    kind = like.manual_axis_type
    return [x.update(sharding=s, manual_axis_type=kind) for x, s in zip(plain, sharding, strict=True)]


def _lower(platform: str, context: Any, *operands: Any, function: BatchLast) -> Any:
    """Lowers the function for a platform, without the axes of a shard_map.

    Nothing inside communicates, and loops start from zeros that vary over none of them.
    """
    ins, outs = (
        [jax.core.ShapedArray(x.shape, x.dtype) for x in avals] for avals in (context.avals_in, context.avals_out)
    )
    lower = mlir.lower_fun(partial(function.run, platform), multiple_results=True)
    return lower(context.replace(avals_in=ins, avals_out=outs), *operands)


def _batch(operands: Sequence[Any], dims: Sequence[Any], *, function: BatchLast) -> tuple[list[Array], list[int]]:
    """Folds the mapped axis into the last one: an example's number becomes (its old number, its place in the map)."""
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    # Each `[..., 1 or batch, 1 or size]`.
    moved = [x[..., None] if d is None else jnp.moveaxis(x, d, -1) for x, d in zip(operands, dims, strict=True)]
    old = max(x.shape[-2] for x in moved)
    before = function.shapes(tuple((tuple(x.shape[:-1]), x.dtype) for x in moved))
    if size == 0:  # nothing is computed, so that no function has to know of it
        return [jnp.zeros((*shape, 0), dtype) for shape, dtype in before], [len(shape) for shape, _ in before]
    folded = [
        x[..., 0]
        if x.shape[-2:] == (1, 1)
        else jnp.broadcast_to(x, (*x.shape[:-2], old, size)).reshape((*x.shape[:-2], old * size))
        for x in moved
    ]
    each = replace(function, per_example=True) if function.sums else function
    results = _batch_last_p.bind(*folded, function=each)
    outs = []
    for result, (shape, _) in zip(results, before, strict=True):
        apart = with_batch(result, old * size).reshape((*result.shape[:-1], old, size))
        outs.append(apart.sum(axis=-2, keepdims=True) if shape[-1] < old else apart)
    return outs, [out.ndim - 1 for out in outs]


def _jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, function: BatchLast
) -> tuple[Sequence[Array], Sequence[Any]]:
    wanted = tuple(not isinstance(t, ad.Zero) for t in tangents)
    function = function.settled(shapes_of(primals))
    results = _batch_last_p.bind(*primals, function=_Saving(function=function))
    num_results = len(function.shapes(shapes_of(primals)))
    values, saved = results[:num_results], results[num_results:]
    tangent = Tangent(function=function, wanted=wanted, num_saved=len(saved))
    return values, _batch_last_p.bind(*primals, *saved, *tangent.chosen(tangents), function=tangent)


def _transpose(cotangents: Sequence[Any], *operands: Any, function: BatchLast) -> list[Any]:
    assert isinstance(function, Tangent), "only tangents are linear"
    primals, saved, tangents = function.split(operands)
    assert all(map(ad.is_undefined_primal, tangents)), "all tangents are linear together"
    filled = [ad.instantiate_zeros(ct) for ct in cotangents]
    shapes = [tuple(t.aval.shape) for t in tangents]
    # A tangent that differs between examples along which its primal is shared has a cotangent for each of them.
    each = any(shape[-1] > x.shape[-1] for shape, x in zip(shapes, function.chosen(primals), strict=True))
    inner = _like(function, function.function)
    pullback = Pullback(each, inner, function.wanted, function.num_saved)
    results = _batch_last_p.bind(*primals, *saved, *filled, function=pullback)
    summed = [ct if ct.shape == s else ct.sum(axis=-1, keepdims=True) for ct, s in zip(results, shapes, strict=True)]
    return [None] * (len(primals) + len(saved)) + summed


_batch_last_p.def_impl(_run)
_batch_last_p.def_abstract_eval(_abstract)
mlir.register_lowering(_batch_last_p, partial(_lower, ""))
for _platform in ("cpu", "cuda"):
    mlir.register_lowering(_batch_last_p, partial(_lower, _platform), platform=_platform)
batching.primitive_batchers[_batch_last_p] = _batch
ad.primitive_jvps[_batch_last_p] = _jvp
ad.primitive_transposes[_batch_last_p] = _transpose
