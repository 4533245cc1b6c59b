"""Hugging Face checkpoints in: a renaming of tensors, the same for weights and for their gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from longctx.model.config import ModelConfig
from longctx.model.transformer import Transformer, build_model


def config_from_hf(hf: Any) -> ModelConfig:
    """The config that describes a Hugging Face ``GPT2Config`` or ``LlamaConfig``.

    Raises:
        ValueError: another architecture, or a choice that this library does not make.
    """
    if hf.model_type == "gpt2":
        _require(hf.activation_function == "gelu_new", "activation_function", hf.activation_function)
        return ModelConfig(
            family="gpt",
            n_layers=hf.n_layer,
            d_model=hf.n_embd,
            n_heads=hf.n_head,
            d_ff=hf.n_inner or 4 * hf.n_embd,
            vocab_size=hf.vocab_size,
            position=f"learned(max_length={hf.n_positions})",
            norm_eps=hf.layer_norm_epsilon,
            tie_embeddings=hf.tie_word_embeddings,
        )
    if hf.model_type == "llama":
        rope = hf.rope_parameters
        _require(hf.hidden_act == "silu", "hidden_act", hf.hidden_act)
        _require(rope["rope_type"] == "default", "rope_parameters.rope_type", rope["rope_type"])
        _require(not hf.attention_bias and not hf.mlp_bias, "attention_bias or mlp_bias", True)
        return ModelConfig(
            family="llama",
            n_layers=hf.num_hidden_layers,
            d_model=hf.hidden_size,
            n_heads=hf.num_attention_heads,
            n_kv_heads=hf.num_key_value_heads,
            d_ff=hf.intermediate_size,
            vocab_size=hf.vocab_size,
            position={"name": "rope", "base": float(rope["rope_theta"])},
            norm_eps=hf.rms_norm_eps,
            tie_embeddings=hf.tie_word_embeddings,
        )
    raise ValueError(f"model_type must be gpt2 or llama, got {hf.model_type!r}")


def from_hf(hf: Any) -> Transformer:
    """The model that computes what a Hugging Face ``GPT2LMHeadModel`` or ``LlamaForCausalLM`` computes."""
    config = config_from_hf(hf.config)
    model = build_model(config)
    tensors = rename(config, hf.state_dict())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
    return model


def rename(config: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's tensors under this library's names, transposed and joined where the layouts differ.

    Linear in every tensor, hence right for gradients as well.
    """
    return (_gpt2 if config.family == "gpt" else _llama)(config, tensors.__getitem__)


def _gpt2(config: ModelConfig, get: Callable[[str], Tensor]) -> dict[str, Tensor]:
    named = {
        "embedding.weight": get("transformer.wte.weight"),
        "position.weight": get("transformer.wpe.weight"),
        "final_norm.weight": get("transformer.ln_f.weight"),
        "final_norm.bias": get("transformer.ln_f.bias"),
    }
    parts = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }
    for layer in range(config.n_layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                tensor = get(f"transformer.h.{layer}.{theirs}.{kind}")
                # GPT-2 keeps its matrices as inputs × outputs
                named[f"blocks.{layer}.{ours}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    if not config.tie_embeddings:
        named["head.weight"] = get("lm_head.weight")
    return named


def _llama(config: ModelConfig, get: Callable[[str], Tensor]) -> dict[str, Tensor]:
    named = {
        "embedding.weight": get("model.embed_tokens.weight"),
        "final_norm.weight": get("model.norm.weight"),
    }
    parts = {
        "attention_norm": ("input_layernorm",),
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.out": ("self_attn.o_proj",),
        "feed_forward_norm": ("post_attention_layernorm",),
        "feed_forward.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "feed_forward.down": ("mlp.down_proj",),
    }
    for layer in range(config.n_layers):
        for ours, theirs in parts.items():
            tensors = [get(f"model.layers.{layer}.{name}.weight") for name in theirs]
            named[f"blocks.{layer}.{ours}.weight"] = torch.cat(tensors)
    if not config.tie_embeddings:
        named["head.weight"] = get("lm_head.weight")
    return named


def _require(holds: bool, field: str, given: Any) -> None:
    if not holds:
        raise ValueError(f"{field}={given!r} is not supported")
