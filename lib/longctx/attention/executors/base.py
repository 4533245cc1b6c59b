"""What an executor is given, and what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention.patterns.base import Pattern
from longctx.attention.patterns.full import Full
from longctx.positions.base import PositionEncoding


@dataclass(frozen=True)
class Task:
    """Everything but the tensors: the mask, the bias and where queries and keys lie."""

    pattern: Pattern
    position: PositionEncoding | None
    q_pos: Int[Tensor, " queries"]
    k_pos: Int[Tensor, " keys"]
    #: Which of the position encoding's heads these are.
    heads: slice
    #: Whether both position vectors are 0 … length − 1.
    standard: bool
    #: By what inner products are multiplied: 1/√head_dim, whatever channels an encoding has added.
    scale: float

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"] | None:
        """The position encoding's bias, if it has one."""
        bias = None if self.position is None else self.position.bias(q_pos, k_pos)
        return bias if bias is None or self.heads == slice(0, bias.shape[-3]) else bias[..., self.heads, :, :]

    @property
    def biased(self) -> bool:
        """Whether the position encoding adds anything to the logits."""
        return self.bias(self.q_pos[:1], self.k_pos[:1]) is not None

    @property
    def scored(self) -> bool:
        """Whether logits are what the position encoding's `score` says, and no inner products."""
        return self.position is not None and type(self.position).score is not PositionEncoding.score

    @property
    def plain(self) -> bool:
        """Whether attention is full and of inner products alone, so that torch's kernels need no mask."""
        return isinstance(self.pattern, Full) and not self.biased and not self.scored


def as_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the type that autocast asks for; functions with their own gradient have to ask."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(device)) for x in tensors)


#: (q, k, v, task) → output of q's shape; q and k come rotated and validated.
Executor = Callable[[Tensor, Tensor, Tensor, Task], Tensor]
