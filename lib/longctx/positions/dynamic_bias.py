"""Dynamic position bias: a perceptron of the distance (Wang et al., 2022)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import by_distance
from longctx.positions.mlp import Perceptron


class DynamicBiasConfig(PositionConfig):
    name: Literal["dynamic_bias"] = "dynamic_bias"
    #: Hidden units of a layer.
    width: PositiveInt = Field(64, examples=[8])
    #: Hidden layers.
    depth: PositiveInt = 2
    #: Give the perceptron ±ln(1 + |i − j|), as Swin v2 does (Liu et al., 2022), and not i − j itself.
    log_distance: bool = True


@register(DynamicBiasConfig, source="https://arxiv.org/abs/2108.00154")
class DynamicBias(PositionEncoding):
    r"""Add a learned function of the signed distance, :math:`b_h(i, j) = f_h(i - j)`.

    f is a multilayer perceptron with SiLU between its layers. It is defined at every distance, but trained
    only at those it has met.
    """

    kind = "bias"
    shift_invariant = True

    def __init__(self, config: DynamicBiasConfig, *, n_heads: int) -> None:
        super().__init__()
        self.config = config
        self.function = Perceptron([1, *[config.width] * config.depth, n_heads], nn.SiLU)
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the perceptron."""
        self.function.draw(generator)

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        return by_distance(self._of, q_pos, k_pos)

    def _of(self, distance: Int[Tensor, " n"]) -> Float[Tensor, "n heads"]:
        x = distance[:, None].to(next(self.parameters()).dtype)
        if self.config.log_distance:
            x = x.sign() * x.abs().log1p()
        biases: Tensor = self.function(x)
        return biases
