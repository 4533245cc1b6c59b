"""NSA: natively sparse attention, in three branches (Yuan et al., 2025, section 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from longctx.attention.executors import EXECUTORS, Task, choose_executor
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.patterns.sliding_window import SlidingWindow
from longctx.attention.selection.blocks import BlockSelection
from longctx.positions.base import PositionEncoding


class NSAConfig(MixerConfig):
    name: Literal["nsa"] = "nsa"
    #: Tokens to a block, which is compressed to one key and one value, or selected as it is.
    block_size: PositiveInt = Field(32, examples=[8])
    #: Blocks that a query selects, its own and the first of all included.
    blocks: PositiveInt = Field(3, examples=[1, 3])
    #: Tokens of the sliding window.
    window: PositiveInt = Field(32, examples=[10])


@register_mixer(NSAConfig, source="https://arxiv.org/abs/2502.11089")
class NSA(BlockSelection):
    r"""Add up, by learned gates, attention to compressed blocks, to the best whole blocks, and to a window.

    .. math:: y_i = g^\mathrm{cmp}_i\, y^\mathrm{cmp}_i + g^\mathrm{slc}_i\, y^\mathrm{slc}_i
              + g^\mathrm{win}_i\, y^\mathrm{win}_i, \qquad g_i = \sigma(W x_i)

    Blocks to the left are compressed to a key and a value each. How much attention a query pays them, summed
    over the heads that share keys, says which of them it selects whole. As in the paper where both kinds of
    blocks are the same (its equation 9); unlike there, the three branches share keys and values.
    """

    cost = "(blocks - 1 / 2) * block_size + window + L / (2 * block_size)"
    asked = 3

    def __init__(self, config: NSAConfig, *, d_model: int, n_heads: int, head_dim: int) -> None:
        super().__init__()
        self.block_size, self.blocks = config.block_size, config.blocks
        self.window = SlidingWindow(window=config.window)
        self.head_dim, self._n_heads = head_dim, n_heads
        self.of_keys, self.of_values = (Compression(config.block_size, head_dim) for _ in range(2))
        self.gates = nn.Linear(d_model, 3 * n_heads)

    @classmethod
    def check_position(cls, encoding: type[PositionEncoding]) -> None:
        super().check_position(encoding)
        if encoding.bias is not PositionEncoding.bias:
            raise ValueError(f"NSA cannot serve {encoding.__name__}: a compressed block has no distance")

    def ask(self, x: Float[Tensor, "batch length d_model"]) -> Float[Tensor, "batch heads length asked"]:
        return self.gates(x).unflatten(-1, (self._n_heads, 3)).transpose(1, 2)

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        n_blocks: int,
    ) -> Float[Tensor, "batch heads queries n_blocks"]:
        keys, left = self._compressed(k, q_pos, self.of_keys)
        shared = q.shape[1] // k.shape[1]
        logits = q[..., : self.head_dim] @ keys.repeat_interleave(shared, 1).mT / self.head_dim**0.5
        paid = logits.masked_fill(~left, torch.finfo(q.dtype).min).softmax(-1)
        by_group = paid.unflatten(1, (k.shape[1], shared)).sum(2).repeat_interleave(shared, 1)
        by_group[..., :1] = float("inf")
        return pad(by_group, (0, n_blocks - by_group.shape[-1]))

    def _compressed(
        self, x: Tensor, q_pos: Tensor, by: Compression
    ) -> tuple[Float[Tensor, "batch kv_heads blocks head_dim"], Bool[Tensor, "queries blocks"]]:
        """Whole blocks of keys or values, compressed, and which lie wholly to the left of each query."""
        blocks = x[:, :, : x.shape[2] // self.block_size * self.block_size].unflatten(
            2, (-1, self.block_size)
        )
        ends = torch.arange(1, blocks.shape[2] + 1, device=x.device) * self.block_size
        return by(blocks), ends - 1 <= q_pos[:, None]

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """The three branches; the executor is that of the selection.

        Raises:
            ValueError: an encoding that adds a bias or channels, or keys at other positions than 0, 1, …
        """
        self._check(k, task)
        query, gates = q.split([self.head_dim, 3], -1)
        windowed = replace(task, pattern=self.window)
        run = EXECUTORS["dense" if executor == "dense" else choose_executor(query, windowed)]
        branches = (
            self._attend_compressed(query, k, v, task),
            super().attend(q, k, v, task, executor=executor),
            run(query, k, v, windowed),
        )
        y = torch.zeros_like(branches[0])
        for gate, branch in zip(gates.sigmoid().split(1, -1), branches, strict=True):
            y = y + gate * branch
        return y

    def _attend_compressed(self, q: Tensor, k: Tensor, v: Tensor, task: Task) -> Tensor:
        """Attention to compressed blocks; 0 where there is none yet."""
        keys, left = self._compressed(k, task.q_pos, self.of_keys)
        values, _ = self._compressed(v, task.q_pos, self.of_values)
        if not keys.shape[2]:
            return torch.zeros_like(q)
        some = left.any(-1, keepdim=True)
        grouped = q.shape[1] != k.shape[1]
        y = scaled_dot_product_attention(
            q, keys, values, attn_mask=left | ~some, scale=task.scale, enable_gqa=grouped
        )
        return y * some

    def _check(self, k: Tensor, task: Task) -> None:
        if k.shape[3] != self.head_dim:
            raise ValueError(
                f"NSA compresses keys of head_dim={self.head_dim} channels; "
                f"{type(task.position).__name__} makes them {k.shape[3]}"
            )
        if not torch.equal(task.k_pos, torch.arange(k.shape[2], device=k.device)):
            raise ValueError("nsa needs keys at positions 0, 1, …, to cut them into blocks")


class Compression(nn.Module):
    """Blocks of tokens to one each: their mean, and what a perceptron makes of them in their places."""

    def __init__(self, block_size: int, head_dim: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(block_size, head_dim))
        self.up, self.down = nn.Linear(block_size * head_dim, head_dim), nn.Linear(head_dim, head_dim)

    def forward(
        self, x: Float[Tensor, "batch kv_heads blocks size head_dim"]
    ) -> Float[Tensor, "batch kv_heads blocks head_dim"]:
        """Compress each block."""
        return x.mean(-2) + self.down(gelu(self.up((x + self.places).flatten(-2))))
