"""Encodings that read queries, keys or token states equal other people's implementations."""

from types import SimpleNamespace

import pytest
import torch
from transformers import DebertaV2Config, XLNetConfig
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import _apply_relative_key_position_encoding
from transformers.models.xlnet.modeling_xlnet import XLNetModel, XLNetRelativeAttention
from x_transformers.x_transformers import CoPE, DataDependentAlibi

from longctx.attention import attend
from longctx.positions import build_position
from longctx.positions.rope import to_interleaved

HEADS, HEAD_DIM, D_MODEL, LENGTH = 6, 8, 48, 37
POSITIONS = torch.arange(LENGTH)
EVERYTHING = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
CAUSAL = EVERYTHING.tril()
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def build(spec, **sizes):
    return build_position(spec, **{"d_model": D_MODEL, "n_heads": HEADS, "head_dim": HEAD_DIM, **sizes})


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heads(seed):
    return random(2, HEADS, LENGTH, HEAD_DIM, seed=seed)


def shake(module):
    """Parameters that leave no term at zero."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(random(*parameter.shape, seed=seed + 10))
    return module


def test_transformer_xl_equals_xlnet():
    config = XLNetConfig(d_model=D_MODEL, n_head=HEADS, d_inner=8, n_layer=1, vocab_size=2, dropout=0.0)
    theirs, ours = shake(XLNetRelativeAttention(config)), shake(build("transformer_xl"))
    with torch.no_grad():
        theirs.r_w_bias.copy_(ours.content[:, 0])
        theirs.r_r_bias.copy_(ours.place[:, 0])
        ours.weight.copy_(to_interleaved(theirs.r.permute(1, 2, 0)))
    far_to_near = torch.arange(LENGTH, -LENGTH, -1.0)
    frequencies = 10_000.0 ** -(torch.arange(0, D_MODEL, 2) / D_MODEL)
    relative = XLNetModel.positional_embedding(far_to_near, frequencies, 2)
    k_head_r = torch.einsum("ibh,hnd->ibnd", relative, theirs.r)
    q, k, v = heads(0), heads(1), heads(2)
    sequence_first = [x.permute(2, 0, 1, 3) for x in (q, k, v)]
    _, weights = theirs.rel_attn_core(*sequence_first, k_head_r, output_attentions=True)
    found = ours.score(q, k, POSITIONS, POSITIONS, EVERYTHING).softmax(-1)
    torch.testing.assert_close(found, weights.permute(2, 3, 0, 1), **CLOSE)


@pytest.mark.parametrize("furthest", [4, 100])
def test_shaw_equals_wav2vec2_bert(furthest):
    ours = shake(build(f"shaw(max_distance={furthest})"))
    table = torch.nn.Embedding(2 * furthest + 1, HEAD_DIM)
    table.load_state_dict({"weight": ours.weight.detach().flip(0)})  # theirs counts from right to left
    q, k = heads(0), heads(1)
    theirs = SimpleNamespace(
        left_max_position_embeddings=furthest,
        right_max_position_embeddings=furthest,
        distance_embedding=table,
        scaling=HEAD_DIM**-0.5,
    )
    _, added = _apply_relative_key_position_encoding(theirs, q, k)
    expected = q @ k.mT * HEAD_DIM**-0.5 + added
    torch.testing.assert_close(ours.score(q, k, POSITIONS, POSITIONS, EVERYTHING), expected, **CLOSE)


@pytest.mark.parametrize("furthest", [4, 50])
def test_deberta_equals_hugging_face(furthest):
    config = DebertaV2Config(
        hidden_size=D_MODEL,
        num_attention_heads=HEADS,
        max_relative_positions=furthest,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
    )
    theirs, ours = shake(DisentangledSelfAttention(config)), build(f"deberta(max_distance={furthest})")
    table = random(2 * furthest, D_MODEL, seed=5)
    with torch.no_grad():
        for parameter, projection in (
            (ours.keys, theirs.pos_key_proj),
            (ours.queries, theirs.pos_query_proj),
        ):
            parameter.copy_(projection(table).unflatten(-1, (HEADS, HEAD_DIM)).transpose(0, 1))
    q, k = heads(0), heads(1)
    added = theirs.disentangled_attention_bias(
        q.flatten(0, 1), k.flatten(0, 1), (POSITIONS[:, None] - POSITIONS)[None], table, 3
    )
    expected = q @ k.mT / (3 * HEAD_DIM) ** 0.5 + added.unflatten(0, (2, HEADS))
    torch.testing.assert_close(ours.score(q, k, POSITIONS, POSITIONS, EVERYTHING), expected, **CLOSE)


@pytest.mark.parametrize("most", [3, 16, 64])
def test_cope_equals_x_transformers(most):
    ours, theirs = shake(build(f"cope(max_positions={most})")), CoPE(HEAD_DIM, HEADS, most)
    theirs.load_state_dict({"pos_emb": ours.weight.detach()})
    q, k = heads(0), heads(1)
    logits = (q @ k.mT / HEAD_DIM**0.5).masked_fill(~CAUSAL, -torch.finfo(torch.float32).max)
    expected = logits + theirs(q, logits)
    found = ours.score(q, k, POSITIONS, POSITIONS, CAUSAL)
    torch.testing.assert_close(found[..., CAUSAL], expected[..., CAUSAL], **CLOSE)


def test_cope_counts_only_what_the_pattern_shows():
    """A window of cope is cope of the window's keys."""
    cope, window = shake(build("cope(max_positions=9)")), 5
    q, k, v = heads(0), heads(1), heads(2)
    found = attend(q, k, v, pattern=f"sliding_window(window={window})", position=cope)
    for i in (3, 20, 36):
        some = slice(max(0, i + 1 - window), i + 1)
        where = {"q_pos": POSITIONS[i : i + 1], "k_pos": POSITIONS[some]}
        alone = attend(
            q[:, :, i : i + 1], k[:, :, some], v[:, :, some], pattern="full", position=cope, **where
        )
        torch.testing.assert_close(found[:, :, i : i + 1], alone, **CLOSE)


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_fox_equals_x_transformers(kv_heads):
    theirs, ours = DataDependentAlibi(D_MODEL, HEADS), shake(build("fox", n_kv_heads=kv_heads))
    theirs.to_forget_gates[0].load_state_dict({"weight": ours.weight.detach(), "bias": ours.offset.detach()})
    x, q = random(2, LENGTH, D_MODEL), heads(1)
    k, v = (random(2, kv_heads, LENGTH, HEAD_DIM, seed=s) for s in (2, 3))
    wide_k, wide_v = (y.repeat_interleave(HEADS // kv_heads, 1) for y in (k, v))
    logits = (q @ wide_k.mT / HEAD_DIM**0.5 + theirs(x)).masked_fill(~CAUSAL, float("-inf"))
    seen = torch.cat([k, ours.observe(x)], -1)
    found = attend(q, seen, v, pattern="full", position=ours)
    torch.testing.assert_close(found, logits.softmax(-1) @ wide_v, **CLOSE)


def test_fox_starts_by_forgetting_little():
    ours = build("fox(init_bias=3.0)")
    gates = ours.observe(torch.zeros(1, 4, D_MODEL)).exp()
    torch.testing.assert_close(gates, torch.full_like(gates, torch.tensor(3.0).sigmoid()))


@pytest.mark.parametrize(("dtype", "parts"), [(torch.float32, 1), (torch.bfloat16, 3), (torch.float64, 1)])
def test_fox_widens_keys_by_no_more_than_the_digits_of_its_sums(dtype, parts):
    ours, k = build("fox", n_kv_heads=2), random(1, 2, LENGTH, HEAD_DIM + 3).to(dtype)
    a, b = ours.rotate(heads(0)[:1].to(dtype), k, POSITIONS, POSITIONS)
    assert a.shape[-1] == b.shape[-1] == HEAD_DIM + 3 * parts


def test_fox_in_bfloat16_adds_its_sums_with_their_digits():
    """Sums of several hundred, of which a bfloat16 would keep the multiples of 2."""
    ours = build("fox", n_kv_heads=2)
    q = torch.zeros(1, HEADS, LENGTH, HEAD_DIM, dtype=torch.bfloat16)
    log_gates = -10 * random(1, 2, LENGTH, 3).abs()
    k = torch.cat([torch.zeros(1, 2, LENGTH, HEAD_DIM), log_gates], -1).bfloat16()
    a, b = ours.rotate(q, k, POSITIONS, POSITIONS)
    assert a.dtype == b.dtype == torch.bfloat16
    found = a.double() @ b.double().repeat_interleave(3, 1).mT / HEAD_DIM**0.5
    exact = -k[..., HEAD_DIM:].double().cumsum(2).transpose(2, 3).flatten(1, 2)
    assert exact.max() > 250
    torch.testing.assert_close(found[:, :, 0], exact, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("name", ["cope", "fox"])
def test_what_reads_the_text_backwards_is_refused_where_queries_look_ahead(name):
    q, k, v = heads(0), heads(1), heads(2)
    position = build(name)
    k = k if not position.observed else torch.cat([k, position.observe(random(2, LENGTH, D_MODEL))], -1)
    with pytest.raises(ValueError, match="no query looks to its right; got the pattern full"):
        attend(q, k, v, pattern="full(causal=False)", position=position)
