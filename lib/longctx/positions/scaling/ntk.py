"""NTK-aware scaling (bloc97, 2023; Peng et al., 2024, section 3.1)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from longctx.positions.scaling.base import Factor, Scaling, register, unscaled


@register(source="https://arxiv.org/abs/2309.00071")
class NTK(Scaling):
    r"""Enlarge the base, so that the slowest pair is interpolated by the factor and the fastest not at all.

    .. math:: b' = b \cdot s^{d / (d - 2)}
    """

    name: Literal["ntk"] = "ntk"
    factor: Factor

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        if dim <= 2:
            raise ValueError(
                f"ntk scaling needs more than one pair of channels, got {dim} channels that turn"
            )
        return unscaled(base * self.factor ** (dim / (dim - 2)), dim)
