"""How RoPE's angles are changed so that a model reads more than it was trained on: one file a method."""

from longctx.positions.scaling import (  # noqa: F401  (registers)
    dynamic,
    linear,
    llama3,
    longrope,
    ntk,
    ntk_by_parts,
    yarn,
)
from longctx.positions.scaling.base import SCALINGS, Scaling, build_scaling

__all__ = ["SCALINGS", "Scaling", "build_scaling"]
