"""What an executor is given, and what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention.patterns.base import Pattern
from longctx.positions.base import PositionEncoding


@dataclass(frozen=True)
class Task:
    """Everything but the tensors: the mask, the bias and where queries and keys lie."""

    pattern: Pattern
    position: PositionEncoding | None
    q_pos: Int[Tensor, " queries"]
    k_pos: Int[Tensor, " keys"]
    #: Whether both position vectors are 0 … length − 1.
    standard: bool

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"] | None:
        """The position encoding's bias, if it has one."""
        return None if self.position is None else self.position.bias(q_pos, k_pos)


#: (q, k, v, task) → output of q's shape; q and k come rotated and validated.
Executor = Callable[[Tensor, Tensor, Tensor, Task], Tensor]
