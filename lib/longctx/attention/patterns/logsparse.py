"""LogSparse attention (Li et al., 2019, section 4.2)."""

from typing import ClassVar, Literal

from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import register
from longctx.attention.patterns.distances import OfDistances


@register(source="https://arxiv.org/abs/1907.00235")
class LogSparse(OfDistances):
    """Attend to the last ``window`` tokens and beyond them to distances 1, 2, 4, 8, …

    About log₂ L keys, and any earlier token within log₂ L layers: a distance is a sum of powers of two.
    """

    cost: ClassVar[str] = "window + log2(L / window)"
    name: Literal["logsparse"] = "logsparse"
    #: Keys next to the query, itself included, that are all seen.
    window: PositiveInt = Field(1, examples=[1, 10])

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return (distance < self.window) | (distance & (distance - 1) == 0)

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        # The largest power of two up to ``high``: its highest bit, all others cleared.
        power = high.clamp(min=1)
        for bits in (1, 2, 4, 8, 16, 32):
            power = power | (power >> bits)
        power = power - (power >> 1)
        return (low < self.window) | ((power >= low) & (high >= 1))
