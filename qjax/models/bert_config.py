"""Sizes and switches of a BERT encoder, as a checkpoint's config.json states them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qjax.checks import check, check_choice, fail
from qjax.models.dropout import check_dropout_rate
from qjax.types import Array
from qjax.untrusted import MAX_LAYERS, MAX_SIZE, MAX_VOCABULARY


def _gelu_quick(x: Array) -> Array:
    return x * jax.nn.sigmoid(1.702 * x)


# Names as in a checkpoint's config.json. 'gelu' is the exact form, by the error function; 'gelu_new',
# 'gelu_pytorch_tanh' and 'gelu_fast' are one approximation by tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415).
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_python": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "gelu_fast": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": _gelu_quick,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}

# Switches of a config.json that would change the computation, and the only value that is supported.
_FIXED_SWITCHES: dict[str, Any] = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
}

# The largest value of each size.
_MOST = {
    "vocab_size": MAX_VOCABULARY,
    "hidden_size": MAX_SIZE,
    "num_hidden_layers": MAX_LAYERS,
    "num_attention_heads": MAX_SIZE,
    "intermediate_size": MAX_SIZE,
    "max_position_embeddings": MAX_SIZE,
    "type_vocab_size": MAX_SIZE,
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The fields of a Hugging Face config.json that are supported, under the same names.

    Attributes:
      vocab_size: word pieces.
      hidden_size: features a token; a multiple of `num_attention_heads`.
      num_hidden_layers: layers.
      num_attention_heads: heads a layer.
      intermediate_size: units between the two maps of the feed-forward part.
      max_position_embeddings: longest sequence, in word pieces.
      type_vocab_size: token types (segments).
      hidden_act: activation of the feed-forward part, one of `ACTIVATIONS`.
      hidden_dropout_prob: dropout after the embeddings, the attention and the feed-forward part.
      attention_probs_dropout_prob: dropout on the attention weights.
      layer_norm_eps: added to the variance in a layer norm.
      pad_token_id: the padding's word piece. The encoder goes by its mask and never reads this.
      initializer_range: standard deviation of initial weights.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            check(1 <= value <= most, name, f"lie in 1..{most}", value)
        check(
            self.hidden_size % self.num_attention_heads == 0,
            "hidden_size",
            f"be a multiple of num_attention_heads ({self.num_attention_heads})",
            self.hidden_size,
        )
        check_choice("hidden_act", self.hidden_act, ACTIVATIONS)
        check_dropout_rate("hidden_dropout_prob", self.hidden_dropout_prob)
        check_dropout_rate("attention_probs_dropout_prob", self.attention_probs_dropout_prob)
        check(0 < self.layer_norm_eps < 1, "layer_norm_eps", "lie between 0 and 1", self.layer_norm_eps)
        spread = self.initializer_range
        check(0 <= spread < math.inf, "initializer_range", "be a finite number of 0 or more", spread)
        check(
            0 <= self.pad_token_id < self.vocab_size,
            "pad_token_id",
            f"lie in 0..{self.vocab_size - 1}",
            self.pad_token_id,
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "BertConfig":
        """Returns the configuration that a config.json's contents describe.

        Sizes must be there; the other fields default to the values that the format documents. Keys that do not touch
        the encoder's computation (training notes, label names, versions) are ignored; a switch that would touch it
        and is not supported raises `UserError`.
        """
        for name, supported in _FIXED_SWITCHES.items():
            value = mapping.get(name)
            if value is not None and value != supported:
                fail(name, f"be {supported!r}, as nothing else is supported", repr(value))
        values = {}
        for field in dataclasses.fields(cls):
            if field.name in mapping:
                values[field.name] = _typed(field.name, mapping[field.name], field.type)
            elif field.default is dataclasses.MISSING:
                fail(field.name, "stand in the encoder's config.json", f"only {', '.join(sorted(mapping))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, with the switches spelt out."""
        return dataclasses.asdict(self) | {"model_type": "bert", "position_embedding_type": "absolute"}


def _typed(name: str, value: Any, kind: Any) -> Any:
    """Returns a JSON `value` as `kind`, or raises; 0 is a fine float, true is no number."""
    accepted = (int, float) if kind is float else (kind,)
    check(
        isinstance(value, accepted) and not isinstance(value, bool), name, f"be of type {kind.__name__}", repr(value)
    )
    return kind(value)
