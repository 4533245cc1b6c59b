"""Full causal attention by halves: a triangle is two triangles of half its size, and a square.

torch's CPU kernel computes whole tiles, so that a short causal sequence costs it as much as a full one.
Halved down to `SMALLEST`, a triangle of n rows costs n²/2 + n · `SMALLEST`/2 products and not n².
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from longctx.attention.executors.base import Task, as_autocast
from longctx.attention.executors.kernel import average, flash, flash_backward, has_flash

#: Triangles are halved while their halves hold at least so many positions.
SMALLEST = 64

#: Axes: b batch, h heads, n positions, t tiles, w positions in a tile, d head_dim.
Heads = Float[Tensor, "b h n d"]
Tiles = Float[Tensor, "bt h w d"]


def serves(task: Task) -> bool:
    """Whether a task is what `attend_halves` can do: full, causal, without a bias, positions 0, 1, …"""
    return task.standard and task.pattern.causal and task.plain


def pairs(length: int) -> int:
    """Pairs of a query and a key that `attend_halves` computes for a sequence, padding included."""
    tiles = 2 ** _depth(length)
    width = -(-length // tiles)
    return (tiles * width) * (tiles + 1) * width // 2


def attend_halves(
    q: Float[Tensor, "batch heads length head_dim"],
    k: Float[Tensor, "batch kv_heads length head_dim"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    task: Task,
) -> Float[Tensor, "batch heads length head_dim"]:
    """Causal attention over all pairs; nothing of size length² is held.

    Raises:
        ValueError: another pattern, a bias, positions other than 0 … length − 1, or not a CPU.
    """
    if not serves(task) or not has_flash(q):
        raise ValueError("halves is for full causal attention without a bias, on a CPU; use dense")
    q, k, v = as_autocast(q, k, v)
    if (shared := q.shape[1] // k.shape[1]) > 1:
        k, v = (x.repeat_interleave(shared, dim=1) for x in (k, v))
    length, depth = q.shape[2], _depth(q.shape[2])
    if padding := -length % 2**depth:
        # No query that is read looks to its right, at padding.
        q, k, v = (pad(x, (0, 0, 0, padding)) for x in (q, k, v))
    y = HalvedAttention.apply(depth, task.scale, *(_heads_innermost(x) for x in (q, k, v)))
    return y[:, :, :length]


class HalvedAttention(torch.autograd.Function):
    """Triangles along the diagonal, then squares twice as large at each level."""

    @staticmethod
    def forward(ctx: Any, depth: int, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y, norm = flash(*(_triangles(x, depth) for x in (q, k, v)), is_causal=True, scale=scale)
        out, norms = _whole(y, len(q)), _whole(norm[..., None], len(q))
        for level in range(depth):
            y, norm = flash(_second(q, level), _first(k, level), _first(v, level), scale=scale)
            average(_second(out, level), _second(norms, level), y, norm[..., None])
        ctx.depth, ctx.scale = depth, scale
        ctx.save_for_backward(q, k, v, out, norms)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, norms = ctx.saved_tensors
        # With the normaliser of the whole row, each tile's gradient is its part of the whole gradient.
        tensors, depth = (_heads_innermost(grad), q, k, v, out, norms), ctx.depth
        *parts, norm = (_triangles(x, depth) for x in tensors)
        gq, gk, gv = (
            _whole(g, len(q)) for g in flash_backward(*parts, norm[..., 0], 0.0, True, scale=ctx.scale)
        )
        for level in range(depth):
            g, Q, y, norm = (_second(x, level) for x in (tensors[0], q, out, norms))
            keys, values = _first(k, level), _first(v, level)
            dq, dk, dv = flash_backward(g, Q, keys, values, y, norm[..., 0], 0.0, False, scale=ctx.scale)
            _second(gq, level).add_(dq)
            _first(gk, level).add_(dk)
            _first(gv, level).add_(dv)
        return None, None, gq, gk, gv


def _depth(length: int) -> int:
    """How often a triangle is halved."""
    return max(0, (length // SMALLEST).bit_length() - 1)


def _heads_innermost(x: Heads) -> Heads:
    """``x`` with positions outside heads in memory, so that tiles of every sequence lie evenly spaced."""
    batch, _, length, _ = x.shape
    even = batch == 1 or x.stride(0) == length * x.stride(2)
    return x if even and x.stride(3) == 1 else x.transpose(1, 2).contiguous().transpose(1, 2)


def _triangles(x: Heads, depth: int) -> Tiles:
    return x.unflatten(2, (2**depth, -1)).transpose(1, 2).flatten(0, 1)


def _first(x: Heads, level: int) -> Tiles:
    """The first half of each of the 2^level triangles at a level: keys of its square."""
    return x.unflatten(2, (2**level, 2, -1))[:, :, :, 0].transpose(1, 2).flatten(0, 1)


def _second(x: Heads, level: int) -> Tiles:
    """The second half of each of the 2^level triangles at a level: queries of its square."""
    return x.unflatten(2, (2**level, 2, -1))[:, :, :, 1].transpose(1, 2).flatten(0, 1)


def _whole(x: Tiles, batch: int) -> Heads:
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
