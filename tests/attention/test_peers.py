"""Longformer and BigBird equal Hugging Face's modules, given the same weights and the same random blocks."""

import numpy as np
import pytest
import torch
from transformers import BigBirdConfig, LongformerConfig
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from longctx.attention import attend, build_pattern

BATCH, HEADS, WIDTH = 2, 2, 16


def states(length):
    return torch.randn(BATCH, length, WIDTH, generator=torch.Generator().manual_seed(0))


def attended(module, x, pattern, executor):
    """Our attention with the projections of theirs."""
    heads = [
        layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for layer in (module.query, module.key, module.value)
    ]
    return attend(*heads, pattern=pattern, executor=executor).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("executor", ["dense", "blocks"])
@pytest.mark.parametrize("chosen", [(), (0,), (0, 5, 40)])
@torch.no_grad()
def test_longformer_equals_hugging_faces(chosen, executor):
    length, window = 64, 16  # theirs is of both sides together, and without the query itself
    torch.manual_seed(0)
    config = LongformerConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        attention_window=[window],
        attention_probs_dropout_prob=0.0,
    )
    theirs = LongformerSelfAttention(config, layer_id=0).eval()
    for name in ("query", "key", "value"):  # global tokens have projections of their own there
        getattr(theirs, f"{name}_global").load_state_dict(getattr(theirs, name).state_dict())
    is_global = torch.zeros(BATCH, length, dtype=torch.bool)
    is_global[:, list(chosen)] = True
    x = states(length)
    expected = theirs(
        x,
        attention_mask=torch.where(is_global, 10000.0, 0.0),
        is_index_masked=torch.zeros_like(is_global),
        is_index_global_attn=is_global,
        is_global_attn=bool(chosen),
    )[0]
    pattern = {"window": window // 2 + 1, "causal": False}
    if chosen:
        pattern = {"name": "longformer", "global_positions": chosen, **pattern}
    else:
        pattern = {"name": "sliding_window", **pattern}
    torch.testing.assert_close(attended(theirs, x, pattern, executor), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("executor", ["dense", "blocks"])
@pytest.mark.parametrize("block_size", [4, 8])
@torch.no_grad()
def test_bigbird_equals_hugging_faces(monkeypatch, block_size, executor):
    n_blocks, random_blocks = 12, 2
    length = n_blocks * block_size
    pattern = build_pattern(
        {
            "name": "bigbird",
            "block_size": block_size,
            "global_blocks": (0, -1),
            "random_blocks": random_blocks,
            "length": length,
            "causal": False,
        }
    )
    drawn = []
    for b in range(1, n_blocks - 1):
        others = {0, n_blocks - 1, b - 1, b, b + 1}
        drawn.append([c for c in pattern.block_table[b].nonzero()[:, 0].tolist() if c not in others])
    monkeypatch.setattr(
        BigBirdBlockSparseAttention,
        "_bigbird_block_rand_mask_with_head",
        lambda *_, **__: [np.array(drawn, dtype=np.int32)] * HEADS,
    )
    torch.manual_seed(0)
    config = BigBirdConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        block_size=block_size,
        num_random_blocks=random_blocks,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=length,
    )
    theirs = BigBirdBlockSparseAttention(config, seed=0).eval()
    blocked, band, of_queries, of_keys = BigBirdModel.create_masks_for_block_sparse_attn(
        torch.ones(BATCH, length), block_size
    )
    x = states(length)
    expected = theirs(x, band, of_queries, of_keys, blocked, blocked)[0]
    torch.testing.assert_close(attended(theirs, x, pattern, executor), expected, atol=1e-5, rtol=1e-5)
