"""Selections that sort queries and keys into buckets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.executors.rounds import Round
from longctx.attention.selection.base import Selection

#: Tokens to a row of the round in which each sees itself.
ALONE = 16


class _Places(NamedTuple):
    """The keys of each head in the order of their buckets and positions, by each hash, and where to look.

    Of keys: which one is at each place, and each one's place. Of queries: the places first … end − 1.
    """

    order: Int[Tensor, "*heads hashes keys"]
    of_keys: Int[Tensor, "*heads hashes keys"]
    first: Int[Tensor, "*heads hashes queries"]
    end: Int[Tensor, "*heads hashes queries"]


class BucketSelection(Selection):
    r"""Attend to the last keys of the bucket that the query falls into, and to oneself.

    .. math:: \mathcal{A}(i) = \{i\} \cup \bigcup_r \operatorname{last}_w \{j \le i : h_r(k_j) = h_r(q_i)\}

    A subclass says what the hashes :math:`h_r` are. A hash depends on nothing but its vector: so no choice
    depends on the future, and none changes when tokens are decoded one by one. It passes no gradient.

    With keys sorted by bucket and position, a query sees an interval of at most ``window`` places. A chunk of
    ``window`` sorted keys and the one before it serve all queries whose interval ends there, in rows of
    ``window`` queries. However unevenly queries and keys are spread, that makes at most two rows for every
    ``window`` tokens: the cost is that of 2 to 4 · length · window · hashes pairs, and of sorting.
    """

    cost = "at most window by each hash"
    #: Keys of its bucket that a query sees, for each hash.
    window: int

    def buckets(
        self, x: Float[Tensor, "batch kv_heads length channels"]
    ) -> Int[Tensor, "batch kv_heads hashes length"]:
        """The bucket of each key by each hash; or of each query, which come to the head of their keys."""
        raise NotImplementedError

    def _places(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor) -> _Places:
        by_kv_head = q.unflatten(1, (k.shape[1], -1))
        group, span = by_kv_head.shape[2], int(torch.maximum(q_pos.max(), k_pos.max())) + 1
        keys, order = (self.buckets(k) * span + k_pos).sort(-1)
        bucket = self.buckets(by_kv_head.flatten(2, 3)) * span
        end = torch.searchsorted(keys, bucket + q_pos.repeat(group), right=True)
        first = torch.maximum(torch.searchsorted(keys, bucket), end - self.window)
        return _Places(
            *(x.repeat_interleave(group, 1) for x in (order, order.argsort(-1))),
            *(x.unflatten(-1, (group, -1)).transpose(2, 3).flatten(1, 2) for x in (first, end)),
        )

    @torch.no_grad()
    def chosen(
        self,
        q: Float[Tensor, "batch heads queries channels"],
        k: Float[Tensor, "batch kv_heads keys channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        _, of_keys, first, end = self._places(q, k, q_pos, k_pos)
        seen = (q_pos[:, None] == k_pos).expand(*q.shape[:2], -1, -1)
        for h in range(of_keys.shape[2]):
            place = of_keys[:, :, h, None, :]
            seen = seen | ((place >= first[:, :, h, :, None]) & (place < end[:, :, h, :, None]))
        return seen

    @torch.no_grad()
    def rounds(
        self,
        q: Float[Tensor, "batch heads length channels"],
        k: Float[Tensor, "batch kv_heads length channels"],
    ) -> list[Round]:
        everywhere = torch.arange(q.shape[2], device=q.device)
        places = _Places(*(x.flatten(0, 1) for x in self._places(q, k, everywhere, everywhere)))
        alone = pad(everywhere, (0, -len(everywhere) % ALONE), value=-1).view(-1, ALONE)
        mine = alone.expand(len(places.order), -1, -1)
        found = [Round(mine, mine, (alone[:, None] == alone[:, :, None]) & (mine >= 0)[:, :, None])]
        for h in range(places.order.shape[1]):
            queries, keys = _rows(places, h, self.window)
            allowed = keys[:, :, None] != queries[..., None]
            for other in range(h + 1):
                hit = _hit(places, other, queries, keys)
                allowed &= hit if other == h else ~hit
            found.append(Round(queries, keys, allowed))
        return [one for one in found if one.queries.numel()]


def _rows(
    places: _Places, h: int, window: int
) -> tuple[Int[Tensor, "n rows queries"], Int[Tensor, "n rows keys"]]:
    """Rows of queries whose intervals end in one chunk of keys, and the keys of that chunk and the last."""
    order, first, end = places.order[:, h], places.first[:, h], places.end[:, h]
    n, length = order.shape
    chunks = -(-length // window)
    chunk = ((end - 1) // window).masked_fill(first == end, chunks)  # who sees nothing comes last
    by_chunk, queries = chunk.sort(dim=-1, stable=True)
    counts = torch.zeros(n, chunks + 1, dtype=torch.long, device=order.device)
    counts.scatter_add_(1, chunk, torch.ones_like(chunk))
    rows = -(-counts // window)
    ends = rows[:, :-1].cumsum(1)
    longest = int(ends[:, -1].max())
    # Rows of a chunk begin anew: by how much its queries move against their order.
    shift = (rows.cumsum(1) - rows) * window - (counts.cumsum(1) - counts)
    slot = torch.arange(length, device=order.device) + shift.gather(1, by_chunk)
    slot = slot.masked_fill(by_chunk == chunks, longest * window)
    filled = torch.full((n, longest * window + 1), -1, device=order.device).scatter_(1, slot, queries)
    numbers = torch.arange(longest, device=order.device).repeat(n, 1)
    begin = (torch.searchsorted(ends, numbers, right=True) - 1) * window
    place = begin[..., None] + torch.arange(2 * window, device=order.device)
    outside = (place < 0) | (place >= length)
    keys = order.gather(1, place.clamp(0, length - 1).flatten(1)).view(place.shape)
    return filled[:, :-1].view(n, longest, window), keys.masked_fill(outside, -1)


def _hit(
    places: _Places, h: int, queries: Int[Tensor, "n rows queries"], keys: Int[Tensor, "n rows keys"]
) -> Bool[Tensor, "n rows queries keys"]:
    """Which of these keys the queries see by one hash."""

    def of(values: Tensor, where: Tensor, absent: int) -> Tensor:
        found = values[:, h].gather(1, where.clamp(min=0).flatten(1)).view(where.shape)
        return found.masked_fill(where < 0, absent)

    place = of(places.of_keys, keys, -1)[:, :, None]
    return (place >= of(places.first, queries, 0)[..., None]) & (
        place < of(places.end, queries, 0)[..., None]
    )
