"""Learned absolute positions (Gehring et al., 2017; used by BERT and GPT-2)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register


class LearnedConfig(PositionConfig):
    name: Literal["learned"] = "learned"
    #: Rows of the table: positions 0 … max_length − 1 exist, no others.
    max_length: PositiveInt = 1024


@register(LearnedConfig, source="https://arxiv.org/abs/1705.03122")
class Learned(PositionEncoding):
    r"""Add one trained vector a position, :math:`x_i \leftarrow x_i + P_i`.

    Rows beyond the training length exist but were never trained: that is why it does not extrapolate.
    """

    kind = "additive"

    def __init__(self, config: LearnedConfig, *, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.max_length, d_model))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the table from a normal distribution of standard deviation 0.02, as GPT-2 does."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.02, generator=generator)

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"]:
        if not torch.compiler.is_compiling() and positions.numel():
            low, high = positions.aminmax()
            if low < 0 or high >= self.config.max_length:
                raise ValueError(
                    f"learned positions end at max_length={self.config.max_length}; "
                    f"asked for {int(low)} … {int(high)}"
                )
        return nn.functional.embedding(positions, self.weight)
