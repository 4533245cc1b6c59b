"""KERPLE: kernelised relative positions (Chi et al., 2022, section 4)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import by_distance

#: Parameters stay above this, as in the published code.
SMALLEST = 0.01


class KERPLEConfig(PositionConfig):
    name: Literal["kerple"] = "kerple"
    #: How logits fall with distance: like its logarithm or like a power of it.
    kernel: Literal["log", "power"] = Field("log", examples=["log", "power"])


@register(KERPLEConfig, source="https://arxiv.org/abs/2205.09921")
class KERPLE(PositionEncoding):
    r"""Penalise each logit by a learned kernel of the distance.

    .. math:: b^{\log}_h(i, j) = -p_h \ln(1 + a_h |i - j|), \qquad
              b^{\text{power}}_h(i, j) = -a_h |i - j|^{p_h}, \quad 0 < p_h \le 2

    Both kernels are conditionally positive definite. The power kernel with p = 1 is ALiBi with learned
    slopes.
    """

    kind = "bias"
    shift_invariant = True

    def __init__(self, config: KERPLEConfig, *, n_heads: int) -> None:
        super().__init__()
        self.config = config
        self.p, self.a = (nn.Parameter(torch.empty(n_heads)) for _ in range(2))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw p evenly from 0 … 2 and a from 0 … 1, as the published code does."""
        with torch.no_grad():
            self.p.uniform_(SMALLEST, 2.0, generator=generator)
            self.a.uniform_(SMALLEST, 1.0, generator=generator)

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        return by_distance(self._of, q_pos, k_pos)

    def _of(self, apart: Int[Tensor, " n"]) -> Float[Tensor, "n heads"]:
        distance, a = apart.abs()[:, None], self.a.clamp(min=SMALLEST)
        if self.config.kernel == "log":
            return -self.p.clamp(min=SMALLEST) * torch.log1p(a * distance)
        return -a * distance ** self.p.clamp(SMALLEST, 2.0)
