"""p-RoPE: rotary embedding without its slowest pairs (Barbero et al., 2025, section 6)."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from longctx.positions.base import register
from longctx.positions.rope import AnyScaling, RoPE, RotaryConfig


class PRoPEConfig(RotaryConfig):
    name: Literal["p_rope"] = "p_rope"
    scaling: AnyScaling | None = Field(None, examples=[None])
    #: Share of the pairs that turn: the fastest ones.
    fraction: float = Field(0.75, gt=0.0, le=1.0)


@register(PRoPEConfig, source="https://arxiv.org/abs/2410.06205")
class PRoPE(RoPE):
    """Turn only the fastest pairs of channels, so that the others carry meaning whatever the distance.

    Unlike a `partial_rotary_factor`, which spreads all wavelengths over fewer channels, it leaves out the
    longest ones. A fraction of 1 is RoPE.
    """

    config: PRoPEConfig

    def frequencies(self, length: int = 0) -> Float[Tensor, " pairs"]:
        """Those of RoPE, and 0 for the pairs that do not turn."""
        frequencies = super().frequencies(length)
        frequencies[int(self.config.fraction * self.turning / 2) :] = 0.0
        return frequencies
