"""Top-k attention (Gupta et al., 2021; Zhao et al., 2019, "Explicit Sparse Transformer")."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.executors.rounds import Round
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.base import Selection

#: Logits that are held at a time while the best keys are looked for.
BUDGET = 2**22


class TopKConfig(MixerConfig):
    name: Literal["top_k"] = "top_k"
    #: Keys that a query sees.
    k: PositiveInt = Field(32, examples=[1, 6])


@register_mixer(TopKConfig, source="https://arxiv.org/abs/2106.06899")
class TopK(Selection):
    """Attend to the k keys with the largest logits, and to oneself.

    What softmax would give the other keys is mostly little. To find the k, every pair is still scored, though
    without a gradient and a few queries at a time: the time stays quadratic, the memory does not.
    """

    def __init__(self, config: TopKConfig) -> None:
        super().__init__()
        self.config = config

    def _best(
        self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor
    ) -> tuple[Int[Tensor, "batch heads queries best"], Bool[Tensor, "batch heads queries best"]]:
        """Places of the best keys of each query, and whether there are so many: queries early in a text have
        fewer. A query is always among its own keys."""
        k, best = k.repeat_interleave(q.shape[1] // k.shape[1], 1), min(self.config.k, len(k_pos))
        found = []
        for some in torch.arange(len(q_pos), device=q.device).split(max(1, BUDGET // k[..., 0].numel())):
            scores = q[:, :, some] @ k.mT
            i = q_pos[some][:, None]
            scores = scores.masked_fill(k_pos > i, float("-inf")).masked_fill(k_pos == i, float("inf"))
            found.append(scores.topk(best, dim=-1))
        places = torch.cat([f.indices for f in found], dim=2)
        return places, torch.cat([f.values for f in found], dim=2) > float("-inf")

    @torch.no_grad()
    def chosen(
        self,
        q: Float[Tensor, "batch heads queries channels"],
        k: Float[Tensor, "batch kv_heads keys channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        places, exist = self._best(q, k, q_pos, k_pos)
        return torch.zeros(*q.shape[:3], len(k_pos), dtype=torch.bool, device=q.device).scatter_(
            -1, places, exist
        )

    @torch.no_grad()
    def rounds(
        self,
        q: Float[Tensor, "batch heads length channels"],
        k: Float[Tensor, "batch kv_heads length channels"],
    ) -> list[Round]:
        everywhere = torch.arange(q.shape[2], device=q.device)
        places, exist = (x.flatten(0, 1) for x in self._best(q, k, everywhere, everywhere))
        queries = everywhere[:, None].expand(len(places), -1, 1)
        return [Round(queries, places, exist[:, :, None])]
