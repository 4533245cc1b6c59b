"""What a trained model can do, by context length."""

from longctx.evaluation.perplexity import LengthResult, Reading, evaluate, position_edges
from longctx.evaluation.streaming import evaluate_stream
from longctx.evaluation.tasks import TaskResult, evaluate_task

__all__ = [
    "LengthResult",
    "Reading",
    "TaskResult",
    "evaluate",
    "evaluate_stream",
    "evaluate_task",
    "position_edges",
]
