"""Learned absolute positions (Gehring et al., 2017; used by BERT and GPT-2)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register


class LearnedConfig(PositionConfig):
    name: Literal["learned"] = "learned"
    #: Rows of the table: positions 0 … max_length − 1 exist, no others.
    max_length: PositiveInt = 1024
    #: Read a context this many times longer by interpolating linearly between neighbouring rows.
    factor: float = Field(1.0, ge=1.0, examples=[1.0, 2.5])


@register(LearnedConfig, source="https://arxiv.org/abs/1705.03122")
class Learned(PositionEncoding):
    r"""Add one trained vector a position, :math:`x_i \leftarrow x_i + P_i`.

    Rows beyond the training length exist but were never trained: that is why it does not extrapolate. With a
    factor s, position i reads the table at i/s.
    """

    kind = "additive"

    def __init__(self, config: LearnedConfig, *, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.max_length, d_model))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the table with standard deviation 0.02, as Hugging Face's GPT-2 does (OpenAI's with 0.01)."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.02, generator=generator)

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"]:
        last, factor = self.config.max_length - 1, self.config.factor
        if not torch.compiler.is_compiling() and positions.numel():
            low, high = positions.aminmax()
            if low < 0 or high > last * factor:
                raise ValueError(
                    f"learned positions end at max_length={self.config.max_length}"
                    f"{f' times factor={factor:g}' if factor != 1 else ''}; "
                    f"asked for {int(low)} … {int(high)}"
                )
        if factor == 1:
            return nn.functional.embedding(positions, self.weight)
        at = positions.double() / factor
        row = at.long()
        share = (at - row)[..., None].to(self.weight.dtype)
        left, right = (nn.functional.embedding(r, self.weight) for r in (row, (row + 1).clamp(max=last)))
        return torch.lerp(left, right, share)
