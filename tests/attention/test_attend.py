"""The entrance: right values, causality, positions of any kind, and errors that name the mistake."""

import math

import pytest
import torch
from comparisons import EACH_ONCE, PATTERN_SPECS, with_observed
from hypothesis import given, settings
from hypothesis import strategies as st
from local_attention import LocalAttention

from longctx.attention import KVCache, attend, build_pattern
from longctx.positions import build_position

CAUSAL_SPECS = [spec for spec in PATTERN_SPECS if build_pattern(spec).causal]
HEADS, HEAD_DIM = 4, 8


def build(spec):
    return build_position(spec, d_model=HEADS * HEAD_DIM, n_heads=HEADS, n_kv_heads=2, head_dim=HEAD_DIM)


def inputs(length, kv_heads=2, batch=1, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, kv_heads, kv_heads)
    return [torch.randn(batch, h, length, HEAD_DIM, generator=generator, dtype=dtype) for h in heads]


#: Those that have a meaning; the others are refused (test_executors).
MEANINGFUL = [
    (pattern, position)
    for pattern, position in EACH_ONCE
    if build_pattern(pattern).causal or not build(position).causal_only
]


@pytest.mark.parametrize(("pattern", "position"), MEANINGFUL)
def test_dense_is_the_definition(pattern, position):
    """Query by query and key by key, from the formula."""
    encoding, chosen = build(position).double(), build_pattern(pattern)
    q, k, v = with_observed(encoding, *inputs(11, dtype=torch.float64))
    y = attend(q, k, v, pattern=pattern, position=encoding, executor="dense")
    everywhere = torch.arange(11)
    turned_q, turned_k = encoding.rotate(q, k, everywhere, everywhere)
    bias = encoding.bias(everywhere, everywhere)
    allowed = chosen.allows(everywhere, everywhere)
    shared_k = turned_k.repeat_interleave(2, dim=1)
    scores = encoding.score(turned_q, shared_k, everywhere, everywhere, allowed)
    for h in range(HEADS):
        for i in (0, 5, 10):
            seen = [j for j in range(11) if chosen.allows(torch.tensor([i]), torch.tensor([j]))]
            logits = [
                (
                    turned_q[0, h, i] @ turned_k[0, h // 2, j] / math.sqrt(HEAD_DIM)
                    if scores is None
                    else scores[0, h, i, j]
                )
                + (0 if bias is None else bias[h, i, j])
                for j in seen
            ]
            weights = torch.stack(logits).softmax(0)
            expected = sum(w * v[0, h // 2, j] for w, j in zip(weights, seen, strict=True))
            torch.testing.assert_close(y[0, h, i], expected)


@pytest.mark.parametrize("executor", ["dense", "blocks"])
@pytest.mark.parametrize("pattern", CAUSAL_SPECS)
@given(cut=st.integers(1, 139))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_the_future_changes_nothing(executor, pattern, cut):
    q, k, v = inputs(140)
    other = [torch.cat([x[:, :, :cut], torch.randn_like(x[:, :, cut:])], 2) for x in (q, k, v)]
    arguments = {"pattern": pattern, "position": build("alibi"), "executor": executor}
    before, after = attend(q, k, v, **arguments), attend(*other, **arguments)
    torch.testing.assert_close(after[:, :, :cut], before[:, :, :cut], atol=1e-6, rtol=1e-6)
    assert not torch.equal(after[:, :, cut:], before[:, :, cut:])


@pytest.mark.parametrize(("pattern", "position"), MEANINGFUL)
def test_any_positions_are_a_slice_of_the_whole(pattern, position):
    encoding, where = build(position), torch.tensor([4, 9, 2, 20, 35])
    q, k, v = with_observed(encoding, *inputs(40))
    whole = attend(q, k, v, pattern=pattern, position=encoding)
    rows = attend(
        q[:, :, where], k, v, pattern=pattern, position=encoding, q_pos=where, k_pos=torch.arange(40)
    )
    torch.testing.assert_close(rows, whole[:, :, where], atol=1e-5, rtol=1e-5)
    shuffle = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    moved = attend(
        *(x[:, :, shuffle] for x in (q, k, v)),
        pattern=pattern,
        position=encoding,
        q_pos=shuffle,
        k_pos=shuffle,
    )
    torch.testing.assert_close(moved, whole[:, :, shuffle], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["nope", "rope", "alibi", "alibi(learned=True)"])
@pytest.mark.parametrize("pattern", ["full", "sliding_window(window=9)"])
def test_relative_attention_does_not_see_an_offset(pattern, position):
    q, k, v = inputs(30)
    arguments = {"pattern": pattern, "position": build(position)}
    moved = torch.arange(30) + 1000
    torch.testing.assert_close(
        attend(q, k, v, q_pos=moved, k_pos=moved, **arguments),
        attend(q, k, v, **arguments),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("pattern", "position"), [some for some in MEANINGFUL if build_pattern(some[0]).causal]
)
def test_decoding_with_a_cache_gives_what_the_text_so_far_gives(pattern, position):
    encoding = build(position)
    with torch.no_grad():
        q, k, v = with_observed(encoding, *inputs(50, batch=2))
    cache, start = KVCache(2, 2, 50, HEAD_DIM, observed=encoding.observed), 0
    for size in (30, 1, 1, 5, 13):
        new = slice(start, start + size)
        keys, values, k_pos = cache.append(k[:, :, new], v[:, :, new])
        start += size
        arguments = {"pattern": pattern, "position": encoding}
        some = attend(q[:, :, new], keys, values, q_pos=k_pos[new], k_pos=k_pos, **arguments)
        whole = attend(*(x[:, :, :start] for x in (q, k, v)), **arguments)
        torch.testing.assert_close(some, whole[:, :, new], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("executor", ["dense", "blocks"])
@pytest.mark.parametrize("window", [16, 64])
def test_a_sliding_window_equals_local_attention(executor, window):
    """Whose exact window of w lets a query see w keys before its own."""
    q, k, v = inputs(4 * window, kv_heads=HEADS)
    peer = LocalAttention(
        window_size=window,
        causal=True,
        look_backward=1,
        look_forward=0,
        exact_windowsize=True,
        use_rotary_pos_emb=False,
    )
    ours = attend(q, k, v, pattern=f"sliding_window(window={window + 1})", executor=executor)
    torch.testing.assert_close(ours, peer(q, k, v), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "pattern", "position", "expected"),
    [
        (256, "sliding_window(window=16)", None, "dense"),
        (1024, "sliding_window(window=16)", None, "blocks"),
        (1024, "full", "rope", "halves"),
        (1024, "full", "alibi", "blocks"),
        (1024, "full(causal=False)", "rope", "dense"),
        (128, "full", "rope", "dense"),
    ],
)
def test_auto_takes_the_faster_executor(monkeypatch, length, pattern, position, expected):
    from longctx.attention.executors import EXECUTORS

    taken = []
    for name in list(EXECUTORS):
        monkeypatch.setitem(EXECUTORS, name, lambda q, k, v, task, name=name: taken.append(name) or q)
    attend(*inputs(length), pattern=pattern, position=position and build(position))
    assert taken == [expected]


def test_auto_serves_positions_that_blocks_cannot():
    q, k, v = inputs(600)
    moved = torch.arange(600) + 5
    arguments = {"pattern": "sliding_window(window=16)", "q_pos": moved, "k_pos": moved}
    torch.testing.assert_close(
        attend(q, k, v, **arguments),
        attend(q, k, v, pattern="sliding_window(window=16)"),
        atol=1e-5,
        rtol=1e-5,
    )
    for executor in ("blocks", "flex"):
        with pytest.raises(ValueError, match="use dense"):
            attend(q, k, v, executor=executor, **arguments)


def test_positions_spelled_out_are_the_default():
    q, k, v = inputs(600)
    spelled = attend(
        q, k, v, pattern="full", executor="blocks", q_pos=torch.arange(600), k_pos=torch.arange(600)
    )
    assert torch.equal(spelled, attend(q, k, v, pattern="full", executor="blocks"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (1, 3, 10, 8), "v": (1, 3, 10, 8)}, "heads must be a multiple of kv_heads; got 4 and 3"),
        ({"v": (1, 2, 9, 8)}, r"same shape; got .* v \(1, 2, 9, 8\)"),
        ({"k": (2, 2, 10, 8), "v": (2, 2, 10, 8)}, "agree in batch and head_dim"),
        ({"k": (1, 2, 10, 4), "v": (1, 2, 10, 4)}, "agree in batch and head_dim"),
        ({"q": (1, 4, 3, 8)}, "3 queries and 10 keys a causal pattern needs q_pos"),
        ({"q_pos": torch.arange(9)}, r"q_pos must be 10 integers; got torch.int64 of shape \(9,\)"),
        ({"k_pos": torch.arange(10.0)}, "k_pos must be 10 integers; got torch.float32"),
        (
            {"executor": "fast"},
            "a pattern runs on the executors auto, dense, halves, blocks, flex; got 'fast'",
        ),
        ({"pattern": "fool"}, "unknown attention pattern"),
        ({"k_pos": torch.arange(10) + 4}, "full: the query at position 0 may look at none"),
        ({"q": (1, 4, 0, 8)}, "no size may be 0"),
    ],
)
def test_what_does_not_fit_is_refused(unchecked_shapes, change, message):
    shapes = {"q": (1, 4, 10, 8), "k": (1, 2, 10, 8), "v": (1, 2, 10, 8)}
    q, k, v = (torch.zeros(change.get(name, shape)) for name, shape in shapes.items())
    others = {name: value for name, value in change.items() if name not in shapes}
    with pytest.raises(ValueError, match=message):
        attend(q, k, v, **{"pattern": "full", **others})
