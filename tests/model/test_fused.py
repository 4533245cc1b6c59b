"""The fused feed-forward equals two linear maps with torch's GELU between: values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from longctx.model import fused
from longctx.model.config import ModelConfig
from longctx.model.layers import FeedForward

NAMES = ("x", "up", "up_bias", "down", "down_bias")


def tensors(rows, *, bias=True, dtype=torch.float64, spread=2.0):
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (rows, 6), "up": (10, 6), "up_bias": (10,), "down": (6, 10), "down_bias": (6,)}
    made = {n: spread * torch.randn(s, generator=generator, dtype=dtype) for n, s in shapes.items()}
    return [None if "bias" in n and not bias else made[n].requires_grad_() for n in NAMES]


def plain(x, up, up_bias, down, down_bias):
    return F.linear(F.gelu(F.linear(x, up, up_bias), approximate="tanh"), down, down_bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, fused.CHUNK - 1, fused.CHUNK, fused.CHUNK + 1, 2 * fused.CHUNK + 17])
def test_value_and_gradients_equal_torch(rows, bias):
    given = tensors(rows, bias=bias)
    used = [x for x in given if x is not None]
    expected, actual = plain(*given), fused.gelu_feed_forward(*given)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad((actual * weight).sum(), used),
        torch.autograd.grad((expected * weight).sum(), used),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)


def test_gradients_agree_with_finite_differences():
    assert torch.autograd.gradcheck(fused.gelu_feed_forward, tensors(3, spread=1.0))


@pytest.mark.parametrize("far", [-1e4, -60.0, 60.0, 1e4])
def test_far_from_zero_gelu_is_zero_or_the_identity(far):
    x = torch.tensor([[far]], requires_grad=True)
    one = torch.ones(1, 1)
    y = fused.gelu_feed_forward(x, one, None, one, None)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (y.item(), slope.item()) == ((far, 1.0) if far > 0 else (0.0, 0.0))


@pytest.mark.parametrize("frozen", NAMES)
def test_only_what_needs_a_gradient_gets_one(frozen):
    given = dict(zip(NAMES, tensors(9), strict=True))
    given[frozen].requires_grad_(False)
    fused.gelu_feed_forward(*given.values()).sum().backward()
    assert {n for n, x in given.items() if x.grad is None} == {frozen}


def test_without_a_gradient_the_values_are_the_same_bits():
    given = tensors(2 * fused.CHUNK + 17, dtype=torch.float32)
    with torch.no_grad():
        alone = fused.gelu_feed_forward(*given)
    assert torch.equal(alone, fused.gelu_feed_forward(*given))


def test_the_layer_takes_it_only_where_it_applies(monkeypatch):
    layer = FeedForward(ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=10, family="gpt"))
    calls = []
    real = fused.gelu_feed_forward
    monkeypatch.setattr(fused, "gelu_feed_forward", lambda *a: calls.append(1) or real(*a))
    x = torch.randn(2, 5, 16)
    expected = plain(x, layer.up.weight, layer.up.bias, layer.down.weight, layer.down.bias)
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)
    assert calls == [1]
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert calls == [1]
