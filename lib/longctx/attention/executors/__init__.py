"""How attention is computed: one signature, three ways."""

from longctx.attention.executors.base import Executor, Task
from longctx.attention.executors.blocks import blocks
from longctx.attention.executors.choice import choose_executor
from longctx.attention.executors.dense import dense
from longctx.attention.executors.flex import flex

EXECUTORS: dict[str, Executor] = {"dense": dense, "blocks": blocks, "flex": flex}

__all__ = ["EXECUTORS", "Executor", "Task", "choose_executor"]
