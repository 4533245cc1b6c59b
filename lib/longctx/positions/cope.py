"""CoPE: contextual position encoding (Golovneva et al., 2024, section 4)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register


class CoPEConfig(PositionConfig):
    name: Literal["cope"] = "cope"
    #: Positions that have a vector: 0 … max_positions − 1; what is counted further stays at the last.
    max_positions: PositiveInt = Field(64, examples=[5])


@register(CoPEConfig, source="https://arxiv.org/abs/2405.18719")
class CoPE(PositionEncoding):
    r"""Count, of the tokens between, those that matter to the query, and add the query's view of that count.

    .. math:: p_{ij} = \sum_{l=j}^{i} \sigma\!\big(q_i^\top k_l / \sqrt d\big), \qquad
              q_i^\top k_j / \sqrt d + q_i^\top e[p_{ij}]

    Between whole numbers the vectors e are interpolated. A position can so be "three sentences back". Keys
    that the pattern hides are not counted. It needs all logits of a row before any of them is known.
    """

    kind = "data-dependent"
    causal_only = True
    per_layer = True

    def __init__(self, config: CoPEConfig, *, head_dim: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(config.max_positions, head_dim))

    def score(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        logits = q @ k.mT / q.shape[-1] ** 0.5
        gates = logits.sigmoid().masked_fill(~allowed, 0.0)
        # From the last key back to each, in the order of positions.
        backwards = k_pos.argsort(descending=True)
        counted = gates[..., backwards].cumsum(-1)[..., backwards.argsort()]
        counted = counted.clamp(max=self.config.max_positions - 1)
        below = counted.floor()
        views = q @ self.weight.to(q.dtype).mT
        lower, upper = (views.gather(-1, at.long()) for at in (below, counted.ceil()))
        return logits + torch.lerp(lower, upper, counted - below)
