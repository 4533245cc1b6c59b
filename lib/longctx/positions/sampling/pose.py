"""PoSE: positional skip-wise training (Zhu et al., 2024, section 3)."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from longctx.positions.sampling.base import Range, Sampling, check_fits, register
from longctx.streams import Raw


@register(source="https://arxiv.org/abs/2309.10400")
class PoSE(Sampling):
    """Cut a step's tokens into chunks and skip positions between them, up to those of a longer context.

    Within a chunk neighbours stay neighbours; between chunks every distance of the longer context occurs.
    """

    name: Literal["pose"] = "pose"
    max_length: Range = 2048
    chunks: Annotated[int, Field(ge=2, examples=[2, 4])] = 2

    def reach(self, length: int) -> int:
        if length < self.chunks:
            raise ValueError(f"{self}: {length} tokens make no {self.chunks} chunks")
        return check_fits(self, length, self.max_length)

    def draw(self, length: int, raw: Raw) -> Int64[np.ndarray, " length"]:
        # The chunks start at 0 and at chunks − 1 other tokens; each skips further than the one before.
        starts = 1 + np.sort(np.argsort(raw(length - 1), kind="stable")[: self.chunks - 1])
        skips = [0]
        for number in raw(self.chunks - 1):
            left = self.max_length - length - skips[-1]
            skips.append(skips[-1] + int(number % np.uint64(left + 1)))
        return np.arange(length) + np.repeat(skips, np.diff([0, *starts, length]))
