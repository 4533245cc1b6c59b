"""What a position encoding is: three optional hooks that take explicit position vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from longctx.registry import Registry, StrategyConfig

Kind = Literal["none", "additive", "rotary", "bias"]


class PositionConfig(StrategyConfig):
    """The parameters of a position encoding."""


class PositionEncoding(nn.Module):
    """Base of all encodings: every hook is the identity until a subclass says otherwise.

    A subclass is built as ``cls(config, d_model=…, n_heads=…, head_dim=…)`` and takes those of the three
    sizes that it needs by keyword. Positions are integer vectors, never a length, so that the same code
    serves whole sequences, gathered blocks, cached decoding and interpolated positions.
    """

    #: Where the encoding acts; shown in the catalogue.
    kind: ClassVar[Kind] = "none"
    #: True if `bias` depends on q_pos − k_pos alone: executors then evaluate one block for many.
    shift_invariant: ClassVar[bool] = True

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"] | None:
        """What is added to the token embeddings; None adds nothing."""
        return None

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[
        Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]
    ]:
        """Queries and keys turned by their positions."""
        return q, k

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"] | None:
        """What is added to the scaled logits; None adds nothing."""
        return None


POSITIONS: Registry[type[PositionEncoding]] = Registry("position encoding", "longctx.positions")
register = POSITIONS.register


def build_position(
    spec: str | Mapping[str, Any] | PositionConfig, *, d_model: int, n_heads: int, head_dim: int
) -> PositionEncoding:
    """Build an encoding from ``"alibi"``, ``"rope(base=500000)"``, a mapping or a config.

    Raises:
        ValueError: unknown name or parameter; the message lists the valid ones.
    """
    config = POSITIONS.parse(spec)
    return POSITIONS[config.name].target(config, d_model=d_model, n_heads=n_heads, head_dim=head_dim)
