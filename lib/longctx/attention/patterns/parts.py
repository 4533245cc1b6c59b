"""Orders of positions in which a pattern's pairs lie close together, cut into blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

#: As `Pattern.touched`.
Touched = Callable[[int, int], list[Tensor]]
#: (query positions, key positions) → who may look at whom, as `Pattern.allows`.
Predicate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a pattern's pairs, in an order of queries and one of keys in which they lie close together.

    Executors cut both into blocks and compute, for each block of queries, the blocks of keys it touches.
    """

    allows: Predicate
    #: For each block of queries, the sorted blocks of keys that hold an allowed pair; a superset is slower.
    touched: list[Int[Tensor, " _"]]
    #: Positions to a block of queries, and to one of keys.
    q_block: int
    k_block: int
    #: Positions of the queries in order, −1 where a block is filled up; None is 0, 1, 2, …
    queries: Int[Tensor, " q_slots"] | None = None
    keys: Int[Tensor, " k_slots"] | None = None
    #: As `Pattern.period`, if queries and keys are in their natural order.
    period: int | None = None

    def within(self, other: Predicate) -> Part:
        """Those of its pairs that ``other`` allows, too."""

        def allows(q_pos: Tensor, k_pos: Tensor) -> Tensor:
            return self.allows(q_pos, k_pos) & other(q_pos, k_pos)

        return replace(self, allows=allows, period=None)

    def without(self, earlier: Predicate) -> Part:
        """Those of its pairs that ``earlier`` does not allow."""

        def allows(q_pos: Tensor, k_pos: Tensor) -> Tensor:
            return self.allows(q_pos, k_pos) & ~earlier(q_pos, k_pos)

        return replace(self, allows=allows, period=None)


def within_classes(
    classes: Int[Tensor, "classes members"], touched: Touched, allows: Predicate, block: int
) -> Part:
    """A part whose pairs lie within classes of positions, member against member.

    Args:
        classes: the positions of each class in order, −1 after the last of a shorter one.
        touched: `Pattern.touched` of a pattern over the members of a class that allows at least as much.
        allows: the predicate over positions.
        block: at most so many members to a block.
    """
    n_classes, members = classes.shape
    block = min(block, members)
    slots = pad(classes, (0, -members % block), value=-1)
    blocks = slots.shape[1] // block
    inner = touched(blocks, block)
    shifted = [c * blocks + keys for c in range(n_classes) for keys in inner]
    return Part(allows, shifted, block, block, slots.flatten(), slots.flatten())


def residues(length: int, step: int) -> Int[Tensor, "step members"]:
    """The positions of each class modulo ``step``, −1 after the last of a shorter class."""
    order = torch.arange(-(-length // step) * step)
    return torch.where(order < length, order, -1).view(-1, step).T


def columns(keys: Int[Tensor, " keys"], allows: Predicate, length: int, block: int, *, causal: bool) -> Part:
    """A part in which all queries look at some keys alone.

    Args:
        keys: their positions, increasing.
        allows: the predicate over positions.
        length, block: as in `Pattern.parts`.
        causal: whether queries look at no key to their right, so that blocks of such keys are not touched.
    """
    k_block = min(block, len(keys))
    ends = torch.arange(block, length + block, block)
    seen = torch.searchsorted(keys, ends) if causal else torch.full_like(ends, len(keys))
    touched = [torch.arange(max(1, -(-n // k_block))) for n in seen.tolist()]
    slots = pad(keys, (0, -len(keys) % k_block), value=-1)
    return Part(allows, touched, block, k_block, None, slots)


def rows(
    queries: Int[Tensor, " queries"], allows: Predicate, length: int, block: int, *, causal: bool
) -> Part:
    """A part in which some queries look at all keys; arguments as for `columns`."""
    q_block = min(block, len(queries))
    slots = pad(queries, (0, -len(queries) % q_block), value=-1)
    last = slots.view(-1, q_block).amax(1) if causal else torch.tensor([length - 1] * (len(slots) // q_block))
    touched = [torch.arange(n // block + 1) for n in last.tolist()]
    return Part(allows, touched, q_block, block, slots, None)
