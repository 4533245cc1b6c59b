"""Which executor is fastest, from measured break-even points."""

from __future__ import annotations

from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.executors.plan import block_size, plan

#: Below this length the block executor's fixed cost exceeds what it saves.
SHORTEST = 512


def choose_executor(q: Tensor, task: Task) -> str:
    """ "blocks" where it computes at most half of all pairs on a long enough sequence, else "dense"."""
    length = q.shape[2]
    if not task.standard or length < SHORTEST:
        return "dense"
    block = block_size(task.pattern)
    computed = sum(g.keys.numel() for g in plan(task.pattern, length, block)) * block**2
    return "blocks" if 2 * computed < length**2 else "dense"
