"""Linear attention (Katharopoulos et al., 2020, section 3.2)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention.linear.base import LinearMixer
from longctx.attention.linear.kernels import sums_in_chunks, sums_of_pairs
from longctx.attention.mixer import MixerConfig, register_mixer


class LinearConfig(MixerConfig):
    name: Literal["linear"] = "linear"


@register_mixer(LinearConfig, source="https://arxiv.org/abs/2006.16236")
class Linear(LinearMixer):
    r"""Weigh values by inner products of positive features, elu + 1, in place of the softmax.

    .. math:: y_i = \frac{\sum_{j \le i} \phi(q_i)^\top \phi(k_j)\, v_j}
                         {\sum_{j \le i} \phi(q_i)^\top \phi(k_j)}, \qquad
              \phi(x) = \operatorname{elu}(x) + 1 = e^{\min(x, 0)} + \max(x, 0)

    An encoding that rotates does so to q and k *before* the features, which stay positive and so do the
    weights; but :math:`\phi(R_i q)^\top \phi(R_j k)` is then no function of i − j. RoFormer (Su et al., 2021,
    section 3.3) rotates the features of the numerator instead, whose weights may become negative.
    """

    def __init__(self, config: LinearConfig, *, head_dim: int) -> None:
        super().__init__(head_dim)
        self.config = config

    def define(
        self,
        q: Float[Tensor, "batch kv_heads group queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch kv_heads group queries head_dim"]:
        return sums_of_pairs(_features(q), _features(k), v, q_pos, k_pos)

    def in_chunks(
        self,
        q: Float[Tensor, "batch kv_heads group length head_dim"],
        k: Float[Tensor, "batch kv_heads length head_dim"],
        v: Float[Tensor, "batch kv_heads length head_dim"],
    ) -> Float[Tensor, "batch kv_heads group length head_dim"]:
        return sums_in_chunks(_features(q), _features(k), v)


def _features(x: Tensor) -> Tensor:
    # Not elu(x) + 1, which rounds to 0 below −17.
    return x.clamp(max=0).exp() + x.relu()
