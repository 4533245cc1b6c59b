"""What a sampling of positions is: a rule that draws increasing positions for each forward pass."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from longctx.registry import ConfigRegistry, StrategyConfig
from longctx.streams import Raw, stream

#: Positions 0 … max_length − 1 may be drawn.
Range = Annotated[int, Field(ge=2, examples=[64])]


class Sampling(StrategyConfig):
    """A method to draw positions. A sampling is its own config, and serves every encoding.

    All sequences of a forward pass stand at the same positions.
    """

    def reach(self, length: int) -> int:
        """One more than the largest position that ``length`` tokens may get.

        Raises:
            ValueError: so many tokens do not fit.
        """
        raise NotImplementedError

    def draw(self, length: int, raw: Raw) -> Int64[np.ndarray, " length"]:
        """Increasing positions of ``length`` tokens."""
        raise NotImplementedError

    def positions(self, length: int, *, seed: int, step: int) -> Int64[Tensor, " length"]:
        """Those of a step (or micro-batch): a pure function, so that a resumed run sees the same."""
        # Not the stream that draws the text.
        return torch.from_numpy(self.draw(length, stream(seed, step, 1)).astype(np.int64))


SAMPLINGS = ConfigRegistry(Sampling, "position sampling", "longctx.position_samplings")
register = SAMPLINGS.register_config
build_sampling = SAMPLINGS.build


def check_fits(sampling: Sampling, length: int, max_length: int) -> int:
    """``max_length``, if it holds ``length`` positions."""
    if length > max_length:
        raise ValueError(f"{sampling}: max_length={max_length} holds no {length} positions")
    return max_length
