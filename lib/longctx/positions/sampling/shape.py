"""SHAPE: shifted absolute positions (Kiyono et al., 2021, section 3)."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from longctx.positions.sampling.base import Sampling, register
from longctx.streams import Raw, below


@register(source="https://arxiv.org/abs/2109.05644")
class Shape(Sampling):
    """Shift all positions of a step by one random number, so that absolute ones teach only differences."""

    name: Literal["shape"] = "shape"
    #: The largest shift.
    max_shift: Annotated[int, Field(ge=1, examples=[30])] = 1920

    def reach(self, length: int) -> int:
        return self.max_shift + length

    def draw(self, length: int, raw: Raw) -> Int64[np.ndarray, " length"]:
        return below(raw(1), self.max_shift + 1) + np.arange(length)
