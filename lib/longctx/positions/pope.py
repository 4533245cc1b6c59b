"""PoPE: polar coordinate position embedding (Gopalakrishnan et al., 2025)."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from longctx.positions.base import register
from longctx.positions.rope import AnyScaling, RoPE, RotaryConfig


class PoPEConfig(RotaryConfig):
    name: Literal["pope"] = "pope"
    scaling: AnyScaling | None = Field(None, examples=[None])
    partial_rotary_factor: Literal[1.0] = 1.0
    layout: Literal["half"] = "half"


@register(PoPEConfig, source="https://arxiv.org/abs/2509.10534")
class PoPE(RoPE):
    r"""Let each channel's size say *what* matches, and its angle *where*.

    .. math:: q_i^\top k_j \leftarrow \sum_{t < d} \mu(q_{it})\, \mu(k_{jt})
              \cos\big((i - j)\, \theta_t - \delta_t\big), \qquad
              \mu(x) = \ln(1 + e^x), \quad \theta_t = \beta^{-t/d}

    In RoPE the angle between a query and a key depends on what they hold as well as on their distance; here
    it depends on distance and a learned :math:`\delta_t \in [-2\pi, 0]` for each head. Every channel is a
    pair of its own, so that queries and keys become twice as wide.
    """

    def __init__(self, config: PoPEConfig, *, n_kv_heads: int, head_dim: int) -> None:
        super().__init__(config, head_dim=2 * head_dim)
        self.shift = nn.Parameter(torch.zeros(n_kv_heads, 1, head_dim))

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries wide"], Float[Tensor, "batch kv_heads keys wide"]]:
        shift = self.shift.clamp(-2 * math.pi, 0.0)
        size = softplus(k)
        # A key's angle is δ before its position turns it further.
        k = torch.cat([size * shift.cos().to(k.dtype), size * shift.sin().to(k.dtype)], -1)
        return super().rotate(torch.cat([softplus(q), torch.zeros_like(q)], -1), k, q_pos, k_pos)
