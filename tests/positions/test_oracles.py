"""Encodings equal other people's implementations, or their closed form."""

import math

import pytest
import torch
from transformers import LlamaConfig, MarianConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gpt2.modeling_gpt2 import GPT2Config, GPT2Model
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from longctx.positions import build_position

HEADS = [1, 2, 4, 5, 6, 8, 12, 16]


def build(spec, d_model=64, n_heads=4, head_dim=16):
    return build_position(spec, d_model=d_model, n_heads=n_heads, head_dim=head_dim)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1)])
def test_rope_equals_hugging_face_llama(base, heads, kv_heads):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, heads, 50, 16, generator=generator)
    k = torch.randn(2, kv_heads, 50, 16, generator=generator)
    positions = torch.randint(0, 100, (50,), generator=generator)
    config = LlamaConfig(
        hidden_size=heads * 16,
        num_attention_heads=heads,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    cos, sin = LlamaRotaryEmbedding(config)(q, positions[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    actual = build({"name": "rope", "base": base}).rotate(q, k, positions, positions)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, atol=1e-5, rtol=1e-5)


def test_rope_equals_complex_multiplication():
    x = torch.randn(1, 1, 20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positions = torch.arange(20)
    turned, _ = build("rope", head_dim=8).rotate(x, x, positions, positions)
    rate = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    factor = torch.polar(torch.ones(20, 4, dtype=torch.float64), positions[:, None] * rate)
    expected = torch.complex(x[..., :4], x[..., 4:]) * factor
    torch.testing.assert_close(turned, torch.cat([expected.real, expected.imag], -1))


def attention_weights(logits):
    causal = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
    return logits.masked_fill(~causal, -math.inf).softmax(-1)


@pytest.mark.parametrize("heads", HEADS)
def test_alibi_gives_the_attention_of_bloom_and_mpt(heads):
    # Theirs differ from -m|i - j| by a constant in each row, which a softmax does not see.
    length = 40
    positions = torch.arange(length)
    logits = torch.randn(heads, length, length, generator=torch.Generator().manual_seed(heads))
    ours = attention_weights(logits + build("alibi", n_heads=heads).bias(positions, positions))
    bloom = build_alibi_tensor(torch.ones(1, length), heads, torch.float32)
    torch.testing.assert_close(ours, attention_weights(logits + bloom), atol=1e-5, rtol=1e-5)
    mpt = build_mpt_alibi_tensor(heads, length)
    torch.testing.assert_close(ours, attention_weights(logits + mpt), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", HEADS)
def test_learned_slopes_start_at_the_fixed_ones(heads):
    positions = torch.arange(9)
    fixed, learned = build("alibi", n_heads=heads), build("alibi(learned=True)", n_heads=heads)
    torch.testing.assert_close(learned.bias(positions, positions), fixed.bias(positions, positions))
    assert [tuple(p.shape) for p in learned.parameters()] == [(heads,)]
    assert not list(fixed.parameters())


def test_sinusoidal_equals_the_formula():
    vectors = build("sinusoidal", d_model=6).embed(torch.tensor([0, 1, 7]))
    for row, i in zip(vectors.tolist(), [0, 1, 7], strict=True):
        angles = [i / 10_000 ** (2 * t / 6) for t in range(3)]
        assert row == pytest.approx([f(a) for a in angles for f in (math.sin, math.cos)], abs=1e-6)


def test_sinusoidal_equals_marian_up_to_the_order_of_channels():
    config = MarianConfig(d_model=32)
    theirs = MarianSinusoidalPositionalEmbedding(64, config.d_model)
    theirs.weight.data = theirs.create_weight()
    ours = build("sinusoidal", d_model=32).embed(torch.arange(64))
    torch.testing.assert_close(
        torch.cat([ours[:, 0::2], ours[:, 1::2]], -1), theirs.weight.data, atol=1e-5, rtol=1e-5
    )


def test_scale_multiplies_the_sinusoids():
    positions = torch.arange(11)
    whole = build("sinusoidal").embed(positions)
    torch.testing.assert_close(build("sinusoidal(scale=0.02)").embed(positions), 0.02 * whole)
    assert whole.square().mean().sqrt().item() == pytest.approx(math.sqrt(0.5), rel=1e-3)


def test_learned_positions_are_gpt2s_table():
    model = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=32, vocab_size=8))
    ours = build("learned(max_length=32)", d_model=16)
    ours.load_state_dict({"weight": model.wpe.weight.detach()})
    positions = torch.tensor([[3, 0, 31], [2, 2, 5]])
    torch.testing.assert_close(ours.embed(positions), model.wpe(positions))
    assert ours.weight.shape == model.wpe.weight.shape


def test_nope_does_nothing():
    nope, positions = build("nope"), torch.arange(5)
    q, k = torch.randn(1, 4, 5, 16), torch.randn(1, 2, 5, 16)
    assert nope.embed(positions) is None
    assert nope.bias(positions, positions) is None
    assert all(a is b for a, b in zip(nope.rotate(q, k, positions, positions), (q, k), strict=True))
