"""Which executor is fastest, from measured break-even points (`benchmarks/attention.py`)."""

from __future__ import annotations

from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.patterns.full import Full

#: Length from which blocks beat dense, forward and backward, on a CPU.
BREAK_EVEN = 512


def choose_executor(q: Tensor, task: Task) -> str:
    """ "blocks" for long sequences, unless attention is full and has no bias; else "dense".

    Full attention without a bias needs no mask, and then one fused call is fastest at every length. With a
    bias, dense would hold length² numbers a head.
    """
    if not task.standard or q.shape[2] < BREAK_EVEN:
        return "dense"
    if isinstance(task.pattern, Full) and task.bias(task.q_pos[:1], task.k_pos[:1]) is None:
        return "dense"
    return "blocks"
