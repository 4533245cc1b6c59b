"""Dilated sliding window (Beltagy et al., 2020, section 3.1; Yu & Koltun, 2016, for convolutions)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import register
from longctx.attention.patterns.distances import OfDistances, multiple_between
from longctx.attention.patterns.parts import Part, residues, within_classes
from longctx.attention.patterns.sliding_window import SlidingWindow


@register(source="https://arxiv.org/abs/2004.05150")
class DilatedWindow(OfDistances):
    """Attend to every ``dilation``-th token, ``window`` of them: i − j = 0, d, 2d, … (w − 1) d.

    As wide a view as a window of w · d at the cost of w, with gaps: positions of different residues modulo d
    never meet, in any number of such layers. Within a residue it is a plain window, and is computed as one.
    """

    cost: ClassVar[str] = "window"
    name: Literal["dilated_window"] = "dilated_window"
    #: Keys that a query sees in each direction, itself included.
    window: PositiveInt = Field(examples=[3, 20])
    #: Positions from one of these keys to the next.
    dilation: PositiveInt = Field(examples=[5])

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return (distance < self.window * self.dilation) & (distance % self.dilation == 0)

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        reach = (self.window - 1) * self.dilation
        return multiple_between(low, high.clamp(max=reach), self.dilation)

    def parts(self, length: int, block: int) -> list[Part]:
        inner = SlidingWindow(window=self.window, causal=self.causal)
        return [within_classes(residues(length, self.dilation), inner.touched, self.allows, block)]
