"""Longformer's attention (Beltagy et al., 2020, section 3.1)."""

from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, Places, grid, joined, register
from longctx.attention.patterns.parts import Part, columns, rows
from longctx.attention.patterns.sliding_window import SlidingWindow


@register(source="https://arxiv.org/abs/2004.05150")
class Longformer(Pattern):
    """Attend to a window and to a few global tokens, which in turn attend to all.

    In both directions two layers connect any two tokens, through a global one; a causal one passes on
    only what stands before it, and the first token nothing. Which tokens are global is the task's affair:
    [CLS] for classification, the question for question answering. The paper gives them projections of
    their own; here they share those of the others.
    """

    cost: ClassVar[str] = "window + len(global_positions)"
    name: Literal["longformer"] = "longformer"
    #: Keys of the window in each direction, the query itself included (half of the paper's, and one).
    window: PositiveInt = Field(examples=[20])
    #: Tokens that see all and are seen by all.
    global_positions: Places = Field((0,), min_length=1, examples=[(0,), (0, 1, 50)])

    @cached_property
    def _window(self) -> SlidingWindow:
        return SlidingWindow(window=self.window, causal=self.causal)

    def _is_global(self, positions: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        chosen = torch.tensor(self.global_positions, device=positions.device)
        return (positions[..., None] == chosen).any(-1)

    def _seen(self, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """What windows and global keys allow."""
        i, j = grid(q_pos, k_pos)
        seen = self._is_global(j) & (i == i)
        return self._window.allows(q_pos, k_pos) | (seen & (j <= i) if self.causal else seen)

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        seeing = self._is_global(i) & (j == j)
        return self._seen(q_pos, k_pos) | (seeing & (j <= i) if self.causal else seeing)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        holders = torch.tensor(sorted({p // block for p in self.global_positions if p < n_blocks * block}))
        last = [
            row if self.causal else n_blocks - 1 for row in range(n_blocks)
        ]  # the farthest block that is seen
        return [
            torch.arange(last[row] + 1) if row in holders else joined(holders[holders <= last[row]], keys)
            for row, keys in enumerate(self._window.touched(n_blocks, block))
        ]

    def parts(self, length: int, block: int) -> list[Part]:
        window = self._window
        chosen = torch.tensor([p for p in self.global_positions if p < length])
        if not len(chosen):
            return window.parts(length, block)
        seen = columns(chosen, self._seen, length, block, causal=self.causal)
        seeing = rows(chosen, self.allows, length, block, causal=self.causal)
        return [*window.parts(length, block), seen.without(window.allows), seeing.without(self._seen)]
