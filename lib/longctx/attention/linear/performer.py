"""Performer: FAVOR+, random features of the softmax (Choromanski et al., 2021, sections 2.3 and 2.4)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from longctx.attention.linear.base import LinearMixer
from longctx.attention.linear.kernels import sums_in_chunks, sums_of_pairs
from longctx.attention.mixer import MixerConfig, register_mixer


class PerformerConfig(MixerConfig):
    name: Literal["performer"] = "performer"
    #: Random features, of which the approximation's error falls like one over the root.
    features: PositiveInt = Field(64, examples=[24])
    #: Draws the features, which all heads and layers share.
    seed: NonNegativeInt = 0


@register_mixer(PerformerConfig, source="https://arxiv.org/abs/2009.14794")
class Performer(LinearMixer):
    r"""Approximate the softmax by positive random features, orthogonal to each other.

    .. math:: e^{q^\top k / \sqrt d} = \mathbb E_w\, \phi_w(q)\, \phi_w(k), \qquad
              \phi_w(x) = \exp\!\big(w^\top x' - \tfrac12 \lVert x' \rVert^2\big), \quad x' = x / d^{1/4},
              \quad w \sim \mathcal N(0, I)

    Unbiased for any encoding that rotates, since these act on q and k. The variance grows exponentially with
    the norm of q' + k'. The features are drawn once, and kept with the weights; the paper redraws them during
    training, and adds 10⁻⁴ to each, which neither is needed here nor would be causal: each query's features
    are divided by their largest, each key's too, and the key's factor is put back in the sums.
    """

    projection: Tensor

    def __init__(self, config: PerformerConfig, *, head_dim: int) -> None:
        super().__init__(head_dim)
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        self.register_buffer("projection", orthogonal_normals(config.features, head_dim, generator))

    def define(
        self,
        q: Float[Tensor, "batch kv_heads group queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch kv_heads group queries head_dim"]:
        (q, _), (k, log_factor) = self._features(q), self._features(k)
        return sums_of_pairs(q, k, v, q_pos, k_pos, log_factor)

    def in_chunks(
        self,
        q: Float[Tensor, "batch kv_heads group length head_dim"],
        k: Float[Tensor, "batch kv_heads length head_dim"],
        v: Float[Tensor, "batch kv_heads length head_dim"],
    ) -> Float[Tensor, "batch kv_heads group length head_dim"]:
        (q, _), (k, log_factor) = self._features(q), self._features(k)
        return sums_in_chunks(q, k, v, log_factor)

    def _features(
        self, x: Float[Tensor, "*heads length head_dim"]
    ) -> tuple[Float[Tensor, "*heads length features"], Float[Tensor, "*heads length"]]:
        """Features with largest 1, and the logarithm of what they were divided by, without a gradient."""
        x = x * self.head_dim**-0.25
        logs = x @ self.projection.to(x.dtype).T - x.square().sum(-1, keepdim=True) / 2
        largest = logs.detach().amax(-1, keepdim=True)
        return (logs - largest).exp(), largest[..., 0]


def orthogonal_normals(rows: int, dim: int, generator: torch.Generator) -> Float[Tensor, "rows dim"]:
    """Vectors of a standard normal distribution, each ``dim`` of them at right angles (section 2.4)."""
    square = (-(-rows // dim), dim, dim)
    q, r = torch.linalg.qr(torch.randn(square, generator=generator, dtype=torch.float64))
    # Without the signs directions would not be even.
    directions = (q * r.diagonal(dim1=1, dim2=2).sign()[:, None]).mT.flatten(0, 1)[:rows]
    lengths = torch.randn(rows, dim, generator=generator, dtype=torch.float64).norm(dim=1, keepdim=True)
    return (directions * lengths).float()
