"""Sandwich: the inner product of sinusoids as a bias (Chi et al., 2023)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import by_distance


class SandwichConfig(PositionConfig):
    name: Literal["sandwich"] = "sandwich"
    #: Channels of the sinusoids, whatever the model's own width.
    channels: int = Field(128, ge=2, multiple_of=2, examples=[32])
    #: Wavelengths run from 2π to 2π · base.
    base: PositiveFloat = 10_000.0


@register(SandwichConfig, source="https://arxiv.org/abs/2212.10356")
class Sandwich(PositionEncoding):
    r"""Add the inner product of two sinusoidal position vectors, scaled for each head.

    .. math:: b_h(i, j) = \frac{H}{8h} \sum_{t < c/2} \cos\big((i - j)\, \beta^{-2t/c}\big),
              \qquad h = 1, \dots, H

    The sum falls with distance about like a logarithm. Nothing is learned.
    """

    kind = "bias"
    shift_invariant = True

    def __init__(self, config: SandwichConfig, *, n_heads: int) -> None:
        super().__init__()
        self.config = config
        compression = 8 * torch.arange(1, n_heads + 1) / n_heads
        self.register_buffer("gains", 1 / compression, persistent=False)

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        return by_distance(self._of, q_pos, k_pos)

    def _of(self, distance: Int[Tensor, " n"]) -> Float[Tensor, "n heads"]:
        channels, gains = self.config.channels, self.get_buffer("gains")
        exponent = torch.arange(0, channels, 2, device=distance.device, dtype=torch.float64) / channels
        cosines = (distance[:, None].double() * self.config.base**-exponent).cos()
        return (cosines.sum(-1, keepdim=True) * gains.double()).to(gains.dtype)
