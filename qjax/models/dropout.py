"""Dropout whose mask belongs to the example, not to its place in a batch.

`flax.linen.Dropout` draws one mask for a whole batch, so an example's mask changes with its neighbours, with the
number of devices and with gradient accumulation. Here every example brings a key of its own, and a mask is a function
of that key and of the place in the network (the site) alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from qjax.checks import check
from qjax.types import Array, Float, Int, Key


def check_dropout_keys(dropout_keys: Any, batch_size: int) -> None:
    """Raises unless `dropout_keys` is None or holds one typed threefry key an example.

    Other generators are refused because `vmap` changes what they draw ("rbg" draws for the batch as a whole), and
    an example's mask would not be its own.
    """
    if dropout_keys is None:
        return
    expectation = f"hold one typed key an example (jax.random.key), shape ({batch_size},)"
    typed = isinstance(dropout_keys, jax.Array) and jnp.issubdtype(dropout_keys.dtype, jax.dtypes.prng_key)
    check(typed, "dropout_keys", expectation, f"an array of {getattr(dropout_keys, 'dtype', type(dropout_keys))}")
    check(dropout_keys.shape == (batch_size,), "dropout_keys", expectation, f"shape {dropout_keys.shape}")
    generator = str(jax.random.key_impl(dropout_keys))
    check(generator == "threefry2x32", "dropout_keys", "be keys of the generator threefry2x32", generator)


def check_dropout_rate(argument: str, rate: float) -> None:
    """Raises unless `rate` is a probability below 1."""
    check(0 <= rate < 1, argument, "be a probability in [0, 1)", rate)


def fold_in(
    dropout_keys: Key[Array, " batch"] | None, sites: Int[Array, "*sites"] | int
) -> Key[Array, "*sites batch"] | None:
    """Returns the keys `[*sites, batch]` of places in the network: `jax.random.fold_in` on each example's key.

    All sites in one call compile once; None stays None.

    Args:
      dropout_keys: `[batch]`.
      sites: integers of any shape, or one.
    """
    if dropout_keys is None:
        return None
    one_site = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    flat = jnp.ravel(jnp.asarray(sites))
    keys: Key[Array, "*sites batch"] = jax.vmap(one_site, in_axes=(None, 0))(dropout_keys, flat)
    return keys.reshape(*jnp.shape(sites), *dropout_keys.shape)


def drop_features(
    features: Float[Array, "batch *rest"], keys: Key[Array, " batch"] | None, *, rate: float
) -> Float[Array, "batch *rest"]:
    """Sets each feature to zero with probability `rate` and divides the others by 1 - `rate`.

    Srivastava et al. 2014, JMLR 15, section 10, in the inverted form that leaves inference alone.

    Args:
      features: `[batch, ...]`.
      keys: typed keys `[batch]` of this site; None leaves the features as they are.
      rate: in [0, 1).
    """
    if keys is None or rate == 0:
        return features
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, features.shape[1:]))(keys)
    return jnp.where(keep, features / (1 - rate), jnp.zeros((), features.dtype))


class ExampleDropout(nn.Module):
    """Dropout as a module: `drop_features` with the keys of one site.

    Attributes:
      rate: probability of a zero, in [0, 1).
      site: number of this place in the network. Two sites that see the same keys need two numbers.
    """

    rate: float
    site: int = 0

    def __call__(
        self, features: Float[Array, "batch *rest"], dropout_keys: Key[Array, " keys"] | None
    ) -> Float[Array, "batch *rest"]:
        """Returns `features` `[batch, ...]` with dropout; unchanged where `dropout_keys` is None.

        Args:
          features: `[batch, ...]`.
          dropout_keys: typed keys `[batch]`, one an example.
        """
        check_dropout_rate("rate", self.rate)
        check_dropout_keys(dropout_keys, features.shape[0])
        if self.rate == 0:
            return features
        return drop_features(features, fold_in(dropout_keys, self.site), rate=self.rate)
