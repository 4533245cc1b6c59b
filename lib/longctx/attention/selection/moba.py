"""MoBA: mixture of block attention (Lu et al., 2025, section 2.2)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.executors.rounds import Round
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.base import Selection
from longctx.attention.selection.routes import routes


class MoBAConfig(MixerConfig):
    name: Literal["moba"] = "moba"
    #: Tokens to a block.
    block_size: PositiveInt = Field(64, examples=[8])
    #: Blocks that a query sees, its own included.
    blocks: PositiveInt = Field(3, examples=[1, 3])


@register_mixer(MoBAConfig, source="https://arxiv.org/abs/2502.13189")
class MoBA(Selection):
    r"""Attend to one's own block and to those earlier ones whose mean key fits the query best.

    .. math:: s_{ic} = \Big\langle q_i, \tfrac{1}{B} \sum_{j \in c} k_j \Big\rangle

    Blocks are chosen for every query and head by these scores, which pass no gradient: like experts, of which
    a router picks a few.
    """

    def __init__(self, config: MoBAConfig) -> None:
        super().__init__()
        self.config = config

    def _choices(
        self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor
    ) -> Bool[Tensor, "batch heads queries blocks"]:
        """The earlier blocks that each query chooses."""
        size, further = self.config.block_size, self.config.blocks - 1
        block_of_key, own = k_pos // size, q_pos // size
        n_blocks = int(torch.maximum(block_of_key.max(), own.max())) + 1
        sums = k.new_zeros(*k.shape[:2], n_blocks, k.shape[3]).index_add_(2, block_of_key, k)
        counts = torch.bincount(block_of_key, minlength=n_blocks).clamp(min=1)
        means = (sums / counts[:, None]).repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = q @ means.mT
        earlier = torch.arange(n_blocks, device=q.device) < own[:, None]
        scores = scores.masked_fill(~earlier, float("-inf"))
        best = scores.topk(min(further, n_blocks), dim=-1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True) & earlier

    @torch.no_grad()
    def chosen(
        self,
        q: Float[Tensor, "batch heads queries channels"],
        k: Float[Tensor, "batch kv_heads keys channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        choices, block = self._choices(q, k, q_pos, k_pos), k_pos // self.config.block_size
        own = (q_pos // self.config.block_size)[:, None] == block
        return choices[..., block] | (own & (k_pos <= q_pos[:, None]))

    @torch.no_grad()
    def rounds(
        self,
        q: Float[Tensor, "batch heads length channels"],
        k: Float[Tensor, "batch kv_heads length channels"],
    ) -> list[Round]:
        length, size, n = q.shape[2], self.config.block_size, q.shape[0] * q.shape[1]
        places = torch.arange(length, device=q.device)
        blocks = pad(places, (0, -length % size), value=-1).view(-1, size)
        mine = blocks.expand(n, *blocks.shape)
        causal = (blocks[:, None, :] <= blocks[:, :, None]) & (blocks[:, None, :] >= 0)
        own = Round(mine, mine, causal.expand(n, *causal.shape))
        choices = self._choices(q, k, places, places).flatten(0, 1)
        return [
            own,
            *(Round(some[:, None], blocks[c].expand(n, 1, -1)) for c, some in routes(choices)),
        ]
