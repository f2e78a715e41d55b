"""BERT's encoder (Devlin et al. 2018, arXiv:1810.04805) in flax.linen.

Equal to the reference implementation: `tests/models/test_bert.py` compares hidden states layer by layer. The layers
run under `nn.scan`, so that compile time does not grow with depth; their parameters are stacked, `[num_layers, ...]`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from qjax.checks import check, check_choice
from qjax.models.bert_config import ACTIVATIONS
from qjax.models.bert_config import BertConfig as BertConfig
from qjax.models.dropout import check_dropout_keys, drop_features, fold_in
from qjax.types import Array, Float, Key

DTYPES = ("float32", "bfloat16", "float64")

# Places in the encoder that draw a mask, by number among all that see an example's key (0 is the head's): 1 for the
# embeddings, then three a layer, counted over frozen and trained layers together, so that freezing changes no mask.
_FIRST_SITE = 1
_SITES_PER_LAYER = 3  # attention weights, attention output, feed-forward output


class BertOutput(NamedTuple):
    """What the encoder returns.

    Attributes:
      last_hidden_state: `[batch, length, hidden]`. Rows of padding hold finite numbers without a meaning.
      pooled: `[batch, hidden]`, tanh of an affine map of the first token; None without a pooling layer.
      hidden_states: `[num_layers + 1, batch, length, hidden]`, embeddings first; None unless asked for.
    """

    last_hidden_state: Array
    pooled: Array | None
    hidden_states: Array | None


def attend(
    query: Float[Array, "batch length heads features"],
    key: Float[Array, "batch length heads features"],
    value: Float[Array, "batch length heads features"],
    mask: Any,
    *,
    dropout_rate: float = 0.0,
    dropout_keys: Key[Array, " batch"] | None = None,
) -> Float[Array, "batch length heads features"]:
    """Returns softmax(query key^T / sqrt(features)) value, over the real tokens (Vaswani et al. 2017, eq. 1).

    `jax.nn.dot_product_attention` has no dropout and rounds its softmax to float32, so flax's function serves
    training with dropout and float64. A row without any real token attends evenly to all of its padding: finite,
    and unused.

    Args:
      query: `[batch, length, heads, features]`; likewise `key` and `value`.
      mask: bool `[batch, length]`, True for real tokens.
      dropout_rate: of the attention weights.
      dropout_keys: typed keys `[batch]`, one an example; None for no dropout.
    """
    has_dropout = dropout_keys is not None and dropout_rate > 0
    if not has_dropout and query.dtype != jnp.float64:
        attended: Array = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
        return attended

    def attend_one(query: Array, key: Array, value: Array, mask: Array, dropout_key: Array | None) -> Array:
        return nn.dot_product_attention(
            query,
            key,
            value,
            mask=mask[None, None, :],
            broadcast_dropout=False,
            dropout_rng=dropout_key,
            dropout_rate=dropout_rate,
            deterministic=not has_dropout,
            force_fp32_for_softmax=query.dtype != jnp.float64,
        ).astype(query.dtype)

    attended = jax.vmap(attend_one)(query, key, value, mask, dropout_keys)
    return attended


def _param_dtype(dtype: Any) -> Any:
    """Parameters are float32, also under bfloat16 computation; float64 is all float64."""
    return jnp.promote_types(dtype, jnp.float32)


def _dense(config: BertConfig, dtype: Any, features: int, name: str) -> nn.Dense:
    init = nn.initializers.normal(config.initializer_range)
    return nn.Dense(features, dtype=dtype, param_dtype=_param_dtype(dtype), kernel_init=init, name=name)


def _layer_norm(config: BertConfig, dtype: Any, name: str) -> nn.LayerNorm:
    # The two-pass variance: E[x^2] - E[x]^2 loses digits where the mean is large. Statistics are float32 at least.
    return nn.LayerNorm(
        epsilon=config.layer_norm_eps,
        dtype=dtype,
        param_dtype=_param_dtype(dtype),
        use_fast_variance=False,
        name=name,
    )


class BertEmbeddings(nn.Module):
    """Sum of word, position and token type embeddings, layer norm, dropout (Devlin et al. 2018, figure 2)."""

    config: BertConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: Array, token_type_ids: Array, keys: Array | None) -> Array:
        """Returns `[batch, length, hidden]` from ids `[batch, length]` and the site's dropout keys `[batch]`."""
        config = self.config

        def embed(name: str, size: int, ids: Array) -> Array:
            init = nn.initializers.normal(config.initializer_range)
            dtypes = {"dtype": self.dtype, "param_dtype": _param_dtype(self.dtype)}
            return nn.Embed(size, config.hidden_size, embedding_init=init, name=name, **dtypes)(ids)

        positions = jnp.arange(token_ids.shape[1])[None]
        hidden = (
            embed("word_embeddings", config.vocab_size, token_ids)
            + embed("token_type_embeddings", config.type_vocab_size, token_type_ids)
            + embed("position_embeddings", config.max_position_embeddings, positions)
        )
        hidden = _layer_norm(config, self.dtype, "layer_norm")(hidden)
        return drop_features(hidden, keys, rate=config.hidden_dropout_prob)


