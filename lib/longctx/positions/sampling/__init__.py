"""Which positions a training step pretends to see, so that later ones are no news: one file a method."""

from longctx.positions.sampling import pose, randomized, shape  # noqa: F401  (registers)
from longctx.positions.sampling.base import SAMPLINGS, Sampling, build_sampling

__all__ = ["SAMPLINGS", "Sampling", "build_sampling"]
