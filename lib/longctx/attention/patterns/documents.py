"""Attention within documents that are packed into one sequence (Krell et al., 2021, section 3.2)."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register, span


def _increasing(starts: tuple[int, ...]) -> tuple[int, ...]:
    if any(a >= b for a, b in pairwise(starts)):
        raise ValueError(f"starts must increase, given {starts}")
    return starts


@register(source="https://arxiv.org/abs/2107.02027")
class Documents(Pattern):
    """Attend within one's own document alone, as if it had the sequence to itself."""

    cost: ClassVar[str] = "half a document"
    name: Literal["documents"] = "documents"
    #: Positions at which the second document and those after it start.
    starts: Annotated[tuple[PositiveInt, ...], AfterValidator(_increasing)] = Field(
        examples=[(50,), (7, 9, 80)]
    )

    def _document(self, positions: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        starts = torch.tensor(self.starts, device=positions.device, dtype=positions.dtype)
        return (positions[..., None] >= starts).sum(-1)

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        same = self._document(i) == self._document(j)
        return same & (j <= i) if self.causal else same

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        edges = torch.tensor([0, *self.starts, max(n_blocks * block, self.starts[-1]) + 1])
        low, high = torch.arange(n_blocks) * block, torch.arange(1, n_blocks + 1) * block - 1
        first = edges[self._document(low)] // block
        last = (edges[self._document(high) + 1] - 1) // block
        return [
            span(int(first[row]), row if self.causal else min(int(last[row]), n_blocks - 1))
            for row in range(n_blocks)
        ]
