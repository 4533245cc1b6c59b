"""Attention whose logits are no inner products but what an encoding's `score` says."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from longctx.attention.executors.base import Task
from longctx.attention.executors.plan import block_size


def attend_tile(
    q: Float[Tensor, "batch heads queries q_channels"],
    k: Float[Tensor, "batch kv_heads keys k_channels"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    task: Task,
    allowed: Bool[Tensor, "queries keys"],
    q_pos: Int[Tensor, " queries"],
    k_pos: Int[Tensor, " keys"],
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Every query against every key."""
    shared = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(shared, dim=1) for x in (k, v))
    assert task.position is not None
    logits = task.position.score(q, k, q_pos, k_pos, allowed)
    assert logits is not None
    wide = torch.promote_types(q.dtype, torch.float32)
    if (bias := task.bias(q_pos, k_pos)) is not None:
        logits = logits + bias
    return logits.to(wide).masked_fill(~allowed, float("-inf")).softmax(-1).to(v.dtype) @ v


def attend_scored(
    q: Float[Tensor, "batch heads length q_channels"],
    k: Float[Tensor, "batch kv_heads length k_channels"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    task: Task,
) -> Float[Tensor, "batch heads length head_dim"]:
    """One query block at a time against the blocks it touches, computed again for the gradient."""
    length, block = q.shape[2], block_size(task.pattern)
    rows = []
    for row, touched in enumerate(task.pattern.touched(-(-length // block), block)):
        within = torch.arange(block, device=q.device)
        q_pos = (row * block + within)[: length - row * block]
        k_pos = (touched.to(q.device)[:, None] * block + within).flatten()
        k_pos = k_pos[k_pos < length]
        rows.append(
            checkpoint(
                attend_tile,
                q[:, :, q_pos[0] : q_pos[-1] + 1],
                k.index_select(2, k_pos),
                v.index_select(2, k_pos),
                task,
                task.pattern.allows(q_pos, k_pos),
                q_pos,
                k_pos,
                use_reentrant=False,
            )
        )
    return torch.cat(rows, dim=2)
