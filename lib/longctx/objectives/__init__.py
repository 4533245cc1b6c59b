"""What a model is trained to do."""

from longctx.objectives.causal import causal_loss, judged, judged_states, linear_cross_entropy, token_losses

__all__ = ["causal_loss", "judged", "judged_states", "linear_cross_entropy", "token_losses"]
