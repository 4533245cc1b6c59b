"""What a scaling of RoPE is: other frequencies, and a factor on queries and keys."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from longctx.registry import ConfigRegistry, StrategyConfig

#: How many times the trained context is to be read.
Factor = Annotated[float, Field(ge=1.0, examples=[4.0])]
#: Tokens of context that the model was trained on.
Trained = Annotated[int, Field(ge=2, examples=[32])]


class Scaling(StrategyConfig):
    """A method to extend a context. A scaling is its own config; parameters are named as in Hugging Face's
    ``rope_parameters``, so that checkpoints need no translation.
    """

    @property
    def follows_length(self) -> bool:
        """Whether angles depend on how much is read; all are then turned anew whenever it grows."""
        return False

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        """Radians a position by which each pair of channels turns, in float64.

        Args:
            base: RoPE's own base.
            dim: channels that turn, two a pair.
            length: tokens read, given to scalings that follow it.
        """
        raise NotImplementedError

    def magnitude(self, length: int = 0) -> float:
        """Factor on rotated queries and on rotated keys; its square multiplies the logits."""
        return 1.0


def unscaled(base: float, dim: int) -> Float[Tensor, " pairs"]:
    """RoPE's own frequencies, base^(−2t / dim)."""
    return base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def check_ramp(scaling: Scaling, slow: str, fast: str) -> None:
    """Refuse a scaling whose two bounds, named by their fields, do not rise.

    Raises:
        ValueError: the bound for fast pairs is not above that for slow ones.
    """
    low, high = getattr(scaling, slow), getattr(scaling, fast)
    if high <= low:
        raise ValueError(f"{fast} must exceed {slow}, {low}; got {high}")


def by_turns(
    own: Float[Tensor, " pairs"], factor: float, length: int, *, slow: float, fast: float
) -> Float[Tensor, " pairs"]:
    """Frequencies kept where a pair turns ``fast`` times within ``length``, divided by ``factor`` where it
    turns ``slow`` times or less, mixed linearly between."""
    turns = length * own / (2 * math.pi)
    kept = ((turns - slow) / (fast - slow)).clamp(0, 1)
    return own * kept + own / factor * (1 - kept)


SCALINGS = ConfigRegistry(Scaling, "RoPE scaling", "longctx.rope_scalings")
register = SCALINGS.register_config
build_scaling = SCALINGS.build
