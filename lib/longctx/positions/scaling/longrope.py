"""LongRoPE (Ding et al., 2024)."""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from longctx.positions.scaling.base import Scaling, Trained, register, unscaled

#: A factor for every pair of channels.
Factors = Annotated[tuple[PositiveFloat, ...], Field(min_length=1, examples=[(1.0, 1.5, 2.0, 4.0)])]


@register(source="https://arxiv.org/abs/2402.13753")
class LongRoPE(Scaling):
    r"""Divide each pair's frequency by a factor of its own, found by search.

    There are two sets of factors, for texts up to the trained length and for longer ones. Logits are
    multiplied by the square of :math:`\sqrt{1 + \ln s / \ln L}`, as in the code of Phi-3.
    """

    name: Literal["longrope"] = "longrope"
    original_max_position_embeddings: Trained
    #: Divisors beyond the trained length, fastest pair first.
    long_factor: Factors
    #: Divisors up to the trained length; 1 by default.
    short_factor: Factors | None = None
    #: s, how many times the trained context is to be read; sets the attention factor alone.
    factor: float = Field(1.0, ge=1.0)
    #: Factor on rotated queries and keys; by default that of the formula above.
    attention_factor: PositiveFloat | None = None

    @property
    def follows_length(self) -> bool:
        return True

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        for name, factors in (("long_factor", self.long_factor), ("short_factor", self.short_factor)):
            if factors is not None and len(factors) != dim // 2:
                raise ValueError(f"{name} needs a number for each of {dim // 2} pairs, got {len(factors)}")
        chosen = self.long_factor if length > self.original_max_position_embeddings else self.short_factor
        own = unscaled(base, dim)
        return own if chosen is None else own / torch.tensor(chosen, dtype=torch.float64)

    def magnitude(self, length: int = 0) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_max_position_embeddings))
