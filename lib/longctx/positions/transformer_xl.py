"""Transformer-XL's relative encoding (Dai et al., 2019, section 3.3)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import distances, look_up
from longctx.positions.sinusoidal import sinusoids


class TransformerXLConfig(PositionConfig):
    name: Literal["transformer_xl"] = "transformer_xl"


@register(TransformerXLConfig, source="https://arxiv.org/abs/1901.02860")
class TransformerXL(PositionEncoding):
    r"""Ask for content and for distance separately.

    .. math:: \frac{(q_i + u)^\top k_j + (q_i + v)^\top W r_{i-j}}{\sqrt d}

    r is the sinusoid of the distance; u, v and W are learned for each head, here in each layer. The second
    product is taken once for each of the 2L − 1 distances and then looked up, which the paper calls the
    relative shift.
    """

    kind = "bias"
    per_layer = True

    def __init__(self, config: TransformerXLConfig, *, d_model: int, n_heads: int, head_dim: int) -> None:
        super().__init__()
        self.config, self.d_model = config, d_model
        self.weight = nn.Parameter(torch.empty(n_heads, head_dim, d_model))
        self.content, self.place = (nn.Parameter(torch.zeros(n_heads, 1, head_dim)) for _ in range(2))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw W with standard deviation 0.02; u and v start at zero."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.02, generator=generator)

    def score(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        table, index = distances(q_pos, k_pos)
        relative = self.weight @ sinusoids(table, self.d_model).to(self.weight.dtype).mT
        place = look_up((q + self.place.to(q.dtype)) @ relative.to(q.dtype), index)
        return ((q + self.content.to(q.dtype)) @ k.mT + place) / q.shape[-1] ** 0.5
