"""Several kinds of attention in one model: one for each group of heads, or one for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from longctx.attention.mixer import MIXERS, MixerConfig
from longctx.attention.patterns.base import PATTERNS, Pattern
from longctx.attention.patterns.combinators import Side
from longctx.attention.patterns.full import Full
from longctx.registry import ConfigRegistry, StrategyConfig, fields_of


class Arrangement(StrategyConfig):
    """Kinds of attention, and who uses which."""

    @property
    def causal(self) -> bool:
        """Whether no query looks to its right, whatever the head and the layer."""
        raise NotImplementedError


ARRANGEMENTS = ConfigRegistry(Arrangement, "arrangement of attention", "longctx.arrangements")


@ARRANGEMENTS.register_config(source="https://arxiv.org/abs/1904.10509")
class PerHead(Arrangement):
    """Give each of n patterns to as many neighbouring heads: the first to the first of them.

    As Sparse Transformers split strided attention over heads, and DuoAttention retrieval from streaming.
    """

    name: Literal["per_head"] = "per_head"
    #: The patterns; the number of heads for keys and values must be a multiple of theirs.
    patterns: tuple[Side, ...] = Field(min_length=1)

    @property
    def causal(self) -> bool:
        return all(pattern.causal for pattern in self.patterns)


#: What a layer may do: follow a pattern, several by head, or choose its keys.
OfALayer = Pattern | PerHead | MixerConfig


def _build_of_a_layer(spec: Any) -> OfALayer:
    built = build_attention(spec)
    if not isinstance(built, OfALayer):
        raise ValueError(f"a layer cannot have a schedule of its own, given {built}")
    return built


Member = Annotated[SerializeAsAny[StrategyConfig], BeforeValidator(_build_of_a_layer)]


@ARRANGEMENTS.register_config(source="https://arxiv.org/abs/2408.00118")
class ByLayer(Arrangement):
    """Take what the layers do from a schedule, again and again: "SSSL" is three short ones to one long.

    As Gemma 2 alternates windows and full attention, and others after it with fewer full layers.
    """

    name: Literal["by_layer"] = "by_layer"
    #: A letter for each layer, S or L; begun again when it is used up.
    schedule: Annotated[str, Field(pattern="^[SL]+$")]
    #: What S stands for: a pattern, several by head, or a selection.
    short: Member
    #: What L stands for.
    long: Member = Full()

    @property
    def causal(self) -> bool:
        return all(self.at_layer(layer).causal for layer in range(len(self.schedule)))

    def at_layer(self, layer: int) -> OfALayer:
        """What layer 0, 1, … does."""
        letter = self.schedule[layer % len(self.schedule)]
        found = self.short if letter == "S" else self.long
        assert isinstance(found, OfALayer)
        return found


def build_attention(spec: str | Mapping[str, Any] | StrategyConfig) -> OfALayer | ByLayer:
    """A pattern, a selection's parameters, or an arrangement of several, from its spec.

    Raises:
        ValueError: unknown name or parameter; the message lists what is valid.
    """
    if isinstance(spec, OfALayer | ByLayer):
        return spec
    fields = {"name": spec.name, **dict(spec)} if isinstance(spec, StrategyConfig) else fields_of(spec)
    if fields.get("name") in {entry.name for entry in ARRANGEMENTS}:
        arranged = ARRANGEMENTS.build(fields)
        assert isinstance(arranged, PerHead | ByLayer)
        return arranged
    if fields.get("name") in {entry.name for entry in MIXERS}:
        chosen = MIXERS.parse(fields)
        assert isinstance(chosen, MixerConfig)
        return chosen
    try:
        return PATTERNS.build(fields)
    except ValueError as error:
        if "unknown attention pattern" not in str(error) or "name" not in fields:
            raise
        further = ", ".join(entry.name for registry in (MIXERS, ARRANGEMENTS) for entry in registry)
        raise ValueError(f"{error}; selections and arrangements: {further}") from None
