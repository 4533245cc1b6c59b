"""What a position encoding is: optional hooks that take explicit position vectors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from longctx.registry import Registry, StrategyConfig

Kind = Literal["none", "additive", "rotary", "bias", "data-dependent"]


class PositionConfig(StrategyConfig):
    """The parameters of a position encoding."""


class PositionEncoding(nn.Module):
    """Base of all encodings: every hook is the identity until a subclass says otherwise.

    Three hooks serve most encodings: `embed`, `rotate` and `bias`. Two more are for those that these cannot
    express: `observe` reads the token states, and `score` sees all pairs of a query and its keys.

    A subclass is built as ``cls(config, d_model=…, n_heads=…, n_kv_heads=…, head_dim=…)`` with those of the
    four sizes that its constructor names as keywords. Positions are integer vectors, never a length, so that
    the same code serves whole sequences, gathered blocks, cached decoding and interpolated positions.
    """

    #: Where the encoding acts; shown in the catalogue.
    kind: ClassVar[Kind] = "none"
    #: True if logits depend on q_pos − k_pos alone: executors then evaluate `bias` for one block of many.
    shift_invariant: ClassVar[bool] = True
    #: True if it has a meaning only where no query looks to its right.
    causal_only: ClassVar[bool] = False
    #: True if each layer has parameters of its own; else all layers share one encoding.
    per_layer: ClassVar[bool] = False
    #: Channels that `observe` adds to each key.
    observed: int = 0

    @classmethod
    def check_sight(cls, pattern: object, causal: bool) -> None:
        """Refuse a pattern in which queries look to their right, where the encoding has no meaning there.

        Raises:
            ValueError: names the encoding and the pattern.
        """
        if cls.causal_only and not causal:
            raise ValueError(
                f"{cls.__name__} has a meaning only where no query looks to its right; "
                f"got the pattern {pattern}"
            )

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the initial values of what is learned; most encodings learn nothing or start at set values."""

    def embed(self, positions: Int[Tensor, "*batch length"]) -> Float[Tensor, "*batch length d_model"] | None:
        """What is added to the token embeddings; None adds nothing."""
        return None

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        """Queries and keys turned by their positions.

        Keys come with the channels of `observe`. What is returned may have more channels than came: equally
        many in queries and keys, since logits are their inner products, divided by √head_dim as ever; or
        whatever the encoding's own `score` reads.
        """
        return q, k

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"] | None:
        """What is added to the scaled logits; None adds nothing."""
        return None

    def observe(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch kv_heads length observed"] | None:
        """What is read off the states of the tokens, to be kept beside their keys, also in a cache."""
        return None

    def score(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
        allowed: Bool[Tensor, "queries keys"],
    ) -> Float[Tensor, "batch heads queries keys"] | None:
        """The scaled logits, of what `rotate` returned, where they are no inner products; None if they are.

        ``allowed`` says which pairs the pattern permits; the other logits do not count.
        """
        return None


POSITIONS: Registry[type[PositionEncoding]] = Registry("position encoding", "longctx.positions")
register = POSITIONS.register


def build_position(
    spec: str | Mapping[str, Any] | PositionConfig,
    *,
    d_model: int,
    n_heads: int,
    head_dim: int,
    n_kv_heads: int | None = None,
) -> PositionEncoding:
    """Build an encoding from ``"alibi"``, ``"rope(base=500000)"``, a mapping or a config.

    There are as many key and value heads as heads, unless ``n_kv_heads`` says otherwise.

    Raises:
        ValueError: unknown name or parameter, or a size that the encoding cannot serve; the message lists
            what is valid.
    """
    sizes = {
        "d_model": d_model,
        "n_heads": n_heads,
        "head_dim": head_dim,
        "n_kv_heads": n_heads if n_kv_heads is None else n_kv_heads,
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    return POSITIONS.construct(spec, **sizes)


def list_positions() -> list[str]:
    """The names of all registered encodings, those of installed plug-ins included."""
    return [entry.name for entry in POSITIONS]


@lru_cache(maxsize=64)
def default_positions(length: int, device: torch.device) -> Int[Tensor, " length"]:
    """0 … length − 1, as the same tensor for every caller: encodings recognise it and reuse their tables.

    It must not be changed in place.
    """
    # A tensor made in inference mode could not be used in a later training step.
    with torch.inference_mode(False):
        return torch.arange(length, device=device)
