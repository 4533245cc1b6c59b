"""Which query blocks of a pattern can be computed together, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from longctx.attention.patterns.base import Pattern
from longctx.attention.patterns.parts import Part

DEFAULT_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Group:
    """Query blocks of a part that see the same mask over equally many key blocks."""

    part: Part
    rows: Int[Tensor, " group"]
    keys: Int[Tensor, "group fan_in"]
    #: Whether the positions of two rows differ by one shift, so that a bias by distance is the same for all.
    shifted: bool

    def __getitem__(self, some: slice) -> Group:
        return Group(self.part, self.rows[some], self.keys[some], self.shifted)

    @property
    def fan_in(self) -> int:
        """Key blocks to a row."""
        return self.keys.shape[1]

    @property
    def tile(self) -> tuple[int, int]:
        """Queries and keys of a row."""
        return self.part.q_block, self.fan_in * self.part.k_block

    @cached_property
    def row_slice(self) -> slice | None:
        """The rows as a slice, if they are evenly spaced."""
        progression = _progression(self.rows)
        if progression is None or progression[1] < 1:
            return None
        return slice(progression[0], int(self.rows[-1]) + 1, progression[1])

    @cached_property
    def key_steps(self) -> tuple[int, int] | None:
        """The first key block and by how much it grows with the row, if a row's key blocks are adjacent."""
        adjacent = self.keys[:, :1] + torch.arange(self.fan_in)
        return _progression(self.keys[:, 0]) if torch.equal(adjacent, self.keys) else None

    def positions(self) -> tuple[Int[Tensor, "group queries"], Int[Tensor, "group keys"]]:
        """Of the queries and keys of each row; −1, or the length and above, where a block is filled up."""
        part = self.part
        q_slots = self.rows[:, None] * part.q_block + torch.arange(part.q_block)
        k_slots = (self.keys[..., None] * part.k_block + torch.arange(part.k_block)).flatten(1)
        return (
            q_slots if part.queries is None else part.queries[q_slots],
            k_slots if part.keys is None else part.keys[k_slots],
        )

    def allowed(self, length: int) -> Bool[Tensor, "queries keys"]:
        """The predicate, for every row; nobody looks at what fills a block up."""
        q_pos, k_pos = self[:1].positions()
        return (self.part.allows(q_pos, k_pos) & ((k_pos >= 0) & (k_pos < length))[:, None, :])[0]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a group for some sequences of the batch: one row, or one sequence, so that tiles of it
    are views of the tensors they come from."""

    group: Group
    #: Which of the undivided group's rows these are.
    rows: slice
    batch: slice


@lru_cache(maxsize=4096)
def split(group: Group, limit: int) -> tuple[Group, ...]:
    """A group in groups of at most ``limit`` rows."""
    return tuple(group[i : i + limit] for i in range(0, len(group.rows), limit))


@lru_cache(maxsize=4096)
def cut(group: Group, batch: int, limit: int) -> tuple[Piece, ...]:
    """A group in pieces of at most ``limit`` tiles, along whichever of rows and sequences makes fewer."""
    n_rows = len(group.rows)

    def steps(n: int, size: int) -> list[slice]:
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    by_row = n_rows <= batch
    rows, sequences = (1, limit) if by_row else (limit, 1)
    return tuple(
        Piece(group[some_rows], some_rows, some)
        for some_rows in steps(n_rows, rows)
        for some in steps(batch, sequences)
    )


def _progression(numbers: Tensor) -> tuple[int, int] | None:
    """First number and step, if the numbers are evenly spaced and do not fall."""
    first, step = int(numbers[0]), int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    if step < 0 or not torch.equal(numbers, first + step * torch.arange(len(numbers))):
        return None
    return first, step


#: The parts of a pattern, and the rows of each in groups.
Plan = tuple[tuple[Part, tuple[Group, ...]], ...]


@lru_cache(maxsize=64)
def plan(pattern: Pattern, length: int) -> Plan:
    """The parts of a pattern over ``length`` positions, and the rows of each in groups."""
    parts = pattern.parts(length, block_size(pattern))
    return tuple((part, tuple(_groups(part, length, causal=pattern.causal))) for part in parts)


def _groups(part: Part, length: int, *, causal: bool) -> Iterator[Group]:
    """Rows that see the same mask.

    In a periodic part these are known: their keys lie at the same offsets, in the same phase of the period. A
    row stays apart whose last keys fill a block up, where that could be looked at. Other parts are evaluated.
    """
    members: dict[tuple[object, ...], list[int]] = defaultdict(list)
    last = -(-length // part.k_block) - 1
    for row, keys in enumerate(part.touched):
        if part.period is None:
            mask = Group(part, torch.tensor([row]), keys[None], shifted=True).allowed(length)
            members[(len(keys), mask.numpy().tobytes())].append(row)
        else:
            offsets = tuple((keys - row).tolist())
            tail = not causal and length % part.k_block != 0 and last in keys
            members[(offsets, row * part.q_block % part.period, tail)].append(row)
    for rows in members.values():
        keys = torch.stack([part.touched[r] for r in rows])
        group = Group(part, torch.tensor(rows), keys, shifted=True)
        yield replace(group, shifted=part.period is not None or _shifted(group))


def _shifted(group: Group) -> bool:
    q_pos, k_pos = group.positions()
    first = q_pos[:, :1]
    return bool(
        ((q_pos - first) == (q_pos - first)[:1]).all() and ((k_pos - first) == (k_pos - first)[:1]).all()
    )


def block_size(pattern: Pattern) -> int:
    """The block to cut a pattern into: about 128, and in step with its period where it has one."""
    period = pattern.period
    if period is None or period == 1:
        return DEFAULT_BLOCK
    if period <= DEFAULT_BLOCK:
        return DEFAULT_BLOCK // period * period if period < DEFAULT_BLOCK // 4 else period
    return next((size for size in range(2 * DEFAULT_BLOCK, 31, -1) if period % size == 0), DEFAULT_BLOCK)
