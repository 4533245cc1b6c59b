"""BigBird's attention (Zaheer et al., 2020, section 2)."""

import random
from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register
from longctx.attention.patterns.parts import Part


@register(source="https://arxiv.org/abs/2007.14062")
class BigBird(Pattern):
    """Attend, by blocks, to a window, to some global blocks, and to a few drawn at random.

    In both directions random edges give short paths between any two tokens, the window gives locality,
    and the global blocks make the whole able to compute what full attention can. Causally, paths are
    longer. Global tokens are the sequence's own (the paper's "internal" construction).
    """

    cost: ClassVar[str] = (
        "at most ((window_blocks + 1) / 2 + len(global_blocks) + random_blocks) * block_size"
    )
    name: Literal["bigbird"] = "bigbird"
    #: Tokens to a block, of which all or none are seen.
    block_size: PositiveInt = Field(64, examples=[8])
    #: Blocks in the window, half of them to each side of the query's own; odd.
    window_blocks: PositiveInt = Field(3, examples=[3])
    #: Blocks that see all and are seen by all; −1 is the last of ``length``.
    global_blocks: tuple[int, ...] = Field((0,), examples=[(0,), (0, -1)])
    #: Further blocks that each block sees, or all there are if they are fewer.
    random_blocks: NonNegativeInt = Field(3, examples=[2])
    #: Tokens of the longest sequence, from all of which random blocks are drawn.
    length: PositiveInt = Field(65536, examples=[304])
    #: Seed of the draw, which is the same for all heads and layers.
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _blocks_exist(self) -> "BigBird":
        if self.window_blocks % 2 == 0:
            raise ValueError(f"window_blocks must be odd, given {self.window_blocks}")
        n = self.n_blocks
        if any(not -n <= b < n for b in self.global_blocks):
            raise ValueError(f"global_blocks must lie in {-n} … {n - 1}, given {self.global_blocks}")
        return self

    @property
    def n_blocks(self) -> int:
        """Blocks of the longest sequence."""
        return -(-self.length // self.block_size)

    @cached_property
    def block_table(self) -> Bool[Tensor, "blocks blocks"]:
        """Which blocks see which; if causal, none sees a later one."""
        n = self.n_blocks
        row, column = torch.arange(n)[:, None], torch.arange(n)
        seen = (row - column).abs() <= self.window_blocks // 2
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[list(self.global_blocks)] = True
        seen |= chosen | chosen[:, None]
        if self.causal:
            seen &= column <= row
        for b in range(n):
            generator = random.Random(f"{self.seed} {b}")
            others = (~seen[b, : b if self.causal else n]).nonzero()[:, 0].tolist()
            seen[b, generator.sample(others, min(self.random_blocks, len(others)))] = True
        return seen

    @property
    def max_length(self) -> int:
        return self.length

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        seen, last = self.block_table.to(q_pos.device), self.n_blocks - 1
        allowed = seen[(i // self.block_size).clamp(0, last), (j // self.block_size).clamp(0, last)]
        return allowed & (j <= i) if self.causal else allowed

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        seen, size = self.block_table, self.block_size
        edges = torch.arange(n_blocks + 1) * block
        first, last = edges[:-1] // size, ((edges[1:] - 1) // size).clamp(max=self.n_blocks - 1)
        rows = []
        for row in range(n_blocks):
            keys = seen[first[row] : last[row] + 1].any(0).nonzero()[:, 0]
            ends = (keys * size // block, ((keys + 1) * size - 1) // block)
            found = torch.cat([torch.arange(a, b + 1) for a, b in zip(*ends, strict=True)]).unique()
            rows.append(found[found <= (row if self.causal else n_blocks - 1)])
        return rows

    def parts(self, length: int, block: int) -> list[Part]:
        size = self.block_size
        return [Part(self.allows, self.touched(-(-length // size), size), size, size)]
