"""NTK-by-parts interpolation (Peng et al., 2024, section 3.2)."""

from typing import Literal

from jaxtyping import Float
from pydantic import PositiveFloat, model_validator
from torch import Tensor

from longctx.positions.scaling.base import Factor, Scaling, Trained, by_turns, check_ramp, register, unscaled


@register(source="https://arxiv.org/abs/2309.00071")
class NTKByParts(Scaling):
    r"""Interpolate a pair by how often it turns within the trained context.

    A pair that turns :math:`r = L\,\theta / 2\pi` times keeps its angle if :math:`r \ge \beta_{\text{fast}}`,
    is interpolated if :math:`r \le \beta_{\text{slow}}`, and mixes both linearly between.
    """

    name: Literal["ntk_by_parts"] = "ntk_by_parts"
    factor: Factor
    original_max_position_embeddings: Trained
    #: Turns from which on a pair keeps its angle.
    beta_fast: PositiveFloat = 32.0
    #: Turns up to which a pair is interpolated.
    beta_slow: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _ramp_rises(self) -> "NTKByParts":
        check_ramp(self, slow="beta_slow", fast="beta_fast")
        return self

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        own, trained = unscaled(base, dim), self.original_max_position_embeddings
        return by_turns(own, self.factor, trained, slow=self.beta_slow, fast=self.beta_fast)
