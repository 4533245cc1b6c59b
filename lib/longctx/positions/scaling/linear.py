"""Position interpolation (Chen et al., 2023)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from longctx.positions.scaling.base import Factor, Scaling, register, unscaled


@register(source="https://arxiv.org/abs/2306.15595")
class Linear(Scaling):
    r"""Squeeze all positions into the trained range, :math:`\theta_t' = \theta_t / s`.

    No angle is new, but neighbours are told apart s times worse, in the fastest pairs as in the slowest.
    """

    name: Literal["linear"] = "linear"
    factor: Factor

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        return unscaled(base, dim) / self.factor
