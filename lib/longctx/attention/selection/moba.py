"""MoBA: mixture of block attention (Lu et al., 2025, section 2.2)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.blocks import BlockSelection


class MoBAConfig(MixerConfig):
    name: Literal["moba"] = "moba"
    #: Tokens to a block.
    block_size: PositiveInt = Field(64, examples=[8])
    #: Blocks that a query sees, its own included.
    blocks: PositiveInt = Field(3, examples=[1, 3])


@register_mixer(MoBAConfig, source="https://arxiv.org/abs/2502.13189")
class MoBA(BlockSelection):
    r"""Attend to one's own block and to those earlier ones whose mean key fits the query best.

    .. math:: s_{ic} = \Big\langle q_i, \tfrac{1}{B} \sum_{j \in c} k_j \Big\rangle

    Blocks are chosen for every query and head by these scores, which pass no gradient: like experts, of which
    a router picks a few.
    """

    cost = "(blocks - 1 / 2) * block_size, and L / (2 * block_size) scores"

    def __init__(self, config: MoBAConfig) -> None:
        super().__init__()
        self.block_size, self.blocks = config.block_size, config.blocks

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        n_blocks: int,
    ) -> Float[Tensor, "batch heads queries n_blocks"]:
        block = k_pos // self.block_size
        sums = k.new_zeros(*k.shape[:2], n_blocks, k.shape[3]).index_add_(2, block, k)
        means = sums / torch.bincount(block, minlength=n_blocks).clamp(min=1)[:, None]
        return q @ means.repeat_interleave(q.shape[1] // k.shape[1], 1).mT
