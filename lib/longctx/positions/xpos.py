"""xPos: rotation with decay (Sun et al., 2023, section 3)."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor

from longctx.positions.base import register
from longctx.positions.rope import AnyScaling, RoPE, RotaryConfig


class XPosConfig(RotaryConfig):
    name: Literal["xpos"] = "xpos"
    scaling: AnyScaling | None = Field(None, examples=[None])
    #: Tokens after which pair t has decayed to its share ζ_t.
    scale_base: PositiveFloat = 512.0
    #: The slowest decay is 1, the fastest γ / (1 + γ).
    gamma: PositiveFloat = 0.4


@register(XPosConfig, source="https://arxiv.org/abs/2212.10554")
class XPos(RoPE):
    r"""Turn as RoPE does, and let each pair of channels fade with distance.

    .. math:: q_i \leftarrow \zeta_t^{(i - c)/s} R_i q_i, \quad k_j \leftarrow \zeta_t^{(c - j)/s} R_j k_j,
              \qquad \zeta_t = \frac{2t/d + \gamma}{1 + \gamma}

    so that the product of the two holds :math:`\zeta_t^{(i - j)/s}`, whatever the centre c. Pairs that turn
    fast, of which distant positions only see noise, fade first. To the right of the query the power would
    grow: xPos is for causal attention.
    """

    causal_only = True
    config: XPosConfig

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        q, k = super().rotate(q, k, q_pos, k_pos)
        low = torch.minimum(q_pos.min(), k_pos.min()).double()
        high = torch.maximum(q_pos.max(), k_pos.max()).double()
        pairs = torch.arange(self.turning // 2, device=q.device, dtype=torch.float64)
        zeta = (2 * pairs / self.turning + self.config.gamma) / (1 + self.config.gamma)
        # Half of the range in each direction: the powers of queries and keys must both be finite numbers.
        power = zeta[0].log() * (low - high) / 2 / self.config.scale_base
        if not torch.compiler.is_compiling() and power > math.log(torch.finfo(q.dtype).max):
            raise ValueError(
                f"xpos with scale_base={self.config.scale_base:g} cannot hold positions {int(low)} … "
                f"{int(high)} in {q.dtype}: its powers overflow"
            )
        centre = (low + high) / 2
        return q * self._faded(zeta, q_pos - centre, q.dtype), k * self._faded(zeta, centre - k_pos, k.dtype)

    def _faded(self, zeta: Tensor, offset: Tensor, dtype: torch.dtype) -> Tensor:
        powers = zeta ** (offset[:, None] / self.config.scale_base)
        half = self.config.layout == "half"
        wide = torch.cat([powers, powers], -1) if half else powers.repeat_interleave(2, -1)
        still = torch.ones(len(offset), self.head_dim - self.turning, device=wide.device)
        return torch.cat([wide, still], -1).to(dtype)
