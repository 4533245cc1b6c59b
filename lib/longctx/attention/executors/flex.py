"""FlexAttention (Dong et al., 2024): the same predicate and blocks, compiled to one kernel on CUDA.

Not yet run on a GPU. On a CPU it runs eagerly and forward only, and materialises all pairs: enough to test
that predicate, bias and blocks arrive, at small sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from longctx.attention.executors.base import Task
from longctx.attention.patterns.base import Pattern

#: FlexAttention's own block; its CUDA kernels want 128.
BLOCK = 128


def attend_flex(
    q: Float[Tensor, "batch heads length q_channels"],
    k: Float[Tensor, "batch kv_heads length k_channels"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    task: Task,
) -> Float[Tensor, "batch heads length head_dim"]:
    """Attention over the touched blocks, masked and biased inside the kernel.

    Raises:
        ValueError: positions other than 0 … length − 1, for which a block's neighbours are not known; an
            encoding that scores pairs, which the kernel sees one at a time; inputs that need a gradient on a
            CPU, where FlexAttention has none.
    """
    if task.scored:
        raise ValueError(
            "the flex executor adds to inner products, and this encoding scores pairs in its own way; "
            "use dense or blocks"
        )
    if not task.standard:
        raise ValueError("the flex executor needs queries and keys at positions 0 … length − 1; use dense")
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError("the flex executor has no gradient on a CPU; use blocks, or torch.no_grad()")
    if not torch.is_grad_enabled():
        # On a CPU, FlexAttention refuses tensors that could have a gradient even where none is recorded.
        q, k, v = q.detach(), k.detach(), v.detach()
    kernel = _kernel(compiled=q.device.type == "cuda")
    with warnings.catch_warnings():
        # Eager execution is meant on a CPU.
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        y = kernel(
            q,
            k,
            v,
            score_mod=_score_mod(task),
            scale=task.scale,
            block_mask=block_mask(task.pattern, q.shape[2], q.device),
            enable_gqa=q.shape[1] != k.shape[1],
        )
    assert isinstance(y, Tensor)
    return y


@lru_cache(maxsize=64)
def block_mask(pattern: Pattern, length: int, device: torch.device) -> BlockMask:
    """The pattern's touched blocks as FlexAttention wants them, from the analytic neighbours alone."""
    n_blocks = -(-length // BLOCK)
    touched = pattern.touched(n_blocks, BLOCK)
    counts = torch.tensor([len(keys) for keys in touched], dtype=torch.int32)
    indices = torch.zeros(n_blocks, n_blocks, dtype=torch.int32)
    for row, keys in enumerate(touched):
        indices[row, : len(keys)] = keys

    def mask_mod(batch: Tensor, head: Tensor, q_idx: Tensor, k_idx: Tensor) -> Tensor:
        return pattern.allows(q_idx[None], k_idx[None])[0, 0]

    return BlockMask.from_kv_blocks(
        counts[None, None].to(device),
        indices[None, None].to(device),
        BLOCK_SIZE=BLOCK,
        mask_mod=mask_mod,
        seq_lengths=(length, length),
    )


def _score_mod(task: Task) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None:
    if not task.biased:
        return None

    def score_mod(score: Tensor, batch: Tensor, head: Tensor, q_idx: Tensor, k_idx: Tensor) -> Tensor:
        bias = task.bias(q_idx[None], k_idx[None])
        assert bias is not None
        return score + bias[head, 0, 0]

    return score_mod


@lru_cache(maxsize=2)
def _kernel(*, compiled: bool) -> Any:
    return torch.compile(flex_attention, dynamic=False) if compiled else flex_attention
