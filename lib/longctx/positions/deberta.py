"""DeBERTa's disentangled attention (He et al., 2021, section 3.1)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import look_up


class DeBERTaConfig(PositionConfig):
    name: Literal["deberta"] = "deberta"
    #: Distances from −max_distance to max_distance − 1 have vectors of their own; further ones share.
    max_distance: PositiveInt = Field(64, examples=[4])


@register(DeBERTaConfig, source="https://arxiv.org/abs/2006.03654")
class DeBERTa(PositionEncoding):
    r"""Let content ask for distance, and distance for content.

    .. math:: \frac{q_i^\top k_j + q_i^\top K_{\delta(i - j)} + k_j^\top Q_{\delta(i - j)}}{\sqrt{3d}}

    K and Q are learned vectors of the clipped distance, for each head of each layer. (The paper projects one
    table for all layers; what the projections give is learned here directly. For Q it writes δ(j − i), the
    same table read backwards; this is the order of the authors' code.)
    """

    kind = "bias"
    per_layer = True

    def __init__(self, config: DeBERTaConfig, *, n_heads: int, head_dim: int) -> None:
        super().__init__()
        self.config = config
        shape = (n_heads, 2 * config.max_distance, head_dim)
        self.keys, self.queries = (nn.Parameter(torch.empty(shape)) for _ in range(2))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the vectors from a normal distribution of standard deviation 0.02."""
        with torch.no_grad():
            for table in (self.keys, self.queries):
                table.normal_(0.0, 0.02, generator=generator)

    def score(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        limit = self.config.max_distance
        row = (q_pos[:, None] - k_pos + limit).clamp(0, 2 * limit - 1)
        asked = look_up(q @ self.keys.to(q.dtype).mT, row)
        answered = look_up(k @ self.queries.to(k.dtype).mT, row.mT).mT
        return (q @ k.mT + asked + answered) / (3 * q.shape[-1]) ** 0.5
