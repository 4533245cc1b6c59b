"""YaRN (Peng et al., 2024, section 3.4)."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from longctx.positions.scaling.base import Scaling, Trained, check_ramp, register, unscaled


@register(source="https://arxiv.org/abs/2309.00071")
class YaRN(Scaling):
    r"""Interpolate slow pairs, keep fast ones, and sharpen attention.

    As `ntk_by_parts`, but the mixture rises linearly with the *number* of the pair, between the pairs that
    turn β_fast and β_slow times within the trained context: that is what the published code, and with it
    every checkpoint, does. A longer context has more keys, over which attention would spread; logits are
    therefore multiplied by the square of

    .. math:: \sqrt{1/t} = 0.1 \ln s + 1
    """

    name: Literal["yarn"] = "yarn"
    #: How many times the trained context is to be read; None with ``dynamic``.
    factor: float | None = Field(None, ge=1.0)
    #: Take for s what is read over what was trained, as it grows (section 3.3), and never less than 1.
    dynamic: bool = False
    original_max_position_embeddings: Trained
    #: Turns from which on a pair keeps its angle.
    beta_fast: PositiveFloat = 32.0
    #: Turns up to which a pair is interpolated.
    beta_slow: PositiveFloat = 1.0
    #: Factor on rotated queries and keys; by default that of the formula above.
    attention_factor: PositiveFloat | None = None
    #: Weights of ln s in the numerator and the denominator of the attention factor (DeepSeek-V2).
    mscale: PositiveFloat | None = None
    mscale_all_dim: PositiveFloat | None = None
    #: Round the ends of the ramp outwards to whole pairs.
    truncate: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "YaRN":
        if self.dynamic != (self.factor is None):
            raise ValueError("give either a factor or dynamic=True")
        check_ramp(self, slow="beta_slow", fast="beta_fast")
        if (self.mscale is None) != (self.mscale_all_dim is None):
            raise ValueError("mscale and mscale_all_dim are a fraction's two parts: give both or neither")
        return self

    @property
    def follows_length(self) -> bool:
        return self.dynamic

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        own = unscaled(base, dim)
        low, high = (self._pair(turns, base, dim) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        ramp = (torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low if high != low else 1e-3)
        interpolated = ramp.clamp(0, 1)
        return own / self._factor(length) * interpolated + own * (1 - interpolated)

    def magnitude(self, length: int = 0) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        log = math.log(self._factor(length))
        over, under = (1.0, 0.0) if self.mscale is None else (self.mscale, self.mscale_all_dim or 0.0)
        return (0.1 * over * log + 1) / (0.1 * under * log + 1)

    def _factor(self, length: int) -> float:
        return (
            max(1.0, length / self.original_max_position_embeddings) if self.factor is None else self.factor
        )

    def _pair(self, turns: float, base: float, dim: int) -> float:
        """The pair, as a fraction, that turns so often within the trained context."""
        return (
            dim
            * math.log(self.original_max_position_embeddings / (turns * 2 * math.pi))
            / (2 * math.log(base))
        )
