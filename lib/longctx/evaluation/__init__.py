"""What a trained model can do, by context length."""

from longctx.evaluation.perplexity import LengthResult, evaluate, position_edges
from longctx.evaluation.tasks import TaskResult, evaluate_task

__all__ = ["LengthResult", "TaskResult", "evaluate", "evaluate_task", "position_edges"]
