"""Top-k attention (Gupta et al., 2021; Zhao et al., 2019, "Explicit Sparse Transformer")."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.tokens import TokenSelection


class TopKConfig(MixerConfig):
    name: Literal["top_k"] = "top_k"
    #: Keys that a query sees.
    k: PositiveInt = Field(32, examples=[1, 6])


@register_mixer(TopKConfig, source="https://arxiv.org/abs/2106.06899")
class TopK(TokenSelection):
    """Attend to the k keys with the largest logits, and to oneself.

    What softmax would give the other keys is mostly little.
    """

    cost = "k, and L / 2 scores"

    def __init__(self, config: TopKConfig) -> None:
        super().__init__()
        self.k = config.k

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch scored queries keys"]:
        return q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT
