"""Sinusoidal absolute positions (Vaswani et al., 2017, section 3.5)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor

from longctx.positions.base import PositionConfig, PositionEncoding, register


class SinusoidalConfig(PositionConfig):
    name: Literal["sinusoidal"] = "sinusoidal"
    #: Wavelengths run from 2π to 2π · base.
    base: PositiveFloat = 10_000.0
    #: Factor on the vectors. The paper adds them, of root mean square 1/√2, to embeddings of standard
    #: deviation about 1 (it multiplies by √d_model). Against embeddings of 0.02, a scale near 0.02 keeps
    #: that proportion; at 1 the positions drown the tokens.
    scale: PositiveFloat = 1.0
    #: Learn the scale, from this start.
    learned_scale: bool = Field(False, examples=[False, True])


@register(SinusoidalConfig, source="https://arxiv.org/abs/1706.03762")
class Sinusoidal(PositionEncoding):
    r"""Add sines and cosines of geometrically spaced wavelengths.

    .. math:: P_{i,2t} = s \sin(i\, b^{-2t/d}), \qquad P_{i,2t+1} = s \cos(i\, b^{-2t/d})
    """

    kind = "additive"

    def __init__(self, config: SinusoidalConfig, *, d_model: int) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, got {d_model}")
        self.config, self.d_model = config, d_model
        scale = torch.tensor(config.scale)
        if config.learned_scale:
            self.learned_scale = torch.nn.Parameter(scale)
        else:
            self.register_buffer("fixed_scale", scale, persistent=False)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor on the vectors; its dtype and device, which a model's ``.to(…)`` moves, are theirs."""
        return self.learned_scale if self.config.learned_scale else self.get_buffer("fixed_scale")

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"]:
        vectors, scale = sinusoids(positions, self.d_model, self.config.base), self.scale
        if not self.config.learned_scale:
            return (self.config.scale * vectors).to(scale.dtype)
        return scale * vectors.to(scale.dtype)


def sinusoids(
    positions: Int[Tensor, "*shape"], channels: int, base: float = 10_000.0
) -> Float[Tensor, "*shape channels"]:
    """Sines and cosines of each position in turn, in float64."""
    # A float32 angle at position 10^6 is wrong in the second decimal.
    exponent = torch.arange(0, channels, 2, device=positions.device, dtype=torch.float64) / channels
    angle = positions[..., None].double() * base**-exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
