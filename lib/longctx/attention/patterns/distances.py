"""What patterns share that ask only how far apart two positions are."""

from jaxtyping import Bool, Int
from torch import Tensor, arange

from longctx.attention.patterns.base import Pattern, grid


class OfDistances(Pattern):
    """Some distances are allowed: to the left if causal, in both directions if not."""

    @property
    def period(self) -> int:
        return 1

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether a distance, 0 or above, is allowed; 0 always is."""
        raise NotImplementedError

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Whether some distance from ``low`` to ``high``, both included, is allowed."""
        raise NotImplementedError

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        allowed = self.holds((i - j).abs())
        return allowed & (j <= i) if self.causal else allowed

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        offsets = arange(0 if self.causal else 1 - n_blocks, n_blocks)
        nearest = (offsets.abs() * block - block + 1).clamp(min=0)
        kept = offsets[self.between(nearest, offsets.abs() * block + block - 1)].flip(0)
        rows = [row - kept for row in range(n_blocks)]
        return [keys[(keys >= 0) & (keys < n_blocks)] for keys in rows]


def multiple_between(
    low: Int[Tensor, "*shape"], high: Int[Tensor, "*shape"], step: int
) -> Bool[Tensor, "*shape"]:
    """Whether a multiple of ``step`` lies from ``low`` to ``high``, both included."""
    return high.div(step, rounding_mode="floor") * step >= low
