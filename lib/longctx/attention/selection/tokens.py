"""Selections of single tokens by a score for each pair."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longctx.attention.executors.choice import LONGEST
from longctx.attention.executors.rounds import Round
from longctx.attention.selection.base import Selection

#: Scores that are held at a time while the best keys are looked for.
BUDGET = 2**22


class TokenSelection(Selection):
    """Attend to the k keys that score best, and to oneself.

    Every pair is scored, though without a gradient and a few queries at a time: to choose takes quadratic
    time, but not quadratic memory.
    """

    #: Keys that a query sees.
    k: int

    @property
    def rounds_from(self) -> int:
        # To gather a key takes as long as about 64 pairs under a mask; but a mask must not grow too large.
        return min(64 * self.k, LONGEST + 1)

    def scores(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch scored queries keys"]:
        """How well each key suits each query, for every head or for all at once."""
        raise NotImplementedError

    def pieces(self, queries: int, k: Float[Tensor, "batch kv_heads keys channels"]) -> list[slice]:
        """The queries, as many at a time as the budget has room for."""
        step = max(1, BUDGET // k[..., 0].numel())
        return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]

    def _best(
        self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor
    ) -> tuple[Int[Tensor, "batch heads queries best"], Bool[Tensor, "batch heads queries best"]]:
        """Places of the best keys of each query, and whether there are so many: queries early in a text have
        fewer. A query is always among its own keys."""
        best, found = min(self.k, len(k_pos)), []
        for some in self.pieces(len(q_pos), k):
            i = q_pos[some, None]
            scores = self.scores(q[:, :, some], k, q_pos[some], k_pos)
            scores = scores.masked_fill(k_pos > i, float("-inf")).masked_fill(k_pos == i, float("inf"))
            found.append(scores.topk(best, dim=-1))
        shape = (*q.shape[:3], best)
        places = torch.cat([f.indices for f in found], dim=2).expand(shape)
        return places, torch.cat([f.values for f in found], dim=2).expand(shape) > float("-inf")

    @torch.no_grad()
    def chosen(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        places, exist = self._best(q, k, q_pos, k_pos)
        nobody = torch.zeros(*q.shape[:3], len(k_pos), dtype=torch.bool, device=q.device)
        return nobody.scatter_(-1, places, exist)

    @torch.no_grad()
    def rounds(
        self,
        q: Float[Tensor, "batch heads length q_channels"],
        k: Float[Tensor, "batch kv_heads length k_channels"],
    ) -> list[Round]:
        everywhere = torch.arange(q.shape[2], device=q.device)
        places, exist = (x.flatten(0, 1) for x in self._best(q, k, everywhere, everywhere))
        queries = everywhere[:, None].expand(len(places), -1, 1)
        return [Round(queries, places, exist[:, :, None])]
