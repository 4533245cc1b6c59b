"""Randomised positions (Ruoss et al., 2023, section 3)."""

from typing import Literal

import numpy as np
from jaxtyping import Int64

from longctx.positions.sampling.base import Range, Sampling, check_fits, register
from longctx.streams import Raw


@register(source="https://arxiv.org/abs/2305.16843")
class Randomized(Sampling):
    """Give the tokens of a step a random, ordered subset of the positions of a much longer context.

    What is learned is the order of positions, not their spacing. The paper tests as it trains, with random
    positions; here a test reads tokens at 0, 1, 2, … as ever.
    """

    name: Literal["randomized"] = "randomized"
    max_length: Range = 2048

    def reach(self, length: int) -> int:
        return check_fits(self, length, self.max_length)

    def draw(self, length: int, raw: Raw) -> Int64[np.ndarray, " length"]:
        return np.sort(np.argsort(raw(self.max_length), kind="stable")[:length])
