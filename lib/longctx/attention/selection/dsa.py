"""DSA: DeepSeek sparse attention, whose keys a light indexer picks (DeepSeek-AI, 2025)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax, pad

from longctx.attention.executors.base import Task
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.tokens import TokenSelection
from longctx.positions import build_position


class DSAConfig(MixerConfig):
    name: Literal["dsa"] = "dsa"
    #: Keys that a query sees.
    k: PositiveInt = Field(32, examples=[1, 6])
    #: Heads of the indexer, and the channels of each, an even number.
    index_heads: PositiveInt = 2
    index_dim: PositiveInt = Field(16, multiple_of=2)


@register_mixer(DSAConfig, source="https://arxiv.org/abs/2512.02556")
class DSA(TokenSelection):
    r"""Attend to the k tokens that a light indexer scores best, and to oneself; all heads to the same.

    .. math:: I_{ij} = \sum_h w_{ih} \operatorname{ReLU}\big((R_i q^I_{ih})^\top (R_j k^I_j)\big)

    The indexer reads the states of the tokens, and its few channels are turned by RoPE. In training it is
    drawn to what full attention would do: to the mean p of all heads' probabilities, by the gradient of
    KL(p ‖ softmax(I)), averaged over queries, which no other parameter feels. As in the warm-up of the paper,
    and unlike its second stage, p runs over all keys: training takes quadratic time.
    """

    cost = "k, and L / 2 scores of index_heads * index_dim channels"

    def __init__(self, config: DSAConfig, *, d_model: int, n_heads: int, n_kv_heads: int) -> None:
        super().__init__()
        self.k, self.heads, self.dim = config.k, config.index_heads, config.index_dim
        self.of_queries = nn.Linear(d_model, self.heads * (self.dim + 1), bias=False)
        self.of_keys = nn.Linear(d_model, self.dim, bias=False)
        self.position = build_position(
            "rope", d_model=self.heads * self.dim, n_heads=self.heads, n_kv_heads=1, head_dim=self.dim
        )
        self.asked = -(-self.of_queries.out_features // n_heads)
        self.kept = -(-self.dim // n_kv_heads)
        self._n_heads, self._n_kv_heads = n_heads, n_kv_heads

    def ask(self, x: Float[Tensor, "batch length d_model"]) -> Float[Tensor, "batch heads length asked"]:
        return _dealt(self.of_queries(x.detach()), self._n_heads)

    def keep(self, x: Float[Tensor, "batch length d_model"]) -> Float[Tensor, "batch kv_heads length kept"]:
        return _dealt(self.of_keys(x.detach()), self._n_kv_heads)

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch scored queries keys"]:
        index = self.index(q[..., -self.asked :], k[..., -self.kept :], q_pos, k_pos)
        # Where no head fits the index is exactly 0. Of such keys the latest come first, so that the choice
        # does not depend on how many others are given; every other index is too large to feel it.
        return index + k_pos * 1e-30

    def index(
        self,
        asked: Float[Tensor, "batch heads queries asked"],
        kept: Float[Tensor, "batch kv_heads keys kept"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch 1 queries keys"]:
        """The indexer's scores, from the channels of `ask` and `keep`."""
        asked, kept = _gathered(asked)[..., : self.of_queries.out_features], _gathered(kept)[..., : self.dim]
        queries, weights = asked.split([self.heads * self.dim, self.heads], -1)
        turned, keys = self.position.rotate(
            queries.unflatten(-1, (self.heads, self.dim)).transpose(1, 2), kept[:, None], q_pos, k_pos
        )
        fit = (turned @ keys.mT).relu()
        return (fit * weights.transpose(1, 2)[..., None]).sum(1, keepdim=True)

    def divergence(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        scale: float,
    ) -> Float[Tensor, " queries"]:
        """KL(p ‖ softmax(I)) of each query in nats, over all keys to its left, averaged over sequences."""
        query, key = (
            q[..., : -self.asked],
            k[..., : -self.kept].repeat_interleave(q.shape[1] // k.shape[1], 1),
        )
        hidden = k_pos > q_pos[:, None]
        with torch.no_grad():
            p = (query @ key.mT * scale).masked_fill(hidden, float("-inf")).softmax(-1).mean(1, keepdim=True)
        index = self.scores(q, k, q_pos, k_pos).masked_fill(hidden, torch.finfo(p.dtype).min)
        return (torch.xlogy(p, p) - p * log_softmax(index, -1)).sum(-1).mean((0, 1))

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """As of every selection; in training mode with a gradient for the indexer."""
        y = super().attend(q, k, v, task, executor=executor)
        if not (self.training and torch.is_grad_enabled() and q.requires_grad):
            return y
        return _Drawn.apply(y, *self._pull(q, k, task))

    def _pull(self, q: Tensor, k: Tensor, task: Task) -> tuple[Tensor, ...]:
        """What the indexer has read off the tokens, and the gradients of the mean divergence by it."""
        read = q[..., -self.asked :], k[..., -self.kept :]
        q, k = q.detach(), k.detach().requires_grad_()
        by_asked, by_keys = torch.zeros_like(read[0]), torch.zeros_like(k)
        for some in self.pieces(q.shape[2], k):
            piece = q[:, :, some].requires_grad_()
            with torch.enable_grad():
                found = self.divergence(piece, k, task.q_pos[some], task.k_pos, task.scale).sum() / q.shape[2]
            of_piece, of_keys = torch.autograd.grad(found, [piece, k])
            by_asked[:, :, some] = of_piece[..., -self.asked :]
            by_keys += of_keys
        return *read, by_asked, by_keys[..., -self.kept :]


class _Drawn(torch.autograd.Function):
    """Its first argument, with set gradients for two others."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, asked: Tensor, kept: Tensor, *grads: Tensor) -> Tensor:
        ctx.save_for_backward(*grads)
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, *ctx.saved_tensors, None, None


def _dealt(x: Float[Tensor, "batch length channels"], heads: int) -> Float[Tensor, "batch heads length some"]:
    """Channels dealt to heads, zeros after the last."""
    return pad(x, (0, -x.shape[2] % heads)).unflatten(-1, (heads, -1)).transpose(1, 2)


def _gathered(x: Float[Tensor, "batch heads length some"]) -> Float[Tensor, "batch length channels"]:
    return x.transpose(1, 2).flatten(2)
