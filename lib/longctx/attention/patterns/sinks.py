"""Attention sinks and a window (Xiao et al., 2024, "StreamingLLM", section 3.2)."""

from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, joined, register, span
from longctx.attention.patterns.parts import Part, columns
from longctx.attention.patterns.sliding_window import SlidingWindow


@register(source="https://arxiv.org/abs/2309.17453")
class Sinks(Pattern):
    """Attend to the last ``window`` tokens and to the first ``sinks`` of all: i − j < w or j < s.

    Trained models rest attention that they do not need on the first tokens; a window that drops these takes
    away the resting place.
    """

    cost: ClassVar[str] = "window + sinks"
    name: Literal["sinks"] = "sinks"
    #: Keys of the window in each direction, the query itself included.
    window: PositiveInt = Field(examples=[10])
    #: First tokens that every query sees.
    sinks: PositiveInt = Field(4, examples=[4])

    @cached_property
    def _window(self) -> SlidingWindow:
        return SlidingWindow(window=self.window, causal=self.causal)

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        first = j < self.sinks
        return self._window.allows(q_pos, k_pos) | (first & (j <= i) if self.causal else first & (i == i))

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        last = min(n_blocks - 1, (self.sinks - 1) // block)
        near = self._window.touched(n_blocks, block)
        return [
            joined(span(0, min(last, row) if self.causal else last), keys) for row, keys in enumerate(near)
        ]

    def parts(self, length: int, block: int) -> list[Part]:
        sinks = columns(torch.arange(min(self.sinks, length)), self.allows, length, block, causal=self.causal)
        return [*self._window.parts(length, block), sinks.without(self._window.allows)]
