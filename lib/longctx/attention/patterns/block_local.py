"""Block-local attention (Liu et al., 2018, "local attention"; Qiu et al., 2020)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register, span


@register(source="https://arxiv.org/abs/1801.10198")
class BlockLocal(Pattern):
    """Attend within one's own block of ``block_size`` positions: ⌊i / s⌋ = ⌊j / s⌋.

    Nothing crosses a block's edge, in any number of layers: cheap, and the contrast that shows what a
    sliding window's overlap is worth.
    """

    cost: ClassVar[str] = "block_size / 2"
    name: Literal["block_local"] = "block_local"
    #: Positions to a block.
    block_size: PositiveInt = Field(examples=[7, 32, 48])

    @property
    def period(self) -> int:
        return self.block_size

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        same = i // self.block_size == j // self.block_size
        return same & (j <= i) if self.causal else same

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        size = self.block_size
        first = [b * block // size * size // block for b in range(n_blocks)]
        end = [(((b + 1) * block - 1) // size + 1) * size - 1 for b in range(n_blocks)]
        return [
            span(first[b], b if self.causal else min(n_blocks - 1, end[b] // block)) for b in range(n_blocks)
        ]
