"""Attention of a prefix language model (Liu et al., 2018; Raffel et al., 2020, section 3.2.1)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register, span


@register(source="https://arxiv.org/abs/1910.10683")
class PrefixLM(Pattern):
    """Attend to the whole prefix from everywhere, and causally beyond it: j ≤ i or j < p.

    The prefix is read as an encoder reads, what follows is written as a decoder writes.
    """

    cost: ClassVar[str] = "L / 2"
    name: Literal["prefix_lm"] = "prefix_lm"
    causal: Literal[False] = False
    #: Tokens of the prefix.
    prefix: PositiveInt = Field(examples=[7, 40])

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        return (j <= i) | (j < self.prefix)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        last = min(n_blocks - 1, (self.prefix - 1) // block)
        return [span(0, max(row, last)) for row in range(n_blocks)]
