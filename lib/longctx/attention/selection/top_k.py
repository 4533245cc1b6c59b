"""Top-k attention (Gupta et al., 2021; Zhao et al., 2019, "Explicit Sparse Transformer")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.executors.dense import attend_dense
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.tokens import TokenSelection


class TopKConfig(MixerConfig):
    name: Literal["top_k"] = "top_k"
    #: Keys that a query sees.
    k: PositiveInt = Field(32, examples=[1, 6])
    #: Whether the gradient of the logits is that of full attention, in quadratic time.
    straight_through: bool = Field(False, examples=[False, True])


@register_mixer(TopKConfig, source="https://arxiv.org/abs/2106.06899")
class TopK(TokenSelection):
    r"""Attend to the k keys with the largest logits, and to oneself.

    What softmax would give the other keys is mostly little. But a key that is not chosen gets no gradient,
    and so is not drawn nearer. The straight-through estimator (Bengio et al., 2013, arXiv 1308.3432) uses
    the weights a of the k keys, and differentiates as if they were p, those of all keys up to i:

    .. math:: y_i = \sum_j a_{ij} v_j, \qquad
              \frac{\partial L}{\partial s_{ij}} :=
              p_{ij} \Big\langle \frac{\partial L}{\partial y_i}, v_j - \sum_l p_{il} v_l \Big\rangle, \qquad
              \frac{\partial L}{\partial v_j} = \sum_i a_{ij} \frac{\partial L}{\partial y_i}

    with s the logits, biases included. This is a + p − sg(p), where sg stops the gradient, and what
    x-transformers offers as ``sparse_topk_straight_through``. It adds the time of full attention to a step.
    """

    cost = "k, and L / 2 scores"

    def __init__(self, config: TopKConfig) -> None:
        super().__init__()
        self.k, self.straight_through = config.k, config.straight_through

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch scored queries keys"]:
        return q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        if not (self.straight_through and torch.is_grad_enabled()):
            return super().attend(q, k, v, task, executor=executor)
        of_values = super().attend(q.detach(), k.detach(), v, _Fixed(**vars(task)), executor=executor)
        of_logits = attend_dense(q, k, v.detach(), task)
        return of_values + (of_logits - of_logits.detach())


@dataclass(frozen=True)
class _Fixed(Task):
    """A task of which the bias learns nothing."""

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"] | None:
        bias = super().bias(q_pos, k_pos)
        return None if bias is None else bias.detach()
