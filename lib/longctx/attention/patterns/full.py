"""Full attention (Vaswani et al., 2017): every earlier token, or every token."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register, span


@register(source="https://arxiv.org/abs/1706.03762")
class Full(Pattern):
    """Attend to every token that causality permits: j ≤ i, or any j if not causal."""

    cost: ClassVar[str] = "L / 2"
    name: Literal["full"] = "full"

    @property
    def period(self) -> int:
        return 1

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        return j <= i if self.causal else (j == j) & (i == i)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        return [span(0, b if self.causal else n_blocks - 1) for b in range(n_blocks)]
