"""What an attention pattern is: a predicate over positions, and the blocks in which its pairs lie."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Int
from pydantic import AfterValidator, Field, NonNegativeInt
from torch import Tensor

from longctx.attention.patterns.parts import Part
from longctx.registry import ConfigRegistry, StrategyConfig


class Pattern(StrategyConfig):
    """Who may look at whom. A pattern is its own config: frozen, hashable, comparable, serialisable.

    Every query may look at least at itself, so that no softmax row is empty.
    """

    #: How many keys a query sees, on average over L tokens, where causal; in the parameters. "" if unsaid.
    cost: ClassVar[str] = ""
    #: Whether queries are forbidden to look to their right.
    causal: bool = Field(True, examples=[True, False])

    @property
    def period(self) -> int | None:
        """A p with allows(i + p, j + p) = allows(i, j) for all i, j; None if there is no such p.

        1 for a pattern of distances. Executors evaluate the predicate once for all blocks a period apart.
        """
        return None

    @property
    def max_length(self) -> int | None:
        """The longest sequence for which the pattern is defined; None if there is no such bound."""
        return None

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        """The predicate, for every pair of the given positions."""
        raise NotImplementedError

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        """For each of ``n_blocks`` query blocks of ``block`` positions, the sorted key blocks that hold an
        allowed pair. A superset is correct, only slower."""
        raise NotImplementedError

    def parts(self, length: int, block: int) -> list[Part]:
        """The pattern over positions 0 … length − 1 as a disjoint union; blocks of about ``block`` positions.

        The first part holds every query with itself. One part in natural order, by default.
        """
        touched = self.touched(-(-length // block), block)
        return [Part(self.allows, touched, block, block, period=self.period)]

    def __and__(self, other: Pattern) -> Pattern:
        from longctx.attention.patterns.combinators import Both

        return Both(left=self, right=other)

    def __or__(self, other: Pattern) -> Pattern:
        from longctx.attention.patterns.combinators import Either

        return Either(left=self, right=other)


#: Positions or distances: in order, each once.
Places = Annotated[tuple[NonNegativeInt, ...], AfterValidator(lambda given: tuple(sorted(set(given))))]


def grid(
    q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
) -> tuple[Int[Tensor, "*blocks queries 1"], Int[Tensor, "*blocks 1 keys"]]:
    """Query positions as a column i and key positions as a row j, ready to broadcast."""
    return q_pos[..., :, None], k_pos[..., None, :]


def span(first: int, last: int) -> Int[Tensor, " fan_in"]:
    """The block numbers first … last, both included."""
    return torch.arange(first, last + 1)


def joined(*keys: Int[Tensor, " _"]) -> Int[Tensor, " fan_in"]:
    """Key blocks of several sets, sorted and each once."""
    return torch.cat(keys).unique()


PATTERNS = ConfigRegistry(Pattern, "attention pattern", "longctx.patterns")
register = PATTERNS.register_config
build_pattern = PATTERNS.build


def list_patterns() -> list[str]:
    """The names of all registered patterns, those of installed plug-ins included."""
    return [entry.name for entry in PATTERNS]
