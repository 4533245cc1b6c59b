"""Interpolated tables, learned scales and p-RoPE equal other people's implementations."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from x_transformers.x_transformers import ScaledSinusoidalEmbedding

from longctx.positions import build_position


def build(spec, d_model=32, head_dim=64):
    return build_position(spec, d_model=d_model, n_heads=4, head_dim=head_dim)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_an_interpolated_table_equals_torchs(factor):
    position = build({"name": "learned", "max_length": 20, "factor": float(factor)})
    n = 19 * factor + 1
    table = torch.nn.functional.interpolate(
        position.weight.detach().T[None], size=n, mode="linear", align_corners=True
    )
    torch.testing.assert_close(position.embed(torch.arange(n)).detach(), table[0].T, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match=f"max_length=20 times factor={factor}; asked for 0 … {n}"):
        position.embed(torch.arange(n + 1))


def test_a_table_that_is_not_interpolated_is_itself():
    plain = build("learned(max_length=20)")
    assert torch.equal(plain.embed(torch.arange(20)), plain.weight)


def test_a_learned_scale_equals_x_transformers():
    theirs = ScaledSinusoidalEmbedding(32)
    ours = build({"name": "sinusoidal", "scale": 32**-0.5, "learned_scale": True})
    positions = torch.arange(50)
    expected = theirs(torch.empty(1, 50, 32))
    actual = ours.embed(positions)
    torch.testing.assert_close(
        torch.cat([actual[:, 0::2], actual[:, 1::2]], -1), expected, atol=1e-6, rtol=1e-5
    )
    weight = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    order = torch.cat([weight[:, 0::2], weight[:, 1::2]], -1)
    (mine,) = torch.autograd.grad((actual * weight).sum(), ours.parameters())
    (other,) = torch.autograd.grad((expected * order).sum(), [theirs.scale])
    torch.testing.assert_close(mine, other[0], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.25, 0.75, 1.0])
def test_p_rope_equals_hugging_faces_proportional_type(fraction):
    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=4,
        rope_parameters={
            "rope_type": "proportional",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": fraction,
            "factor": 1.0,
        },
    )
    frequencies, _ = ROPE_INIT_FUNCTIONS["proportional"](config, torch.device("cpu"))
    positions = torch.arange(100)
    cos, sin = build({"name": "p_rope", "fraction": fraction}).cos_sin(positions, torch.float64)
    angle = positions[:, None].double() * frequencies.double()
    torch.testing.assert_close(cos, angle.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(sin, angle.sin(), atol=1e-5, rtol=0)
