"""ReRoPE: rotation whose distances stop growing (Su, 2023)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.positions.base import register
from longctx.positions.rope import AnyScaling, RoPE, RotaryConfig


class WindowedConfig(RotaryConfig):
    """RoPE as trained up to some distance, and other positions beyond it."""

    scaling: AnyScaling | None = Field(None, examples=[None])
    #: Distances below it are RoPE's own.
    window: PositiveInt = Field(512, examples=[5])


class Windowed(RoPE):
    """Two rotations of every query and key, of which each pair uses one, by its distance."""

    causal_only = True
    config: WindowedConfig

    def far(
        self, q_pos: Int[Tensor, " queries"], k_pos: Int[Tensor, " keys"]
    ) -> tuple[Real[Tensor, " queries"], Real[Tensor, " keys"]]:
        """The positions of queries and keys that are `window` or more apart."""
        raise NotImplementedError

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries wide"], Float[Tensor, "batch kv_heads keys wide"]]:
        near_q, near_k = super().rotate(q, k, q_pos, k_pos)
        far_q, far_k = super().rotate(q, k, *self.far(q_pos, k_pos))
        return torch.cat([near_q, far_q], -1), torch.cat([near_k, far_k], -1)

    def score(
        self,
        q: Float[Tensor, "batch heads queries wide"],
        k: Float[Tensor, "batch heads keys wide"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        near, far = (a @ b.mT for a, b in zip(q.chunk(2, -1), k.chunk(2, -1), strict=True))
        is_near = q_pos[:, None] - k_pos < self.config.window
        return torch.where(is_near, near, far) / self.head_dim**0.5


class ReRoPEConfig(WindowedConfig):
    name: Literal["rerope"] = "rerope"
    #: Beyond the window, distances grow by 1/factor a token; None: not at all.
    factor: float | None = Field(None, ge=1.0, examples=[None, 4.0])


@register(ReRoPEConfig, source="https://kexue.fm/archives/9708")
class ReRoPE(Windowed):
    r"""Turn by the distance up to a window w, and by w beyond: no distance is larger than those trained.

    .. math:: q_i^\top R_{-\min(i - j,\, w)}\, k_j

    With a factor s, *leaky* ReRoPE: w + (i − j − w)/s beyond the window. Meant for a model that was trained
    with RoPE, and needs no training.
    """

    config: ReRoPEConfig

    def far(
        self, q_pos: Int[Tensor, " queries"], k_pos: Int[Tensor, " keys"]
    ) -> tuple[Real[Tensor, " queries"], Real[Tensor, " keys"]]:
        window, factor = self.config.window, self.config.factor
        if factor is None:
            return torch.full_like(q_pos, window), torch.zeros_like(k_pos)
        return window + (q_pos.double() - window) / factor, k_pos.double() / factor
