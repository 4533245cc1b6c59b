"""The scaling of Llama 3.1, from its published code; the paper (Grattafiori et al., 2024) has none."""

from typing import Literal

from jaxtyping import Float
from pydantic import PositiveFloat, model_validator
from torch import Tensor

from longctx.positions.scaling.base import Factor, Scaling, Trained, by_turns, check_ramp, register, unscaled


@register(source="https://github.com/meta-llama/llama-models")
class Llama3(Scaling):
    r"""Interpolate by wavelength, with bounds as fractions of the trained context.

    `ntk_by_parts` under other names: a pair that turns :math:`r` times within the trained context keeps its
    angle if :math:`r` exceeds ``high_freq_factor``, is interpolated below ``low_freq_factor``, and mixes both
    between.
    """

    name: Literal["llama3"] = "llama3"
    factor: Factor
    original_max_position_embeddings: Trained
    #: Turns up to which a pair is interpolated.
    low_freq_factor: PositiveFloat = 1.0
    #: Turns from which on a pair keeps its angle.
    high_freq_factor: PositiveFloat = 4.0

    @model_validator(mode="after")
    def _ramp_rises(self) -> "Llama3":
        check_ramp(self, slow="low_freq_factor", fast="high_freq_factor")
        return self

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        own, trained = unscaled(base, dim), self.original_max_position_embeddings
        return by_turns(own, self.factor, trained, slow=self.low_freq_factor, fast=self.high_freq_factor)
