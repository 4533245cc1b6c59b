"""Sparse attention by others, each given the same queries, keys and values as the library.

Hugging Face's modules begin with linear maps. These are replaced by a copy of what they would return, so that
attention alone is timed, and the rest is as shipped.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention.patterns.bigbird import BigBird

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def band(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """Dense attention under the window's mask: what a predicate alone can do."""
    i = torch.arange(q.shape[2])[:, None]
    j = torch.arange(k.shape[2])
    return scaled_dot_product_attention(q, k, v, attn_mask=(j <= i) & (i - j < window))


def two_blocks(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """A window written by hand: blocks of ``window`` queries look at their own and the previous block."""
    batch, heads, length, dim = q.shape
    n = length // window

    def cut(x: Tensor) -> Tensor:
        return x.reshape(batch * heads, n, window, dim).transpose(0, 1)

    def with_previous(x: Tensor) -> Tensor:
        return torch.cat([torch.cat([torch.zeros_like(x[:1]), x[:-1]]), x], dim=2)

    i, j = torch.arange(window)[:, None] + window, torch.arange(2 * window)
    mask = ((j <= i) & (i - j < window)).repeat(n, 1, 1, 1)
    mask[0] &= j >= window
    y = scaled_dot_product_attention(cut(q), with_previous(cut(k)), with_previous(cut(v)), attn_mask=mask)
    return y.transpose(0, 1).reshape(batch, heads, length, dim)


def local_attention(window: int) -> Attention:
    """The package local-attention; its exact window of w reaches w + 1 keys."""
    from local_attention import LocalAttention

    return LocalAttention(
        window_size=window, causal=True, look_backward=1, look_forward=0, exact_windowsize=True,
        use_rotary_pos_emb=False, dropout=0.0,
    )  # fmt: skip


class Given(nn.Module):
    """In place of a linear map: a copy of what it would return, since modules scale that in place."""

    values: Tensor

    def forward(self, _: Tensor) -> Tensor:
        return self.values.clone()


def _hidden(x: Tensor) -> Tensor:
    """Heads side by side in the channels, as a linear map leaves them."""
    return x.transpose(1, 2).flatten(2)


def hugging_face_longformer(heads: int, head_dim: int, window: int) -> Attention:
    """LongformerSelfAttention: ``window`` / 2 keys to each side, and the first token global."""
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    config = LongformerConfig(
        hidden_size=heads * head_dim, num_attention_heads=heads, attention_window=[window],
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    module = LongformerSelfAttention(config, layer_id=0)
    names = ("query", "key", "value")
    for name in (*names, *(f"{name}_global" for name in names)):
        setattr(module, name, Given())

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        hidden = [_hidden(x) for x in (q, k, v)]
        for name, x in zip(names, hidden, strict=True):
            # Inside the module positions come before sequences.
            getattr(module, name).values = getattr(module, f"{name}_global").values = x.transpose(0, 1)
        module.query_global.values = hidden[0][:, :1].transpose(0, 1)
        chosen = torch.zeros(hidden[0].shape[:2], dtype=torch.bool)
        chosen[:, 0] = True
        y = module(
            hidden[0],
            attention_mask=torch.where(chosen, 10000.0, 0.0),
            is_index_masked=torch.zeros_like(chosen),
            is_index_global_attn=chosen,
            is_global_attn=True,
        )[0]
        return y.unflatten(2, (heads, head_dim)).transpose(1, 2)

    return attention


def hugging_face_bigbird(heads: int, head_dim: int, pattern: BigBird, *, probabilities: bool) -> Attention:
    """BigBirdBlockSparseAttention with the random blocks of ``pattern``, and no time spent on drawing them.

    Args:
        probabilities: whether to fill, as it is shipped, a matrix of all weights that nothing reads.
    """
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    config = BigBirdConfig(
        hidden_size=heads * head_dim, num_attention_heads=heads, block_size=pattern.block_size,
        num_random_blocks=pattern.random_blocks, attention_probs_dropout_prob=0.0,
        max_position_embeddings=pattern.length,
    )  # fmt: skip
    module = BigBirdBlockSparseAttention(config, seed=0)
    n_blocks, drawn = pattern.n_blocks, []
    for b in range(1, n_blocks - 1):
        others = {0, n_blocks - 1, b - 1, b, b + 1}
        drawn.append([c for c in pattern.block_table[b].nonzero()[:, 0].tolist() if c not in others])
    blocks = np.array(drawn, dtype=np.int32)
    module._bigbird_block_rand_mask = lambda *_, **__: blocks
    module._bigbird_block_rand_mask_with_head = lambda *_, **__: [blocks] * heads
    if not probabilities:
        module.bigbird_block_sparse_attention = _without_probabilities().__get__(module)
    names = ("query", "key", "value")
    for name in names:
        setattr(module, name, Given())

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        hidden = [_hidden(x) for x in (q, k, v)]
        for name, x in zip(names, hidden, strict=True):
            getattr(module, name).values = x
        everything = torch.ones(hidden[0].shape[:2])
        blocked, band_mask, of_queries, of_keys = BigBirdModel.create_masks_for_block_sparse_attn(
            everything, pattern.block_size
        )
        y = module(hidden[0], band_mask, of_queries, of_keys, blocked, blocked)[0]
        return y.unflatten(2, (heads, head_dim)).transpose(1, 2)

    return attention


@cache
def _without_probabilities() -> Callable[..., tuple[Tensor, None]]:
    """Their function up to the matrix of probabilities."""
    from transformers.models.big_bird import modeling_big_bird

    whole = modeling_big_bird.BigBirdBlockSparseAttention.bigbird_block_sparse_attention
    source = textwrap.dedent(inspect.getsource(whole))
    head, found, _ = source.partition("    attention_probs = torch.zeros(")
    if not found:
        raise RuntimeError("this version of transformers fills its probabilities in another way")
    scope = dict(vars(modeling_big_bird))
    exec(head + "    return context_layer, None\n", scope)
    return scope[whole.__name__]


def compiled_flex(pattern: str) -> Attention:
    """FlexAttention, compiled for the CPU, which has no gradient there."""
    from torch.nn.attention.flex_attention import flex_attention

    from longctx.attention import build_pattern
    from longctx.attention.executors.flex import block_mask

    kernel, built = torch.compile(flex_attention, dynamic=False), build_pattern(pattern)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = block_mask(built, q.shape[2], q.device)
        return kernel(q.detach(), k.detach(), v.detach(), block_mask=mask)

    return attention
