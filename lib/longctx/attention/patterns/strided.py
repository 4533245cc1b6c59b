"""Strided attention (Child et al., 2019, "Sparse Transformer", section 4.2)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import register
from longctx.attention.patterns.distances import OfDistances, multiple_between
from longctx.attention.patterns.full import Full
from longctx.attention.patterns.parts import Part, residues, within_classes
from longctx.attention.patterns.sliding_window import SlidingWindow


@register(source="https://arxiv.org/abs/1904.10509")
class Strided(OfDistances):
    """Attend to the last ``stride`` tokens and to every ``stride``-th before them: i − j < s or s | i − j.

    Any earlier token is two steps away: back along the stride, then within the window. With s = √L the
    last query has 2 √L keys. The paper gives the two sets to different heads or joins them; this is the
    union, and ``per_head`` makes the other.
    """

    cost: ClassVar[str] = "stride + L / (2 * stride)"
    name: Literal["strided"] = "strided"
    #: Width of the window and distance between the keys beyond it.
    stride: PositiveInt = Field(examples=[12, 40])

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return (distance < self.stride) | (distance % self.stride == 0)

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        return (low < self.stride) | multiple_between(low, high, self.stride)

    def parts(self, length: int, block: int) -> list[Part]:
        window = SlidingWindow(window=self.stride, causal=self.causal)
        columns = within_classes(
            residues(length, self.stride), Full(causal=self.causal).touched, self.allows, block
        )
        return [*window.parts(length, block), columns.without(window.allows)]
