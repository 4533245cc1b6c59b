"""Oracles: our models equal Hugging Face's, in logits and in every gradient."""

import pytest
import torch
import transformers

from longctx.model import build_model
from longctx.model.weights import config_from_hf, from_hf, rename

GPT2 = {
    "mha": {"vocab_size": 97, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4},
    "odd heads, wide": {
        "vocab_size": 97,
        "n_positions": 64,
        "n_embd": 60,
        "n_layer": 2,
        "n_head": 5,
        "n_inner": 100,
    },
    "untied": {
        "vocab_size": 97,
        "n_positions": 64,
        "n_embd": 48,
        "n_layer": 2,
        "n_head": 3,
        "tie_word_embeddings": False,
    },
}
LLAMA = {
    "mha": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "gqa": {"num_attention_heads": 6, "num_key_value_heads": 2},
    "mqa": {"num_attention_heads": 3, "num_key_value_heads": 1},
    "tied, long base": {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    | {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
}


def gpt2(options: dict) -> transformers.PreTrainedModel:
    config = transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **options)
    return transformers.GPT2LMHeadModel(config)


def llama(options: dict) -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        max_position_embeddings=64,
        **options,
    )
    return transformers.LlamaForCausalLM(config)


CASES = [pytest.param(gpt2, o, id=f"gpt2 {n}") for n, o in GPT2.items()] + [
    pytest.param(llama, o, id=f"llama {n}") for n, o in LLAMA.items()
]


@pytest.mark.parametrize(("build", "options"), CASES)
def test_logits_and_gradients_equal_hugging_face(build, options) -> None:
    torch.manual_seed(0)
    theirs = build(options).eval()
    with torch.no_grad():  # biases start at 0 and gains at 1: make every parameter matter
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    ours = from_hf(theirs)
    tokens = torch.randint(97, (2, 37))
    expected, actual = theirs(tokens).logits, ours(tokens)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)

    weights = torch.randn_like(expected) / expected[0].numel()
    (expected * weights).sum().backward()
    (actual * weights).sum().backward()
    gradients = rename(
        ours.config,
        {name: p.grad for name, p in theirs.named_parameters(remove_duplicate=False) if p.grad is not None},
    )
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("build", "options"), CASES)
def test_parameter_counts_equal_hugging_face(build, options) -> None:
    theirs = build(options)
    assert build_model(config_from_hf(theirs.config)).n_parameters() == theirs.num_parameters()


def test_unsupported_choices_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="activation_function='relu'"):
        config_from_hf(transformers.GPT2Config(activation_function="relu"))
    with pytest.raises(ValueError, match="rope_type='linear'"):
        config_from_hf(
            transformers.LlamaConfig(
                rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
            )
        )
    with pytest.raises(ValueError, match="model_type must be gpt2 or llama, got 'opt'"):
        config_from_hf(transformers.OPTConfig())
