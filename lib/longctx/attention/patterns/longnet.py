"""LongNet's dilated attention (Ding et al., 2023, section 3.2)."""

from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from longctx.attention.patterns.base import Pattern, grid, register
from longctx.attention.patterns.distances import multiple_between
from longctx.attention.patterns.full import Full
from longctx.attention.patterns.parts import Part, within_classes


@register(source="https://arxiv.org/abs/2307.02486")
class LongNet(Pattern):
    """Attend within segments of several lengths, the longer ones thinned out: every r-th token of w.

    With both growing geometrically a query has a constant number of keys for each pair of them, near ones
    densely and far ones sparsely. The paper thins out queries as well, at an offset that differs by head,
    and counts keys that several segments share once for each; here every query takes part, with those of
    its own residue, and a key counts once. Neighbours at the edge of every segment may never meet; a
    window beside it (``| sliding_window(window=2)``) mends that.
    """

    cost: ClassVar[str] = "at most sum(w / r + 1 for w, r in zip(segments, dilations)) / 2"
    name: Literal["longnet"] = "longnet"
    #: Lengths w of the segments, growing.
    segments: tuple[PositiveInt, ...] = Field((64, 256, 1024), min_length=1, examples=[(12, 36, 108), (40,)])
    #: The r of each: every r-th token of a segment. The first should be 1.
    dilations: tuple[PositiveInt, ...] = Field((1, 4, 16), min_length=1, examples=[(1, 3, 9), (1,)])

    @model_validator(mode="after")
    def _pairs(self) -> "LongNet":
        if len(self.segments) != len(self.dilations):
            raise ValueError(
                f"dilations must be as many as segments, {len(self.segments)}; given {self.dilations}"
            )
        wrong = [(w, r) for w, r in zip(self.segments, self.dilations, strict=True) if w % r]
        if wrong:
            raise ValueError(f"each dilation must divide its segment; given segment, dilation {wrong[0]}")
        return self

    def _allows_in(self, w: int, r: int, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        i, j = grid(q_pos, k_pos)
        allowed = (i // w == j // w) & ((i - j) % r == 0)
        return allowed & (j <= i) if self.causal else allowed

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        return self._allows_first(len(self.segments), q_pos, k_pos)

    def _allows_first(self, n: int, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """What the first n segment lengths allow."""
        pairs = list(zip(self.segments, self.dilations, strict=True))[:n]
        return torch.stack([self._allows_in(w, r, q_pos, k_pos) for w, r in pairs]).any(0)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        first = torch.arange(n_blocks) * block
        rows = []
        for row in range(n_blocks):
            seen = torch.zeros(n_blocks, dtype=torch.bool)
            for w, r in zip(self.segments, self.dilations, strict=True):
                for start in range(row * block // w * w, (row + 1) * block, w):
                    # Queries and keys of this segment, and the distances between them.
                    low, high = max(start, row * block), min(start + w, (row + 1) * block) - 1
                    a, b = first.clamp(min=start), (first + block).clamp(max=start + w) - 1
                    nearest = (low - b).clamp(min=0) if self.causal else low - b
                    seen |= (a <= b) & multiple_between(nearest, high - a, r)
            rows.append(seen.nonzero()[:, 0])
        return rows

    def parts(self, length: int, block: int) -> list[Part]:
        found = []
        for n, (w, r) in enumerate(zip(self.segments, self.dilations, strict=True)):
            slots = torch.arange(-(-length // w) * w)
            order = torch.where(slots < length, slots, -1)
            classes = order.view(-1, w // r, r).transpose(1, 2).flatten(0, 1)  # by segment and residue
            width = min(w // r, -(-length // r))
            part = within_classes(
                classes[:, :width], Full(causal=self.causal).touched, partial(self._allows_in, w, r), block
            )
            found.append(part.without(partial(self._allows_first, n)) if n else part)
        return found
