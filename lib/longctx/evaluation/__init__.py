"""What a trained model can do, by context length."""

from longctx.evaluation.perplexity import LengthResult, Protocol, evaluate, position_edges

__all__ = ["LengthResult", "Protocol", "evaluate", "position_edges"]
