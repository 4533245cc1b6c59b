"""Attention to the keys that a selection chooses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention.executors.base import Task
from longctx.attention.executors.rounds import attend_rounds
from longctx.attention.selection import Selection


def attend_selected(
    q: Float[Tensor, "batch heads queries q_channels"],
    k: Float[Tensor, "batch kv_heads keys k_channels"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    task: Task,
    *,
    selection: Selection,
    executor: str,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attention over what ``selection`` chooses among rotated queries and keys.

    Args:
        executor: "dense" computes all pairs under a mask, the reference; "rounds" what is chosen; "auto" is
            rounds where these can serve.

    Raises:
        ValueError: an executor that cannot serve a selection, or not with this encoding or these positions.
    """
    reason = _cannot_run_rounds(task)
    if executor == "rounds" and reason:
        raise ValueError(f"the rounds executor {reason}; use dense")
    if executor not in ("auto", "dense", "rounds"):
        raise ValueError(f"a selection runs on the executors auto, dense and rounds; got {executor!r}")
    if task.scored:
        raise ValueError(f"a selection cannot serve {type(task.position).__name__}, which scores pairs")
    if executor != "dense" and not reason:
        return attend_rounds(q, k, v, task, selection.rounds(q, k))
    mask = torch.zeros((), dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
    if (bias := task.bias(task.q_pos, task.k_pos)) is not None:
        mask = mask + bias
    mask = mask.masked_fill(~selection.chosen(q, k, task.q_pos, task.k_pos), float("-inf"))
    grouped = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=task.scale, enable_gqa=grouped)


def _cannot_run_rounds(task: Task) -> str | None:
    if not task.standard:
        return "needs queries and keys at positions 0 … length − 1"
    return "adds no bias to logits yet" if task.biased else None
