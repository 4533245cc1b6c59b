"""What the block executor will compute and hold, read off a plan before anything is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from longctx.attention.executors import blocks
from longctx.attention.executors.plan import Group, plan
from longctx.attention.patterns.base import Pattern
from longctx.attention.patterns.parts import Part

#: What a group of rows costs beside its pairs, as if it had so many more: its mask is made and its tiles are
#: handed out, forwards and backwards. Measured, as is the next, for four heads of 32 on a CPU
#: (`benchmarks/choice.py`); between 256 and 2,048 tokens neither changes much.
PAIRS_OF_A_GROUP = 30_000
#: What it costs to bring one query, its keys and gradients into the order of a part, and back.
PAIRS_OF_A_MOVE = 120


@dataclass(frozen=True)
class Work:
    """What one head and one sequence ask for, over all parts of a pattern."""

    #: Pairs of a query and a key in tiles, those that the mask hides included.
    computed: int
    #: Queries of parts in orders of their own; those of two parts count twice.
    moved: int
    #: Groups of rows, each with its own mask.
    groups: int

    @property
    def pairs(self) -> int:
        """All of it in pairs: a step takes so many times what one pair takes."""
        return self.computed + PAIRS_OF_A_MOVE * self.moved + PAIRS_OF_A_GROUP * self.groups


@lru_cache(maxsize=256)
def work(pattern: Pattern, length: int) -> Work:
    """What the block executor does with a pattern over ``length`` positions."""
    whole = plan(pattern, length)
    return Work(
        computed=sum(len(group.rows) * math.prod(group.tile) for _, groups in whole for group in groups),
        moved=sum(len(part.queries) for part, _ in whole if part.queries is not None),
        groups=sum(len(groups) for _, groups in whole),
    )


@lru_cache(maxsize=256)
def allowed_pairs(pattern: Pattern, length: int) -> int:
    """Pairs that a pattern allows, counted tile by tile and not in a matrix of length²."""
    total = 0
    for _, groups in plan(pattern, length):
        for group in groups:
            keys = group.allowed(length).sum(-1)
            q_pos = group.positions()[0]
            total += int(((q_pos >= 0) & (q_pos < length)).sum(0) @ keys)
    return total


def bytes_held(
    pattern: Pattern,
    length: int,
    *,
    batch: int = 1,
    heads: int,
    kv_heads: int,
    head_dim: int,
    itemsize: int = 4,
) -> int:
    """The most that a forward and backward step holds at a time, beyond its inputs and its output's gradient.

    Without a bias, and without what the allocator adds. The backward pass holds the most: the output and its
    normalisers; the gradients of queries, keys and values; for a part in an order of its own, all of these
    and the inputs once more, in that order; and a piece of work, whose keys and values the budget limits.
    """
    of_queries, of_keys = (batch * n * head_dim for n in (heads, kv_heads))
    norm = batch * heads
    whole, most = plan(pattern, length), 0
    for number, (part, groups) in enumerate(whole):
        q_slots, k_slots = _slots(part, groups)
        numbers = q_slots * of_queries + 2 * k_slots * of_keys
        if part.queries is not None:
            numbers += q_slots * (3 * of_queries + norm)
        if part.keys is not None:
            numbers += 2 * k_slots * of_keys
        if number or part.queries is not None or part.keys is not None:
            numbers += length * (of_queries + 2 * of_keys)
        most = max(most, numbers + _pieces(groups, batch, heads, kv_heads, head_dim))
    return itemsize * (length * (of_queries + norm) + most)


def _slots(part: Part, groups: tuple[Group, ...]) -> tuple[int, int]:
    """Queries and keys of a part in its own order, blocks filled up."""
    q_slots = len(part.touched) * part.q_block
    k_slots = (
        max(int(group.keys.max()) for group in groups) * part.k_block + part.k_block
        if part.keys is None
        else len(part.keys)
    )
    return q_slots, k_slots


def _pieces(groups: tuple[Group, ...], batch: int, heads: int, kv_heads: int, head_dim: int) -> int:
    """The most numbers of a piece: its gradients and those of the piece before, keys if copied, the mask."""
    most = before = 0
    for group in groups:
        queries, keys = group.tile
        limit, tiles = max(1, blocks.BUDGET // (2 * kv_heads * keys * head_dim)), max(batch, len(group.rows))
        several, tiles = tiles > limit, min(tiles, limit)
        gradients = tiles * (2 * kv_heads * keys + heads * queries) * head_dim
        copies = 0 if group.key_steps is not None else 2 * tiles * kv_heads * keys * head_dim
        # Heads that share keys stand end to end, and so do their masks.
        masks = (1 + heads // kv_heads) * queries * keys
        before = gradients if several else before
        most, before = max(most, before + gradients + copies + masks), gradients
    return most
