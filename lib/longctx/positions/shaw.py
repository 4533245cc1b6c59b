"""Relative position representations (Shaw, Uszkoreit & Vaswani, 2018, section 3.2)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import look_up


class ShawConfig(PositionConfig):
    name: Literal["shaw"] = "shaw"
    #: Distances beyond it, to either side, share the vector of this one.
    max_distance: PositiveInt = Field(64, examples=[4])


@register(ShawConfig, source="https://arxiv.org/abs/1803.02155")
class Shaw(PositionEncoding):
    r"""Add to each key a learned vector of its clipped distance.

    .. math:: \frac{q_i^\top \big(k_j + a_{\operatorname{clip}(i - j,\, \pm m)}\big)}{\sqrt d}

    The first relative encoding. All heads of a layer share the vectors. The paper also adds some to the
    values, and finds (section 4.3) that those on the keys suffice.
    """

    kind = "bias"
    per_layer = True

    def __init__(self, config: ShawConfig, *, head_dim: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(2 * config.max_distance + 1, head_dim))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the vectors from a normal distribution of standard deviation 0.02."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.02, generator=generator)

    def score(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        limit = self.config.max_distance
        row = (q_pos[:, None] - k_pos).clamp(-limit, limit) + limit
        return (q @ k.mT + look_up(q @ self.weight.to(q.dtype).mT, row)) / q.shape[-1] ** 0.5
