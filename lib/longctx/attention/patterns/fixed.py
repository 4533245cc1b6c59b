"""Fixed attention (Child et al., 2019, "Sparse Transformer", section 4.2)."""

from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register
from longctx.attention.patterns.block_local import BlockLocal
from longctx.attention.patterns.distances import multiple_between
from longctx.attention.patterns.parts import Part, columns


@register(source="https://arxiv.org/abs/1904.10509")
class Fixed(Pattern):
    """Attend within one's block, and to the last ``summary`` positions of every block before it.

    Those positions are left to carry what their blocks say to all that follow. Strided attention asks for
    data with a period, such as the rows of an image; this one does not.
    """

    cost: ClassVar[str] = "stride / 2 + summary * L / (2 * stride)"
    name: Literal["fixed"] = "fixed"
    #: Positions to a block.
    stride: PositiveInt = Field(examples=[12])
    #: Positions at the end of each block that others see.
    summary: PositiveInt = Field(1, examples=[1, 4])

    @model_validator(mode="after")
    def _summary_fits(self) -> "Fixed":
        if self.summary > self.stride:
            raise ValueError(f"summary must not exceed stride={self.stride}, given {self.summary}")
        return self

    @property
    def period(self) -> int:
        return self.stride

    @cached_property
    def _local(self) -> BlockLocal:
        return BlockLocal(block_size=self.stride, causal=self.causal)

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        told = (j % self.stride >= self.stride - self.summary) & (i == i)
        return self._local.allows(q_pos, k_pos) | (told & (j <= i) if self.causal else told)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        first = torch.arange(n_blocks) * block
        told = torch.zeros(n_blocks, dtype=torch.bool)
        for k in range(self.summary):
            told |= multiple_between(first + 1 + k, first + block + k, self.stride)
        return [
            torch.cat([told[:row].nonzero()[:, 0] if self.causal else told.nonzero()[:, 0], keys]).unique()
            for row, keys in enumerate(self._local.touched(n_blocks, block))
        ]

    def parts(self, length: int, block: int) -> list[Part]:
        places = torch.arange(length)
        told = places[places % self.stride >= self.stride - self.summary]
        local = self._local.parts(length, block)
        if not len(told):
            return local
        summaries = columns(told, self.allows, length, block, causal=self.causal)
        return [*local, summaries.without(self._local.allows)]
