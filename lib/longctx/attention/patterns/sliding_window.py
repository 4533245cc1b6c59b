"""Sliding window (Child et al., 2019; Beltagy et al., 2020, section 3.1; Jiang et al., 2023)."""

from typing import Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register, span


@register(source="https://arxiv.org/abs/2004.05150")
class SlidingWindow(Pattern):
    """Attend to the last ``window`` tokens, oneself included: 0 ≤ i − j < window.

    Not causal, the window reaches to both sides: |i − j| < window. Mistral's convention; some libraries
    let a window of w reach w + 1 keys.
    """

    name: Literal["sliding_window"] = "sliding_window"
    #: Keys that a query sees in each direction, itself included.
    window: PositiveInt = Field(examples=[1, 40, 64])

    @property
    def period(self) -> int:
        return 1

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        near = i - j < self.window
        return near & (j <= i) if self.causal else near & (j - i < self.window)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        reach = (self.window + block - 2) // block
        ahead = 0 if self.causal else reach
        return [span(max(0, b - reach), min(n_blocks - 1, b + ahead)) for b in range(n_blocks)]
