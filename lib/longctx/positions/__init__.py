"""Position encodings: one file each, optional hooks, explicit positions."""

from longctx.positions import (  # noqa: F401  (registers)
    alibi,
    cope,
    deberta,
    dual_chunk,
    dynamic_bias,
    fire,
    fox,
    kerple,
    learned,
    nope,
    p_rope,
    pope,
    rerope,
    rope,
    sandwich,
    self_extend,
    shaw,
    sinusoidal,
    t5,
    transformer_xl,
    xpos,
)
from longctx.positions.base import (
    POSITIONS,
    PositionConfig,
    PositionEncoding,
    build_position,
    default_positions,
    list_positions,
)
from longctx.positions.base import register as register_position

__all__ = [
    "POSITIONS",
    "PositionConfig",
    "PositionEncoding",
    "build_position",
    "default_positions",
    "list_positions",
    "register_position",
]
