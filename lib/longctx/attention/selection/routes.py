"""From what each query chooses to who has chosen it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def routes(choices: Bool[Tensor, "n queries targets"]) -> Iterator[tuple[int, Int[Tensor, "n chosen_by"]]]:
    """For each target that somebody chooses, the queries that do, in order; −1 fills up shorter rows."""
    by_target = choices.permute(2, 0, 1)
    counts = by_target.sum(-1)
    target, head, query = by_target.nonzero(as_tuple=True)  # sorted by target, then head, then query
    starts = torch.cat([counts.new_zeros(1), counts.flatten().cumsum(0)])
    place = torch.arange(len(query), device=choices.device) - starts[target * len(choices) + head]
    ends = starts[len(choices) :: len(choices)].tolist()
    longest = counts.amax(-1).tolist()
    begin = 0
    for number, end in enumerate(ends):
        if end > begin:
            rows = torch.full((len(choices), longest[number]), -1, device=choices.device)
            rows[head[begin:end], place[begin:end]] = query[begin:end]
            yield number, rows
        begin = end
