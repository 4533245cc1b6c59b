"""Synthetic tasks: problems whose difficulty is their length, and whose answers are right or wrong."""

from longctx.data.tasks import addition, backcopy, latest, recall, sequences  # noqa: F401  (registers the tasks)
from longctx.data.tasks.base import IGNORED, TASKS, VERSION, Batch, Problem, Task, build_task

__all__ = ["IGNORED", "TASKS", "VERSION", "Batch", "Problem", "Task", "build_task"]
