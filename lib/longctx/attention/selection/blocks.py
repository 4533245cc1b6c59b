"""Selections of blocks of tokens by a score for each."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.executors.rounds import Round
from longctx.attention.selection.base import Selection
from longctx.attention.selection.routes import routes


class BlockSelection(Selection):
    """Attend to one's own block, and to the earlier ones that score best."""

    #: Tokens to a block.
    block_size: int
    #: Blocks that a query sees, its own included.
    blocks: int

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        n_blocks: int,
    ) -> Float[Tensor, "batch heads queries n_blocks"]:
        """How well each block suits each query; what is said of blocks not wholly to its left is ignored."""
        raise NotImplementedError

    def _choices(
        self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor
    ) -> Bool[Tensor, "batch heads queries n_blocks"]:
        """The earlier blocks that each query chooses."""
        own = q_pos // self.block_size
        n_blocks = int(torch.maximum(k_pos.max() // self.block_size, own.max())) + 1
        earlier = torch.arange(n_blocks, device=q.device) < own[:, None]
        scores = self.scores(q, k, q_pos, k_pos, n_blocks).masked_fill(~earlier, float("-inf"))
        best = scores.topk(min(self.blocks - 1, n_blocks), dim=-1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True) & earlier

    @torch.no_grad()
    def chosen(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        choices, block = self._choices(q, k, q_pos, k_pos), k_pos // self.block_size
        own = (q_pos // self.block_size)[:, None] == block
        return choices[..., block] | (own & (k_pos <= q_pos[:, None]))

    @torch.no_grad()
    def rounds(
        self,
        q: Float[Tensor, "batch heads length q_channels"],
        k: Float[Tensor, "batch kv_heads length k_channels"],
    ) -> list[Round]:
        length, n = q.shape[2], q.shape[0] * q.shape[1]
        places = torch.arange(length, device=q.device)
        blocks = pad(places, (0, -length % self.block_size), value=-1).view(-1, self.block_size)
        mine = blocks.expand(n, *blocks.shape)
        causal = (blocks[:, None, :] <= blocks[:, :, None]) & (blocks[:, None, :] >= 0)
        own = Round(mine, mine, causal.expand(n, *causal.shape))
        choices = self._choices(q, k, places, places).flatten(0, 1)
        return [
            own,
            *(Round(some[:, None], blocks[c].expand(n, 1, -1)) for c, some in routes(choices)),
        ]
