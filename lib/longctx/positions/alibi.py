"""ALiBi: attention with linear biases (Press, Smith & Lewis, 2022, section 3)."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from longctx.positions.base import PositionConfig, PositionEncoding, register


class ALiBiConfig(PositionConfig):
    name: Literal["alibi"] = "alibi"
    #: Learn the slopes instead of fixing them; they start at the paper's values and stay positive.
    learned: bool = Field(False, examples=[False, True])
    #: Penalise keys to the right as those to the left. Otherwise each side has slopes of its own.
    symmetric: bool = Field(True, examples=[True, False])


@register(ALiBiConfig, source="https://arxiv.org/abs/2108.12409")
class ALiBi(PositionEncoding):
    r"""Penalise each logit in proportion to distance: :math:`b_h(i, j) = -m_h\,|i - j|`.

    The slopes :math:`m_h` are a geometric sequence, so that some heads see far and others only near.
    Nothing is added to the embeddings, and nothing depends on the training length: that is why nothing
    breaks beyond it.

    The paper is about causal attention, where no key is to the right. Where some are, a symmetric bias does
    not tell left from right; its authors then suggest slopes for each side. Here the two sides of H heads
    take turns in the sequence for 2H heads, so that no head has the same slope to both.
    """

    kind = "bias"
    shift_invariant = True

    def __init__(self, config: ALiBiConfig, *, n_heads: int) -> None:
        super().__init__()
        self.config = config
        slopes = torch.tensor(geometric_slopes(n_heads))
        if not config.symmetric:
            slopes = torch.tensor(geometric_slopes(2 * n_heads)).view(n_heads, 2).T
        if config.learned:
            self.log_slopes = torch.nn.Parameter(slopes.log())
        else:
            self.register_buffer("fixed_slopes", slopes, persistent=False)

    @property
    def slopes(self) -> Float[Tensor, "*sides heads"]:
        """The slope of each head; if the bias is not symmetric, to the left and to the right."""
        return self.log_slopes.exp() if self.config.learned else self.get_buffer("fixed_slopes")

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        distance = (q_pos[..., :, None] - k_pos[..., None, :])[..., None, :, :]
        slopes = self.slopes[..., None, None]
        if self.config.symmetric:
            return -slopes * distance.abs()
        left, right = slopes
        return right * distance.clamp(max=0) - left * distance.clamp(min=0)


def geometric_slopes(n_heads: int) -> list[float]:
    """The paper's slopes: 2^(-8/n), 2^(-16/n), … for a power of two n.

    For other head counts the published code takes the slopes of the next lower power of two and fills
    up with every other slope of the next higher one; checkpoints depend on it.
    """
    lower = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (h + 1) / lower) for h in range(lower)]
    between = [2 ** (-4 * (2 * h + 1) / lower) for h in range(n_heads - lower)]
    return slopes + between
