"""Several patterns in one model: one for each group of heads, or one for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from longctx.attention.patterns.base import Pattern, build_pattern
from longctx.attention.patterns.combinators import Side
from longctx.attention.patterns.full import Full
from longctx.registry import ConfigRegistry, StrategyConfig, fields_of


class Arrangement(StrategyConfig):
    """Patterns, and who uses which."""

    @property
    def members(self) -> tuple[Pattern, ...]:
        """The patterns of which some head of some layer uses each."""
        raise NotImplementedError

    def at_layer(self, layer: int) -> Pattern | PerHead:
        """What layer 0, 1, … uses."""
        raise NotImplementedError

    @property
    def causal(self) -> bool:
        """Whether no query looks to its right, whatever the head and the layer."""
        return all(pattern.causal for pattern in self.members)


ARRANGEMENTS = ConfigRegistry(Arrangement, "arrangement of attention patterns", "longctx.arrangements")


@ARRANGEMENTS.register_config(source="https://arxiv.org/abs/1904.10509")
class PerHead(Arrangement):
    """Give each of n patterns to as many neighbouring heads: the first to the first of them.

    As Sparse Transformers split strided attention over heads, and DuoAttention retrieval from streaming.
    """

    name: Literal["per_head"] = "per_head"
    #: The patterns; the number of heads for keys and values must be a multiple of theirs.
    patterns: tuple[Side, ...] = Field(min_length=1)

    @property
    def members(self) -> tuple[Pattern, ...]:
        return self.patterns

    def at_layer(self, layer: int) -> PerHead:
        return self


@ARRANGEMENTS.register_config(source="https://arxiv.org/abs/2408.00118")
class ByLayer(Arrangement):
    """Take the layers' patterns from a schedule, again and again: "SSSL" is three short ones to one long.

    As Gemma 2 alternates windows and full attention, and others after it with fewer full layers.
    """

    name: Literal["by_layer"] = "by_layer"
    #: A letter for each layer, S or L; begun again when it is used up.
    schedule: Annotated[str, Field(pattern="^[SL]+$")]
    #: What S stands for.
    short: Side
    #: What L stands for.
    long: Side = Full()

    @property
    def members(self) -> tuple[Pattern, ...]:
        return tuple({self.at_layer(layer) for layer in range(len(self.schedule))})

    def at_layer(self, layer: int) -> Pattern:
        return self.short if self.schedule[layer % len(self.schedule)] == "S" else self.long


def build_attention(spec: str | Mapping[str, Any] | Pattern | Arrangement) -> Pattern | Arrangement:
    """A pattern, or an arrangement of several, from its spec.

    Raises:
        ValueError: as `build_pattern`.
    """
    if isinstance(spec, Pattern | Arrangement):
        return spec
    fields = fields_of(spec)
    if fields.get("name") in {entry.name for entry in ARRANGEMENTS}:
        return ARRANGEMENTS.build(fields)
    return build_pattern(fields)
