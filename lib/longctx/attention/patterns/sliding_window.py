"""Sliding window (Child et al., 2019; Beltagy et al., 2020, section 3.1; Jiang et al., 2023)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import register
from longctx.attention.patterns.distances import OfDistances


@register(source="https://arxiv.org/abs/2004.05150")
class SlidingWindow(OfDistances):
    """Attend to the last ``window`` tokens, oneself included: 0 ≤ i − j < window.

    Not causal, the window reaches to both sides: |i − j| < window. Mistral's convention; some libraries
    let a window of w reach w + 1 keys.
    """

    cost: ClassVar[str] = "window"
    name: Literal["sliding_window"] = "sliding_window"
    #: Keys that a query sees in each direction, itself included.
    window: PositiveInt = Field(examples=[1, 40, 64])

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return distance < self.window

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        return low < self.window
