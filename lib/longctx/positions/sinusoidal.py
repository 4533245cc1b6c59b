"""Sinusoidal absolute positions (Vaswani et al., 2017, section 3.5)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat
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
        # Only its dtype and device matter: what a model's .to(...) moves, embed follows.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"]:
        # In float64: a float32 angle at position 10^6 is wrong in the second decimal.
        exponent = (
            torch.arange(0, self.d_model, 2, device=positions.device, dtype=torch.float64) / self.d_model
        )
        angle = positions[..., None].double() * self.config.base**-exponent
        pairs = torch.stack([angle.sin(), angle.cos()], dim=-1)
        return (self.config.scale * pairs.flatten(-2)).to(self.get_buffer("like").dtype)
