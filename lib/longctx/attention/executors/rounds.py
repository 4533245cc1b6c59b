"""Round execution: rows of queries and keys that differ by head, as a selection lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from longctx.attention.executors import kernel
from longctx.attention.executors.base import Task, as_autocast

#: Axes: n heads of all sequences, kv of keys and values, l positions, c or d channels, r rows, m in a row.
Heads = Float[Tensor, "n l d"]
KVHeads = Float[Tensor, "kv l d"]


@dataclass(frozen=True, eq=False)
class Round:
    """Rows of queries and keys of each head, to be attended row by row; a query is in one row at most.

    Axis n runs over the heads of all sequences, sequence by sequence.
    """

    #: Positions, −1 where a row is filled up.
    queries: Int[Tensor, "n rows queries"]
    keys: Int[Tensor, "n rows keys"]
    #: Who may look at whom; None if every query at every key of its row.
    allowed: Bool[Tensor, "n rows queries keys"] | None = None


def attend_rounds(
    q: Float[Tensor, "batch heads length q_channels"],
    k: Float[Tensor, "batch kv_heads length k_channels"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    task: Task,
    rounds: list[Round],
) -> Float[Tensor, "batch heads length head_dim"]:
    """Attention over disjoint rounds, averaged by the normalisers of their softmaxes."""
    q, k, v = as_autocast(q, k, v)
    shared = q.shape[1] // k.shape[1]
    tensors = (x.flatten(0, 1).contiguous() for x in (q, k, v))
    y: Tensor = RoundAttention.apply(rounds, shared, task.scale, *tensors)
    return y.unflatten(0, q.shape[:2])


class RoundAttention(torch.autograd.Function):
    """All rounds in a loop; the gradient goes through them again, so that no probabilities are kept."""

    @staticmethod
    def forward(
        ctx: Any, rounds: list[Round], shared: int, scale: float, q: Heads, k: KVHeads, v: KVHeads
    ) -> Heads:
        wide = torch.promote_types(q.dtype, torch.float32)
        out = torch.zeros_like(q)
        norms = torch.full((*q.shape[:2], 1), float("-inf"), dtype=wide, device=q.device)
        for one in rounds:
            Q, K, V = _rows(one, shared, q, k, v)
            y, new = kernel.forward(Q, K, V, _mask(one, wide), scale)
            y, new = y.view(*one.queries.shape, -1), new.reshape(*one.queries.shape, 1)
            so_far, known = _take(out, one.queries), _take(norms, one.queries)
            kernel.average(so_far, known, y, new)
            _put(out, one.queries, so_far)
            _put(norms, one.queries, known)
        ctx.rounds, ctx.shared, ctx.scale = rounds, shared, scale
        ctx.save_for_backward(q, k, v, out, norms)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Heads) -> tuple[Tensor | None, ...]:
        q, k, v, out, norms = ctx.saved_tensors
        grad = grad.contiguous()
        gq, gk, gv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for one in ctx.rounds:
            Q, K, V = _rows(one, ctx.shared, q, k, v)
            G, Y, N = (_tiles(one, x) for x in (grad, out, norms))
            dq, dk, dv, _ = kernel.backward(
                G, Q, K, V, _mask(one, norms.dtype), ctx.scale, Y, N[..., 0], with_bias=False
            )
            shape = one.queries.shape[:2]
            _add(gq, one.queries, dq[:, 0].unflatten(0, shape), 1)
            _add(gk, one.keys, dk[:, 0].unflatten(0, shape), ctx.shared)
            _add(gv, one.keys, dv[:, 0].unflatten(0, shape), ctx.shared)
        return None, None, None, gq, gk, gv


def _rows(one: Round, shared: int, q: Heads, k: KVHeads, v: KVHeads) -> tuple[Tensor, ...]:
    """Queries, keys and values of each row, as tiles of one head."""
    keys = (_take(x, one.keys, shared).flatten(0, 1)[:, None] for x in (k, v))
    return _tiles(one, q), *keys


def _tiles(one: Round, x: Float[Tensor, "n l c"]) -> Float[Tensor, "tiles 1 m c"]:
    """What belongs to each row's queries, zero where a row is filled up: that brings no gradient."""
    return _take(x, one.queries).masked_fill_((one.queries < 0)[..., None], 0).flatten(0, 1)[:, None]


def _mask(one: Round, dtype: torch.dtype) -> Float[Tensor, "tiles 1 queries keys"] | None:
    if one.allowed is None:
        return None
    mask = torch.zeros(one.allowed.shape, dtype=dtype, device=one.allowed.device)
    return mask.masked_fill_(~one.allowed, torch.finfo(dtype).min / 2).flatten(0, 1)[:, None]


def _flat(x: Float[Tensor, "heads l c"], where: Int[Tensor, "n r m"], shared: int) -> Int[Tensor, " nrm"]:
    """Places in ``x`` with its heads laid end to end; ``shared`` heads of ``where`` read one of ``x``."""
    heads = torch.arange(len(where), device=where.device) // shared
    return (where.clamp(min=0) + heads[:, None, None] * x.shape[1]).flatten()


def _take(
    x: Float[Tensor, "heads l c"], where: Int[Tensor, "n r m"], shared: int = 1
) -> Float[Tensor, "n r m c"]:
    return x.flatten(0, 1).index_select(0, _flat(x, where, shared)).view(*where.shape, -1)


def _put(x: Float[Tensor, "heads l c"], where: Int[Tensor, "n r m"], rows: Float[Tensor, "n r m c"]) -> None:
    filled = (where >= 0).flatten()
    x.view(-1, x.shape[2])[_flat(x, where, 1)[filled]] = rows.flatten(0, 2)[filled]


def _add(
    x: Float[Tensor, "heads l c"], where: Int[Tensor, "n r m"], rows: Float[Tensor, "n r m c"], shared: int
) -> None:
    filled = (where >= 0).flatten()
    x.view(-1, x.shape[2]).index_add_(0, _flat(x, where, shared)[filled], rows.flatten(0, 2)[filled])
