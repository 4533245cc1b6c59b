"""How attention is computed: one signature, several ways."""

from longctx.attention.executors.base import Executor, Task
from longctx.attention.executors.blocks import attend_blocks
from longctx.attention.executors.choice import choose_executor
from longctx.attention.executors.dense import attend_dense
from longctx.attention.executors.flex import attend_flex
from longctx.attention.executors.halves import attend_halves

EXECUTORS: dict[str, Executor] = {
    "dense": attend_dense,
    "halves": attend_halves,
    "blocks": attend_blocks,
    "flex": attend_flex,
}

__all__ = ["EXECUTORS", "Executor", "Task", "choose_executor"]
