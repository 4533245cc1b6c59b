"""Block execution: only the key blocks that a query block touches. Sub-quadratic time and memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from longctx.attention.executors import kernel, orders, tiles
from longctx.attention.executors.base import Task, as_autocast
from longctx.attention.executors.plan import Group, Piece, Plan, cut, plan, split
from longctx.attention.executors.scored import attend_scored

#: Numbers that a piece of work may hold at a time (windows of keys and values, or logits).
BUDGET = 2**21


def attend_blocks(
    q: Float[Tensor, "batch heads length q_channels"],
    k: Float[Tensor, "batch kv_heads length k_channels"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    task: Task,
) -> Float[Tensor, "batch heads length head_dim"]:
    """Attention over the touched blocks, with the bias's parameters differentiated block by block.

    Raises:
        ValueError: positions other than 0 … length − 1, for which a block's neighbours are not known.
    """
    if not task.standard:
        raise ValueError("the blocks executor needs queries and keys at positions 0 … length − 1; use dense")
    if task.scored:
        return attend_scored(q, k, v, task)
    q, k, v = as_autocast(q, k, v)
    layout = Layout(task, q.shape[2])
    if padding := -layout.length % math.lcm(*orders.natural_blocks(layout.plan)):
        q, k, v = (pad(x, (0, 0, 0, padding)) for x in (q, k, v))
    y = BlockAttention.apply(layout, q, k, v, *layout.learned())
    return y[:, :, : layout.length]


@dataclass(frozen=True)
class Layout:
    """The blocks of one call and what is added to their logits."""

    task: Task
    length: int

    @property
    def plan(self) -> Plan:
        """The parts of the pattern, each with its groups of rows."""
        return plan(self.task.pattern, self.length)

    def pieces(
        self, groups: tuple[Group, ...], q: Tensor, k: Tensor
    ) -> Iterator[tuple[Group, tuple[Piece, ...]]]:
        """Groups of query blocks, each cut into pieces that fit the budget."""
        (batch, heads, _, head_dim), learned, probe = q.shape, self.learned(), self.probe()
        for group in groups:
            queries, keys = group.tile
            shared, numbers = self.shared(group), 2 * k.shape[1] * keys * head_dim
            if learned:
                numbers += 2 * heads * queries * keys
            elif not shared:
                numbers += heads * queries * keys
            limit = max(1, BUDGET // numbers)
            for some in (group,) if shared or probe is None else split(group, limit):
                yield some, cut(some, batch, limit)

    def shared(self, group: Group) -> bool:
        """Whether one evaluation of the bias serves the whole group, as one of the mask does."""
        position = self.task.position
        return position is None or (group.shifted and position.shift_invariant) or self.probe() is None

    def probe(self) -> Tensor | None:
        """The bias of one pair, to learn whether there is one and whether it is learned."""
        with torch.enable_grad():
            return self.task.bias(self.task.q_pos[:1], self.task.k_pos[:1])

    def learned(self) -> list[Tensor]:
        """The parameters that the bias depends on."""
        bias = self.probe()
        if bias is None or not bias.requires_grad or self.task.position is None:
            return []
        return [p for p in self.task.position.parameters() if p.requires_grad]

    def bias(self, group: Group, dtype: torch.dtype) -> Float[Tensor, "#group #heads queries keys"]:
        """What is added to the logits of a group's tiles: the bias where allowed, elsewhere −∞.

        Or almost, where a query sees nothing in a part: it would have no softmax there. exp is slower then.
        """
        device, wide = self.task.q_pos.device, torch.promote_types(dtype, torch.float32)
        allowed = group.allowed(self.length).to(device)
        # What fills a block up has any position that a bias accepts.
        q_pos, k_pos = (
            x.clamp(0, self.length - 1).to(device)
            for x in (group[:1] if self.shared(group) else group).positions()
        )
        bias = self.task.bias(q_pos, k_pos)
        if bias is None:
            bias = torch.zeros((1, 1, 1, 1), dtype=wide, device=device)
        nothing = float("-inf") if allowed.any(-1).all() else torch.finfo(wide).min / 2
        return bias.to(wide).masked_fill(~allowed, nothing)


class BlockAttention(torch.autograd.Function):
    """All pieces in a loop; the gradient goes through them again, so that no probabilities are kept."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        kv_heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        wide = torch.promote_types(q.dtype, torch.float32)
        whole = None
        for part, groups in layout.plan:
            arranged = orders.queries(part, q)
            # Heads are innermost, as the projection that follows wants them.
            out = arranged.new_empty(arranged.transpose(1, 2).shape).transpose(1, 2)
            norms = out.new_empty((*out.shape[:3], 1), dtype=wide)
            Q, Y, N = (tiles.fold(x, part.q_block, shared) for x in (arranged, out, norms))
            K, V = (tiles.fold(orders.keys(part, x), part.k_block, 1) for x in (k, v))
            for group, pieces in layout.pieces(groups, q, k):
                bias = layout.bias(group, q.dtype)
                for piece in pieces:
                    y, norm = kernel.forward(
                        tiles.take_rows(Q, piece),
                        tiles.take_windows(K, piece),
                        tiles.take_windows(V, piece),
                        tiles.spread(bias, piece, kv_heads, shared),
                        layout.task.scale,
                    )
                    tiles.put_rows(Y, piece, y)
                    tiles.put_rows(N, piece, norm[..., None])
            whole = orders.merged(part, whole, (out, norms), q.shape[2])
        assert whole is not None
        ctx.layout = layout
        ctx.save_for_backward(q, k, v, *whole, *learned)
        return whole[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        q, k, v, out, norms, *learned = ctx.saved_tensors
        kv_heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        total: list[Tensor] | None = None
        sums: list[Tensor | None] = [None] * len(learned)
        for part, groups in layout.plan:
            of_queries = [orders.queries(part, x) for x in (q, out, grad, norms)]
            of_keys = [orders.keys(part, x) for x in (k, v)]
            grads = [torch.empty_like(of_queries[0]), *(torch.zeros_like(x) for x in of_keys)]
            Q, Y, G, N, gQ = (tiles.fold(x, part.q_block, shared) for x in (*of_queries, grads[0]))
            K, V, gK, gV = (tiles.fold(x, part.k_block, 1) for x in (*of_keys, *grads[1:]))
            for group, pieces in layout.pieces(groups, q, k):
                with torch.set_grad_enabled(bool(learned)):
                    bias = layout.bias(group, q.dtype)
                bias_grad = torch.zeros_like(bias) if learned else None
                for piece in pieces:
                    dq, dk, dv, dbias = kernel.backward(
                        tiles.take_rows(G, piece),
                        tiles.take_rows(Q, piece),
                        tiles.take_windows(K, piece),
                        tiles.take_windows(V, piece),
                        tiles.spread(bias.detach(), piece, kv_heads, shared),
                        layout.task.scale,
                        tiles.take_rows(Y, piece),
                        tiles.take_rows(N, piece)[..., 0],
                        with_bias=bool(learned),
                    )
                    tiles.put_rows(gQ, piece, dq)
                    tiles.add_windows(gK, piece, dk)
                    tiles.add_windows(gV, piece, dv)
                    if bias_grad is not None and dbias is not None:
                        tiles.collect(bias_grad, piece, dbias)
                if bias_grad is not None:
                    new = torch.autograd.grad(bias, learned, bias_grad, allow_unused=True)
                    sums = [
                        n if s is None else s if n is None else s + n for s, n in zip(sums, new, strict=True)
                    ]
            total = orders.added(part, total, grads, (q, k, v))
            # Before those of the next part are made: there may be as many numbers again.
            del of_queries, of_keys, grads, Q, Y, G, N, K, V, gQ, gK, gV
        assert total is not None
        return None, *total, *sums
