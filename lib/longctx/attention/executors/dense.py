"""Dense execution: materialise the predicate and the bias. The reference for all other executors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention.executors.base import Task
from longctx.attention.executors.scored import attend_tile


def attend_dense(
    q: Float[Tensor, "batch heads queries q_channels"],
    k: Float[Tensor, "batch kv_heads keys k_channels"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    task: Task,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attention over all pairs, with time and memory quadratic in the length.

    Raises:
        ValueError: a query that may look at no key.
    """
    grouped, scale = q.shape[1] != k.shape[1], task.scale
    if task.plain:
        if not task.pattern.causal:
            return scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=grouped)
        if task.standard:
            return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    mask = task.pattern.allows(task.q_pos, task.k_pos)
    if not task.standard and not torch.compiler.is_compiling():
        _check_rows(mask, task)
    if task.scored:
        return attend_tile(q, k, v, task, mask, task.q_pos, task.k_pos)
    if (bias := task.bias(task.q_pos, task.k_pos)) is not None:
        # Not below float32: a long distance times a slope loses its last digits in bfloat16.
        wide = torch.promote_types(q.dtype, torch.float32)
        # With a batch axis: for a mask of three axes, SDPA leaves its fast path.
        mask = bias.to(wide).masked_fill(~mask, float("-inf"))[None]
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)


def _check_rows(mask: Tensor, task: Task) -> None:
    empty = ~mask.any(dim=-1)
    if empty.any():
        first = int(task.q_pos[empty][0])
        raise ValueError(f"{task.pattern}: the query at position {first} may look at none of the given keys")
