"""Block execution: only the key blocks that a query block touches. Sub-quadratic time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from longctx.attention.executors import kernel, tiles
from longctx.attention.executors.base import Task, as_autocast
from longctx.attention.executors.plan import Group, Piece, block_size, cut, plan
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
    length, block = q.shape[2], block_size(task.pattern)
    if padding := -length % block:
        q, k, v = (pad(x, (0, 0, 0, padding)) for x in (q, k, v))
    layout = Layout(task, length, block)
    y = BlockAttention.apply(layout, q, k, v, *layout.learned())
    return y[:, :, :length]


@dataclass(frozen=True)
class Layout:
    """The blocks of one call and what is added to their logits."""

    task: Task
    length: int
    block: int

    def pieces(self, q: Tensor, k: Tensor) -> Iterator[tuple[Group, tuple[Piece, ...]]]:
        """Groups of query blocks, each cut into pieces that fit the budget."""
        batch, heads, _, head_dim = q.shape
        learned, probe = self.learned(), self.probe()
        for group in plan(self.task.pattern, self.length, self.block):
            keys = group.fan_in * self.block
            numbers = 2 * k.shape[1] * keys * head_dim
            if learned:
                numbers += 2 * heads * self.block * keys
            elif not self.shared(group):
                numbers += (1 if probe is None else heads) * self.block * keys
            yield group, cut(group, batch, max(1, BUDGET // numbers))

    def shared(self, group: Group) -> bool:
        """Whether one evaluation of mask and bias serves the whole group."""
        position = self.task.position
        return group.alike and (position is None or position.shift_invariant or self.probe() is None)

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
        """What is added to the logits of a group's tiles: the bias where allowed, −∞ elsewhere."""
        device = self.task.q_pos.device
        within = torch.arange(self.block, device=device)
        rows, keys = (group.rows[:1], group.keys[:1]) if self.shared(group) else (group.rows, group.keys)
        q_pos = rows.to(device)[:, None] * self.block + within
        k_pos = (keys.to(device)[..., None] * self.block + within).flatten(1)
        allowed = self.task.pattern.allows(q_pos, k_pos)
        # Padded keys are nobody's neighbours; padded queries may look at anything, as nobody reads them.
        allowed = allowed & ((k_pos < self.length)[:, None, :] | (q_pos >= self.length)[:, :, None])
        bias = self.task.bias(q_pos, k_pos)
        wide = torch.promote_types(dtype, torch.float32)
        if bias is None:
            bias = torch.zeros((), dtype=wide, device=device)
        return bias.to(wide).masked_fill(~allowed[:, None], float("-inf"))


class BlockAttention(torch.autograd.Function):
    """All pieces in a loop; the gradient goes through them again, so that no probabilities are kept."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> Tensor:
        kv_heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        # Heads are innermost, as the projection that follows wants them.
        out = q.new_empty(q.transpose(1, 2).shape).transpose(1, 2)
        Q, Y = (tiles.fold(x, layout.block, shared) for x in (q, out))
        K, V = (tiles.fold(x, layout.block, 1) for x in (k, v))
        norms = []
        for group, pieces in layout.pieces(q, k):
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
                norms.append(norm)
        ctx.layout, ctx.n_norms = layout, len(norms)
        ctx.save_for_backward(q, k, v, out, *norms, *learned)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        q, k, v, out, *rest = ctx.saved_tensors
        norms, learned = iter(rest[: ctx.n_norms]), rest[ctx.n_norms :]
        kv_heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        gq, gk, gv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        Q, Y, G, gQ = (tiles.fold(x, layout.block, shared) for x in (q, out, grad, gq))
        K, V, gK, gV = (tiles.fold(x, layout.block, 1) for x in (k, v, gk, gv))
        sums: list[Tensor | None] = [None] * len(learned)
        for group, pieces in layout.pieces(q, k):
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
                    next(norms),
                    with_bias=bool(learned),
                )
                tiles.put_rows(gQ, piece, dq)
                tiles.add_windows(gK, piece, dk)
                tiles.add_windows(gV, piece, dv)
                if bias_grad is not None and dbias is not None:
                    tiles.collect(bias_grad, piece, dbias)
            if bias_grad is not None:
                new = torch.autograd.grad(bias, learned, bias_grad, allow_unused=True)
                sums = [n if s is None else s if n is None else s + n for s, n in zip(sums, new, strict=True)]
        return None, gq, gk, gv, *sums
