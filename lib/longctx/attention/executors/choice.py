"""Which executor is fastest, from counts and measured break-even points (`benchmarks/choice.py`)."""

from __future__ import annotations

import torch
from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.executors.cost import work
from longctx.attention.executors.halves import serves
from longctx.attention.executors.kernel import has_flash

#: Shorter texts gain nothing worth a plan.
SHORTEST = 384
#: Longer ones have too many pairs to hold a mask of them all, whatever blocks may cost.
LONGEST = 4096
#: Blocks are worth it if they ask for less than this share of all pairs, which dense computes at a price a
#: little lower.
WORTH = 0.92
#: Length from which halves beat dense.
WORTH_HALVING = 512


def choose_executor(q: Tensor, task: Task) -> str:
    """ "blocks" where they ask for less than dense, unless attention is full and has no bias; then "halves".

    Dense computes all pairs of a query and a key under a mask. Blocks compute fewer, and pay for groups of
    rows and for parts in orders of their own (`cost.work`). A pattern's break-even length follows from its
    plan. Full attention without a bias needs no mask, and a fused kernel is fast.
    """
    length = q.shape[2]
    if not task.standard:
        return "dense"
    if serves(task) and has_flash(q) and not torch.compiler.is_compiling():
        return "halves" if length >= WORTH_HALVING else "dense"
    if task.plain or length < SHORTEST:
        return "dense"
    if length > LONGEST or work(task.pattern, length).pairs < WORTH * length**2:
        return "blocks"
    return "dense"
