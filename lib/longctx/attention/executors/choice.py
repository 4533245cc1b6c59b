"""Which executor is fastest, from measured break-even points (`benchmarks/attention.py`)."""

from __future__ import annotations

from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.patterns.full import Full

#: Length from which blocks beat dense, forward and backward on a CPU. Dense pays for a bias twice (it is
#: materialised, and its mask forgoes what causality saves), so there the break-even comes earlier.
BREAK_EVEN = 512
BREAK_EVEN_WITH_BIAS = 256


def choose_executor(q: Tensor, task: Task) -> str:
    """ "blocks" or "dense", by pattern, bias and length."""
    if not task.standard:
        return "dense"
    has_bias = task.bias(task.q_pos[:1], task.k_pos[:1]) is not None
    if isinstance(task.pattern, Full) and not has_bias:
        return "dense"
    return "blocks" if q.shape[2] >= (BREAK_EVEN_WITH_BIAS if has_bias else BREAK_EVEN) else "dense"
