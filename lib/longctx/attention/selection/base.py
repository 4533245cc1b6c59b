"""What a selection is: keys chosen by content, for each query, head and sequence anew."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention.executors.base import Task
from longctx.attention.executors.rounds import Round, attend_rounds
from longctx.attention.mixer import Mixer
from longctx.positions.base import PositionEncoding


class Selection(Mixer):
    """Base of attention that chooses its keys. Every query sees at least itself.

    A subclass says what is chosen twice: as a mask over all pairs, which is the reference, and as rounds,
    whose cost follows what is chosen.
    """

    kind: ClassVar[Literal["chosen by content"]] = "chosen by content"

    @property
    def rounds_from(self) -> int:
        """The length from which "auto" takes rounds: where they beat the dense mask, on a CPU."""
        return 512

    @classmethod
    def check_position(cls, encoding: type[PositionEncoding]) -> None:
        if encoding.score is not PositionEncoding.score:
            raise ValueError(f"{cls.__name__} cannot serve {encoding.__name__}, which scores pairs")

    def chosen(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        """Who looks at whom, given rotated queries and keys, with the channels of `ask` and `keep`."""
        raise NotImplementedError

    def rounds(
        self,
        q: Float[Tensor, "batch heads length q_channels"],
        k: Float[Tensor, "batch kv_heads length k_channels"],
    ) -> list[Round]:
        """The same over positions 0 … length − 1, each pair in one round; the first holds (i, i)."""
        raise NotImplementedError

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """Attention over what is chosen.

        Args:
            executor: "dense" computes all pairs under a mask, the reference; "rounds" what is chosen; "auto"
                is rounds for long sequences, where these can serve.

        Raises:
            ValueError: an executor that cannot serve a selection, or not with this encoding or positions.
        """
        reason = _cannot_run_rounds(task)
        if executor == "rounds" and reason:
            raise ValueError(f"the rounds executor {reason}; use dense")
        if executor not in ("auto", "dense", "rounds"):
            raise ValueError(f"a selection runs on the executors auto, dense and rounds; got {executor!r}")
        if task.position is not None:
            self.check_position(type(task.position))
        query, key = q[..., : q.shape[3] - self.asked], k[..., : k.shape[3] - self.kept]
        if executor == "rounds" or (executor == "auto" and not reason and q.shape[2] >= self.rounds_from):
            return attend_rounds(query, key, v, task, self.rounds(q, k))
        mask = torch.zeros((), dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        if (bias := task.bias(task.q_pos, task.k_pos)) is not None:
            mask = mask + bias
        mask = mask.masked_fill(~self.chosen(q, k, task.q_pos, task.k_pos), float("-inf"))
        grouped = q.shape[1] != k.shape[1]
        return scaled_dot_product_attention(
            query, key, v, attn_mask=mask, scale=task.scale, enable_gqa=grouped
        )


def _cannot_run_rounds(task: Task) -> str | None:
    if not task.standard:
        return "needs queries and keys at positions 0 … length − 1"
    return "adds no bias to logits yet" if task.biased else None
