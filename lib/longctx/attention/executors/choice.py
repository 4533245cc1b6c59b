"""Which executor is fastest, from measured break-even points (`benchmarks/attention.py`)."""

from __future__ import annotations

import torch
from torch import Tensor

from longctx.attention.executors.base import Task
from longctx.attention.executors.halves import serves
from longctx.attention.executors.kernel import has_flash

#: Length from which blocks beat dense, forward and backward, on a CPU.
BREAK_EVEN = 512
#: Length from which halves beat dense.
WORTH_HALVING = 512


def choose_executor(q: Tensor, task: Task) -> str:
    """ "blocks" for long sequences, unless attention is full and has no bias; then "halves", if it can.

    Full attention without a bias needs no mask, and a fused kernel is fast. With a bias, dense would hold
    length² numbers a head.
    """
    length = q.shape[2]
    if not task.standard:
        return "dense"
    if serves(task) and has_flash(q) and not torch.compiler.is_compiling():
        return "halves" if length >= WORTH_HALVING else "dense"
    return "dense" if task.plain or length < BREAK_EVEN else "blocks"
