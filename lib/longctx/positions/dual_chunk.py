"""Dual chunk attention: positions counted within chunks (An et al., 2024, section 3)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from longctx.positions.base import register
from longctx.positions.rope import AnyScaling, RoPE, RotaryConfig


class DualChunkConfig(RotaryConfig):
    name: Literal["dual_chunk"] = "dual_chunk"
    scaling: AnyScaling | None = Field(None, examples=[None])
    #: Tokens of a chunk.
    chunk_size: PositiveInt = Field(384, examples=[8])
    #: The length that the model was trained at: no distance reaches it.
    original_max_position_embeddings: PositiveInt = Field(512, examples=[11])

    @model_validator(mode="after")
    def _chunk_fits(self) -> "DualChunkConfig":
        if self.chunk_size >= self.original_max_position_embeddings:
            raise ValueError(
                "chunk_size must be smaller than original_max_position_embeddings="
                f"{self.original_max_position_embeddings}, got {self.chunk_size}"
            )
        return self


@register(DualChunkConfig, source="https://arxiv.org/abs/2402.17463")
class DualChunk(RoPE):
    r"""Number positions anew in each chunk of s tokens, so that no distance exceeds those trained.

    Keys stand at :math:`j \bmod s`. A query stands at :math:`i \bmod s` for the keys of its own chunk, at
    :math:`\min(i \bmod s + s,\; c - 1)` for those of the chunk before, where nearest neighbours keep their
    true distance, and at :math:`c - 1` for all others, c being the trained length.
    """

    causal_only = True
    shift_invariant = False
    config: DualChunkConfig

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries wide"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        size, last = self.config.chunk_size, self.config.original_max_position_embeddings - 1
        own = q_pos % size
        before, others = (own + size).clamp(max=last), torch.full_like(q_pos, last)
        turned_q, turned_k = super().rotate(q, k, own, k_pos % size)
        far = [RoPE.rotate(self, q, q, where, where)[0] for where in (before, others)]
        return torch.cat([turned_q, *far], -1), turned_k

    def score(
        self,
        q: Float[Tensor, "batch heads queries wide"],
        k: Float[Tensor, "batch heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        own, before, others = (one @ k.mT for one in q.chunk(3, -1))
        apart = (q_pos // self.config.chunk_size)[:, None] - k_pos // self.config.chunk_size
        chosen = torch.where(apart == 0, own, torch.where(apart == 1, before, others))
        return chosen / self.head_dim**0.5