class BertLayer(nn.Module):
    """Self-attention and feed-forward part, each with a residual and a layer norm after it."""

    config: BertConfig
    dtype: Any = jnp.float32
    output_hidden_states: bool = False

    @nn.compact
    def __call__(self, hidden: Array, dropout_keys: Array | None, mask: Array) -> tuple[Array, Array | None]:
        """Returns the next `hidden` `[batch, length, hidden]`, and the same again where it is to be collected.

        Args:
          hidden: `[batch, length, hidden]`.
          dropout_keys: `[3, batch]`, the keys of the layer's three sites; None for no dropout.
          mask: bool `[batch, length]`.
        """
        config = self.config
        dense, layer_norm = partial(_dense, config, self.dtype), partial(_layer_norm, config, self.dtype)
        weight_keys, *keys = [None] * _SITES_PER_LAYER if dropout_keys is None else dropout_keys
        drop = partial(drop_features, rate=config.hidden_dropout_prob)

        def split_heads(features: Array) -> Array:
            return features.reshape(*features.shape[:2], config.num_attention_heads, -1)

        query, key, value = (split_heads(dense(config.hidden_size, n)(hidden)) for n in ("query", "key", "value"))
        attended = attend(
            query,
            key,
            value,
            mask,
            dropout_rate=config.attention_probs_dropout_prob,
            dropout_keys=weight_keys,
        )
        attended = dense(config.hidden_size, "attention_output")(attended.reshape(hidden.shape))
        hidden = layer_norm("attention_layer_norm")(hidden + drop(attended, keys[0]))

        intermediate = ACTIVATIONS[config.hidden_act](dense(config.intermediate_size, "intermediate")(hidden))
        output = dense(config.hidden_size, "output")(intermediate)
        hidden = layer_norm("output_layer_norm")(hidden + drop(output, keys[1]))
        return hidden, hidden if self.output_hidden_states else None


class Bert(nn.Module):
    """BERT's encoder.

    Parameters: {'embeddings', 'frozen_layers', 'layers', 'pooler'}; the two groups of layers are stacked and exist
    where they hold a layer at all.

    Attributes:
      config: sizes and switches.
      num_frozen_layers: the embeddings and this many first layers stay as they are: they are a group of their own,
        get no gradient and keep no activations for one. 0 trains everything, embeddings included.
      dtype: of the computation, one of `DTYPES`; parameters are float32 (float64 under float64). Softmax and the
        statistics of layer norms are float32 at least.
      remat: recompute a layer's activations in the reverse pass instead of storing them.
      add_pooling_layer: whether to compute `pooled`.
    """

    config: BertConfig
    num_frozen_layers: int = 0
    dtype: Any = jnp.float32
    remat: bool = False
    add_pooling_layer: bool = True

    @nn.compact
    def __call__(
        self,
        token_ids: Any,
        mask: Any,
        *,
        token_type_ids: Any = None,
        dropout_keys: Key[Array, " keys"] | None = None,
        output_hidden_states: bool = False,
    ) -> BertOutput:
        """Encodes a batch.

        Args:
          token_ids: integers `[batch, length]`; an id outside the vocabulary gives NaN, as far as JAX can tell.
          mask: `[batch, length]`, 1 for real tokens and 0 for padding, integers or bool.
          token_type_ids: integers `[batch, length]`; None for all zeros.
          dropout_keys: typed keys `[batch]`, one an example; None for no dropout. Masks depend on an example's key,
            and those of the attention on the padded length too, but never on the rest of the batch.
          output_hidden_states: whether to return every layer's output.
        """
        config = self.config
        token_types = jnp.zeros_like(token_ids) if token_type_ids is None else jnp.asarray(token_type_ids)
        token_ids, mask = jnp.asarray(token_ids), jnp.asarray(mask)
        self._check(token_ids, mask, token_types, dropout_keys)
        mask = mask.astype(bool)
        embedding_keys, layer_keys = self._site_keys(dropout_keys)

        embeddings = self._stop_gradient(BertEmbeddings) if self.num_frozen_layers else BertEmbeddings
        hidden = embeddings(config, self.dtype, name="embeddings")(token_ids, token_types, embedding_keys)
        collected = [hidden[None]]
        groups = {"frozen_layers": (0, self.num_frozen_layers)}
        groups["layers"] = (self.num_frozen_layers, config.num_hidden_layers)
        for name, (first, last) in groups.items():
            if first < last:
                layers = self._scanned_layers(last - first, output_hidden_states, frozen=name == "frozen_layers")
                scanned = layers(config, self.dtype, output_hidden_states, name=name)
                group_keys = None if layer_keys is None else layer_keys[first:last]
                hidden, outputs = scanned(hidden, group_keys, mask)
                collected.append(outputs)
        pooled = None
        if self.add_pooling_layer:
            pooled = jnp.tanh(_dense(config, self.dtype, config.hidden_size, "pooler")(hidden[:, 0]))
        return BertOutput(hidden, pooled, jnp.concatenate(collected) if output_hidden_states else None)

    def _site_keys(self, dropout_keys: Array | None) -> tuple[Array | None, Array | None]:
        """Returns the dropout keys of the embeddings, `[batch]`, and of the layers, `[num_layers, 3, batch]`."""
        num_layers = self.config.num_hidden_layers
        rates = (self.config.hidden_dropout_prob, self.config.attention_probs_dropout_prob)
        if dropout_keys is None or not any(rates):
            return None, None
        keys = fold_in(dropout_keys, _FIRST_SITE + jnp.arange(1 + _SITES_PER_LAYER * num_layers))
        assert keys is not None
        return keys[0], keys[1:].reshape(num_layers, _SITES_PER_LAYER, -1)

    def _scanned_layers(self, length: int, output_hidden_states: bool, *, frozen: bool) -> Any:
        """Returns `BertLayer` as a module class of `length` stacked layers."""
        layer: Any = BertLayer
        if self.remat and not frozen:
            # Inside scan the loop itself keeps XLA from merging the recomputation with the first computation.
            layer = nn.remat(layer, prevent_cse=False)
        scanned = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            length=length,
        )
        return self._stop_gradient(scanned) if frozen else scanned

    def _stop_gradient(self, module_class: Any) -> Any:
        """Returns the module class with its parameters treated as constants.

        Stopping the gradient at the parameters, rather than at the output, leaves nothing to differentiate inside: no
        activation is kept for a reverse pass.
        """
        return nn.map_variables(module_class, "params", jax.lax.stop_gradient, init=self.is_initializing())

    def _check(self, token_ids: Array, mask: Array, token_type_ids: Array, dropout_keys: Any) -> None:
        """Raises `UserError` for attributes and arguments that do not fit together."""
        config = self.config
        dtype = self.dtype if isinstance(self.dtype, str) else jnp.dtype(self.dtype).name
        check_choice("dtype", dtype, DTYPES)
        if dtype == "float64":
            has_float64 = jnp.result_type(float) == jnp.float64
            check(has_float64, "dtype", "be 'float32' or 'bfloat16' unless jax_enable_x64 is set", dtype)
        most = config.num_hidden_layers
        fits = 0 <= self.num_frozen_layers <= most
        check(fits, "num_frozen_layers", f"lie in 0..{most}, the encoder's layers", self.num_frozen_layers)
        shape = token_ids.shape
        check(
            len(shape) == 2 and jnp.issubdtype(token_ids.dtype, jnp.integer),
            "token_ids",
            "hold integers, shape [batch, length]",
            f"{token_ids.dtype}{list(shape)}",
        )
        most = config.max_position_embeddings
        check(1 <= shape[1] <= most, "token_ids", f"have a length in 1..{most} (max_position_embeddings)", shape[1])
        for name, array in (("mask", mask), ("token_type_ids", token_type_ids)):
            whole = jnp.issubdtype(array.dtype, jnp.integer) or (name == "mask" and array.dtype == bool)
            check(
                array.shape == shape and whole,
                name,
                f"hold integers, shape {list(shape)} like `token_ids`",
                f"{array.dtype}{list(array.shape)}",
            )
        check_dropout_keys(dropout_keys, shape[0])
