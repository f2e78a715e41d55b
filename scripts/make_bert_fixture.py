"""Writes the reference activations that tests/models compares `Bert` with: torch and transformers, in float64.

Command:  python scripts/make_bert_fixture.py --checkpoint DIRECTORY_OF_MINILM [--output tests/fixtures]

torch is needed here only; the tests read the files. Every file of activations holds the batch (token_ids,
mask, token_type_ids) and, for each case, hidden states `[num_layers + 1, batch, length, hidden]` and pooled
`[batch, hidden]`. The small models' weights and configurations lie beside theirs, as transformers writes them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, BertTokenizerFast

SENTENCES = [
    "A film of rare, quiet beauty; I would happily sit through all three hours of it again tomorrow night.",
    "Dull.",
    "It never finds its feet, though the leads do try.",
]

# MiniLM's file keeps every 8th feature, of all tokens and layers: small, and an error anywhere reaches all of them.
FEATURE_STRIDE = 8

TINY = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}

# Name of the case -> what it changes in TINY. The weights' shapes stay, so that all cases share one file.
CASES: dict[str, dict[str, Any]] = {
    name: {"hidden_act": name}
    for name in (
        "gelu",
        "gelu_python",
        "gelu_new",
        "gelu_pytorch_tanh",
        "gelu_fast",
        "quick_gelu",
        "relu",
        "silu",
        "swish",
        "tanh",
    )
}
CASES |= {
    "large_epsilon": {"layer_norm_eps": 1e-2},
    "one_head": {"num_attention_heads": 1},
    "many_heads": {"num_attention_heads": 12},
}


def tiny_batch() -> dict[str, np.ndarray]:
    """Returns three rows: full length, much padding, some padding; two token types."""
    generator = np.random.default_rng(1)
    lengths = np.array([12, 3, 8])
    mask = (np.arange(12) < lengths[:, None]).astype(np.int32)
    token_ids = (generator.integers(1, TINY["vocab_size"], (3, 12)) * mask).astype(np.int32)
    token_type_ids = ((np.arange(12) >= lengths[:, None] // 2) * mask).astype(np.int32)
    return {"token_ids": token_ids, "mask": mask, "token_type_ids": token_type_ids}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Draws float32 weights large enough for activations, attention and layer norms to leave their linear range."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if name.endswith("LayerNorm.weight") else 0.4 * noise)


def activations(model: BertModel, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns hidden states and pooled features in float64."""
    model = model.double().eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor(batch["token_ids"], dtype=torch.long),
            attention_mask=torch.tensor(batch["mask"], dtype=torch.long),
            token_type_ids=torch.tensor(batch["token_type_ids"], dtype=torch.long),
            output_hidden_states=True,
        )
    found = {"hidden_states": torch.stack(output.hidden_states).numpy()}
    if output.pooler_output is not None:
        found["pooled"] = output.pooler_output.numpy()
    return found


def config_of(changes: dict[str, Any]) -> BertConfig:
    return BertConfig(**(TINY | changes), attn_implementation="eager")


def save_tiny(output: Path, name: str, model: torch.nn.Module) -> None:
    """Writes the float32 weights and config.json as transformers does, under this fixture's names."""
    scratch = output / f"{name}.unfinished"
    model.save_pretrained(scratch)
    (scratch / "model.safetensors").rename(output / f"{name}.safetensors")
    (scratch / "config.json").rename(output / f"{name}.json")
    for left in scratch.iterdir():
        left.unlink()
    scratch.rmdir()


def make_tiny_shared(output: Path) -> None:
    """One file of weights, no prefix, with pooler; activations of each of `CASES`."""
    batch = tiny_batch()
    model = BertModel(config_of({}))
    randomize(model, seed=0)
    save_tiny(output, "bert_tiny_shared", model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    arrays: dict[str, Any] = dict(batch)
    for name, changes in CASES.items():
        changed = BertModel(config_of(changes))
        changed.load_state_dict(weights)
        arrays |= {f"{key}/{name}": value for key, value in activations(changed, batch).items()}
    np.savez_compressed(output / "bert_tiny_shared.npz", cases=json.dumps(CASES), **arrays)


def make_tiny_with_heads(output: Path) -> None:
    """Two task models: names with 'bert.', one with a classifier and a single token type, one without a pooler."""
    batch = tiny_batch()
    one_type = batch | {"token_type_ids": np.zeros_like(batch["token_type_ids"])}
    for name, model_class, changes, inputs in (
        ("bert_tiny_classifier", BertForSequenceClassification, {"type_vocab_size": 1}, one_type),
        ("bert_tiny_masked_lm", BertForMaskedLM, {"hidden_size": 16, "num_hidden_layers": 3}, batch),
    ):
        model = model_class(config_of(changes))
        randomize(model, seed=2)
        save_tiny(output, name, model)
        np.savez_compressed(output / f"{name}.npz", **inputs, **activations(model.bert, inputs))


def make_minilm(output: Path, checkpoint: Path) -> None:
    """Activations of the packaged MiniLM on `SENTENCES`."""
    tokenizer = BertTokenizerFast.from_pretrained(checkpoint)
    encoded = tokenizer(SENTENCES, padding=True, return_tensors="np")
    names = {"token_ids": "input_ids", "mask": "attention_mask", "token_type_ids": "token_type_ids"}
    batch = {ours: encoded[theirs].astype(np.int32) for ours, theirs in names.items()}
    model = BertModel.from_pretrained(checkpoint, attn_implementation="eager", dtype=torch.float32)
    found = activations(model, batch)
    np.savez_compressed(
        output / "bert_minilm.npz",
        **batch,
        feature_stride=FEATURE_STRIDE,
        hidden_states=found["hidden_states"][..., ::FEATURE_STRIDE],
        pooled=found["pooled"],
        versions=json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, default=Path("tests/fixtures"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    make_minilm(arguments.output, arguments.checkpoint)
    make_tiny_shared(arguments.output)
    make_tiny_with_heads(arguments.output)
    for path in sorted(arguments.output.glob("bert_*")):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
