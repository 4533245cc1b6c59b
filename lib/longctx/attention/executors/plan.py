"""Which query blocks can be computed together, and whether they share one mask."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from longctx.attention.patterns.base import Pattern

DEFAULT_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Group:
    """Query blocks that look at equally many key blocks."""

    rows: Int[Tensor, " group"]
    keys: Int[Tensor, "group fan_in"]
    #: Whether the predicate is the same for each row, so that one evaluation serves all.
    alike: bool

    def __getitem__(self, some: slice) -> Group:
        return Group(self.rows[some], self.keys[some], self.alike)

    @property
    def fan_in(self) -> int:
        """Key blocks to a row."""
        return self.keys.shape[1]

    @cached_property
    def row_slice(self) -> slice | None:
        """The rows as a slice, if they are evenly spaced."""
        return _as_slice(self.rows)

    @cached_property
    def key_slice(self) -> slice | None:
        """The first key of each row as a slice, if a row's keys are adjacent and rows are evenly spaced."""
        adjacent = self.keys[:, :1] + torch.arange(self.fan_in)
        return _as_slice(self.keys[:, 0]) if torch.equal(adjacent, self.keys) else None


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a group for some sequences of the batch: one row, or one sequence, so that tiles of it
    are views of the tensors they come from."""

    group: Group
    #: Which of the undivided group's rows these are.
    part: slice
    batch: slice


@lru_cache(maxsize=4096)
def cut(group: Group, batch: int, limit: int) -> tuple[Piece, ...]:
    """A group in pieces of at most ``limit`` tiles, along whichever of rows and sequences makes fewer."""
    n_rows = len(group.rows)

    def steps(n: int, size: int) -> list[slice]:
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    by_row = n_rows <= batch
    rows, sequences = (1, limit) if by_row else (limit, 1)
    return tuple(
        Piece(group[part], part, some) for part in steps(n_rows, rows) for some in steps(batch, sequences)
    )


def _as_slice(numbers: Tensor) -> slice | None:
    first, step = int(numbers[0]), int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    if step < 1 or not torch.equal(numbers, first + step * torch.arange(len(numbers))):
        return None
    return slice(first, int(numbers[-1]) + 1, step)


@lru_cache(maxsize=64)
def plan(pattern: Pattern, length: int, block: int) -> tuple[Group, ...]:
    """Group the query blocks of ``block`` positions that cover ``length``.

    In a periodic pattern, rows whose keys lie at the same offsets and in the same phase of the period see the
    same mask. A last block that is padded stays apart where its padding could be looked at.
    """
    n_blocks = -(-length // block)
    padded = length % block != 0 and not pattern.causal
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    touched = pattern.touched(n_blocks, block)
    for row, keys in enumerate(touched):
        if pattern.period is None:
            groups[(len(keys),)].append(row)
        else:
            offsets = tuple((keys - row).tolist())
            tail = padded and n_blocks - 1 in keys
            groups[(offsets, row * block % pattern.period, tail)].append(row)
    return tuple(
        Group(torch.tensor(rows), torch.stack([touched[r] for r in rows]), alike=pattern.period is not None)
        for rows in groups.values()
    )


def block_size(pattern: Pattern) -> int:
    """The block to cut a pattern into: about 128, and in step with its period where it has one."""
    period = pattern.period
    if period is None or period == 1:
        return DEFAULT_BLOCK
    if period <= DEFAULT_BLOCK:
        return DEFAULT_BLOCK // period * period if period < DEFAULT_BLOCK // 4 else period
    return next((size for size in range(2 * DEFAULT_BLOCK, 31, -1) if period % size == 0), DEFAULT_BLOCK)
