"""Patterns that differ by head or by layer."""

import pytest
import torch
from comparisons import HEAD_DIM, HEADS, build, inputs, values_and_gradients, with_observed
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention import attend, build_attention, build_pattern
from longctx.model import ModelConfig, build_model
from longctx.positions import PositionEncoding

LENGTH = 70
PATTERNS = ("sliding_window(window=9)", "strided(stride=8)", "full")
PER_HEAD = f"per_head(patterns=({', '.join(PATTERNS)}))"
SIZES = {"family": "gpt", "n_layers": 5, "d_model": 24, "n_heads": 6, "vocab_size": 40, "position": "rope"}


@pytest.mark.parametrize("kv_heads", [3, 6])
@pytest.mark.parametrize("position", ["nope", "rope", "alibi", "t5", "fox", "shaw"])
def test_each_head_looks_where_its_own_pattern_says(position, kv_heads):
    encoding = build(position, kv_heads)
    if type(encoding).score is not PositionEncoding.score:
        with pytest.raises(ValueError, match="per_head cannot divide Shaw, which scores all heads at once"):
            attend(*inputs(LENGTH, kv_heads=kv_heads), pattern=PER_HEAD, position=encoding)
        return
    q, k, v = with_observed(encoding, *inputs(LENGTH, kv_heads=kv_heads))
    places = torch.arange(LENGTH)
    mask = torch.stack([build_pattern(p).allows(places, places) for p in PATTERNS]).repeat_interleave(2, 0)
    turned_q, turned_k = encoding.rotate(q, k, places, places)
    mask = torch.zeros(HEADS, LENGTH, LENGTH).masked_fill(~mask, float("-inf"))
    if (bias := encoding.bias(places, places)) is not None:
        mask = mask + bias
    shared = HEADS // kv_heads
    expected = scaled_dot_product_attention(
        turned_q,
        *(x.repeat_interleave(shared, 1) for x in (turned_k, v)),
        attn_mask=mask[None],
        scale=HEAD_DIM**-0.5,
    )
    for executor in ("dense", "blocks", "auto"):
        found = attend(q, k, v, pattern=PER_HEAD, position=encoding, executor=executor)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["rope", "alibi(learned=True)"])
def test_gradients_by_head_are_those_of_dense(position):
    found = [
        values_and_gradients(e, PER_HEAD, build(position, 3), inputs(LENGTH, kv_heads=3))
        for e in ("dense", "blocks")
    ]
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_a_schedule_is_begun_again_when_it_is_used_up():
    attention = "by_layer(schedule='SSL', short=sliding_window(window=3))"
    model = build_model(ModelConfig(**SIZES, attention=attention))
    assert [str(block.attention.pattern) for block in model.blocks] == [
        f"{'sliding_window(window=3)' if letter == 'S' else 'full'}" for letter in "SSLSS"
    ]


def reach(attention, n_layers=5):
    """How far back a change of one token is felt at the last."""
    model = build_model(
        ModelConfig(**{**SIZES, "n_layers": n_layers, "position": "nope"}, attention=attention)
    )
    tokens = torch.arange(30)[None]
    x = model.embedding(tokens).detach().requires_grad_()
    y = x
    for block in model.blocks:
        y = block(y, model.position, None, None)
    (felt,) = torch.autograd.grad(y[0, -1].sum(), x)
    return 29 - int(felt[0].abs().sum(-1).nonzero()[0])


def test_a_stack_of_windows_reaches_as_far_as_its_layers_and_one_full_layer_everywhere():
    assert reach("sliding_window(window=4)") == 5 * 3
    assert reach("by_layer(schedule='SSSSL', short=sliding_window(window=4))") == 29
    assert reach("by_layer(schedule='SSL', short=sliding_window(window=2))", n_layers=2) == 2


@pytest.mark.parametrize(
    "attention",
    [
        "by_layer(schedule='SL', short=sinks(window=3, sinks=2), long=strided(stride=4))",
        "per_head(patterns=(sliding_window(window=3), full))",
    ],
)
@torch.no_grad()
def test_cached_decoding_equals_the_full_pass(attention):
    model = build_model(ModelConfig(**SIZES, n_kv_heads=2, attention=attention))
    tokens = torch.randint(40, (2, 19), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache(batch=2, max_length=19)
    pieces = [model(some, cache=cache) for some in tokens.split([7, 1, 1, 10], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        PER_HEAD,
        "per_head(patterns=(full,))",
        "by_layer(schedule='SL', short=sinks(window=3) | documents(starts=(4,)), long=prefix_lm(prefix=3))",
    ],
)
def test_an_arrangement_survives_its_own_string_and_its_fields(spec):
    arrangement = build_attention(spec)
    assert build_attention(str(arrangement)) == build_attention(arrangement.model_dump()) == arrangement
    assert ModelConfig(**SIZES, attention=spec).attention == str(arrangement)


def test_what_no_layer_uses_does_not_count():
    windows = "sliding_window(window=3, causal=False)"
    assert build_attention(f"by_layer(schedule='L', short={windows})").causal
    assert not build_attention(f"by_layer(schedule='LS', short={windows})").causal


def test_arrangements_that_do_not_fit_are_refused():
    tensors = inputs(8)
    with pytest.raises(ValueError, match=r"kv_heads=2 must be a multiple of the number of patterns, 3"):
        attend(*tensors, pattern=PER_HEAD)
    with pytest.raises(
        ValueError, match="n_kv_heads=4 must be a multiple of the number of per_head's patterns, 3"
    ):
        ModelConfig(**{**SIZES, "n_heads": 8, "n_kv_heads": 4}, attention=PER_HEAD)
    with pytest.raises(ValueError, match="differs by layer"):
        attend(*tensors, pattern="by_layer(schedule='SL', short=full)")
    with pytest.raises(ValueError, match="schedule: String should match"):
        build_attention("by_layer(schedule='SM', short=full)")
    with pytest.raises(ValueError, match=r"unknown .* 'wide'.*selections and arrangements: .*moba.*by_layer"):
        build_attention("wide")
