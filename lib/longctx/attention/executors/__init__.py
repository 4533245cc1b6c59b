"""How attention is computed: one signature, three ways."""

from longctx.attention.executors.base import Executor, Task
from longctx.attention.executors.blocks import attend_blocks
from longctx.attention.executors.choice import choose_executor
from longctx.attention.executors.dense import attend_dense
from longctx.attention.executors.flex import attend_flex

EXECUTORS: dict[str, Executor] = {"dense": attend_dense, "blocks": attend_blocks, "flex": attend_flex}

__all__ = ["EXECUTORS", "Executor", "Task", "choose_executor"]
