"""Between sequences in their natural order and in that of a part of a pattern."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention.executors.kernel import average
from longctx.attention.executors.plan import Plan
from longctx.attention.patterns.parts import Part

Sequences = Float[Tensor, "batch heads length channels"]
Arranged = Float[Tensor, "batch heads slots channels"]


def natural_blocks(whole: Plan) -> list[int]:
    """Sizes of blocks that cut sequences in their natural order."""
    found = {part.q_block for part, _ in whole if part.queries is None}
    return sorted(found | {part.k_block for part, _ in whole if part.keys is None}) or [1]


def queries(part: Part, x: Sequences) -> Arranged:
    """``x`` in the order of a part's queries, zero where a block is filled up."""
    return _arranged(x, part.queries)


def keys(part: Part, x: Sequences) -> Arranged:
    """``x`` in the order of a part's keys, zero where a block is filled up."""
    return _arranged(x, part.keys)


def merged(
    part: Part, whole: tuple[Tensor, Tensor] | None, found: tuple[Tensor, Tensor], length: int
) -> tuple[Tensor, Tensor]:
    """Output and log normalisers over all parts so far, in natural order."""
    if whole is None and part.queries is None:
        return found
    y, norm = found
    if whole is None:
        assert part.queries is not None
        slots, places = _places(part.queries, y.device)
        batch, heads, _, channels = y.shape
        out = y.new_zeros(batch, length, heads, channels).transpose(1, 2)
        norms = norm.new_zeros(batch, heads, length, 1)
        return out.index_copy_(2, places, y[:, :, slots]), norms.index_copy_(2, places, norm[:, :, slots])
    out, norms = whole
    if part.queries is None:
        average(out, norms, y, norm)
        return whole
    slots, places = _places(part.queries, y.device)
    some, known = out.index_select(2, places), norms.index_select(2, places)
    average(some, known, y[:, :, slots], norm[:, :, slots])
    return out.index_copy_(2, places, some), norms.index_copy_(2, places, known)


def added(
    part: Part, total: list[Tensor] | None, grads: Sequence[Tensor], like: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of queries, keys and values over all parts so far, in natural order."""
    orders = (part.queries, part.keys, part.keys)
    if total is None:
        if all(order is None for order in orders):
            return list(grads)
        total = [torch.zeros_like(x) for x in like]
    for so_far, grad, order in zip(total, grads, orders, strict=True):
        if order is None:
            so_far += grad
        else:
            slots, places = _places(order, grad.device)
            so_far.index_add_(2, places, grad[:, :, slots])
    return total


def _arranged(x: Tensor, order: Int[Tensor, " slots"] | None) -> Tensor:
    if order is None:
        return x
    order = order.to(x.device)
    # Heads stay innermost in memory, and each position in one piece.
    moved = x.transpose(1, 2).index_select(1, order.clamp(min=0)).transpose(1, 2)
    return moved.masked_fill_((order < 0)[:, None], 0) if (order < 0).any() else moved


def _places(order: Int[Tensor, " slots"], device: torch.device) -> tuple[Tensor, Tensor]:
    """The slots that are filled, and the positions that fill them."""
    slots = (order >= 0).nonzero()[:, 0]
    return slots.to(device), order[slots].to(device)
