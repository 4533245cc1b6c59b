"""What a selection is: keys chosen by content, for each query, head and sequence anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from longctx.registry import Registry, StrategyConfig


class SelectionConfig(StrategyConfig):
    """The parameters of a selection, which never looks to the right."""

    causal: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Round:
    """Rows of queries and keys of each head, to be attended row by row; a query is in one row at most.

    Axis n runs over the heads of all sequences, sequence by sequence.
    """

    #: Positions, −1 where a row is filled up.
    queries: Int[Tensor, "n rows queries"]
    keys: Int[Tensor, "n rows keys"]
    #: Who may look at whom; None if every query at every key of its row.
    allowed: Bool[Tensor, "n rows queries keys"] | None = None


class Selection(nn.Module):
    """Base of attention that chooses its keys. A selection is causal, and every query sees at least itself.

    A subclass is built as ``cls(config, d_model=…, n_heads=…, n_kv_heads=…, head_dim=…)`` with those of the
    four sizes that its constructor names as keywords. It says what is chosen twice: as a mask over all pairs,
    which is the reference, and as rounds, whose cost follows what is chosen.
    """

    causal: ClassVar[bool] = True

    def chosen(
        self,
        q: Float[Tensor, "batch heads queries channels"],
        k: Float[Tensor, "batch kv_heads keys channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Bool[Tensor, "batch heads queries keys"]:
        """Who looks at whom, given rotated queries and keys."""
        raise NotImplementedError

    def rounds(
        self,
        q: Float[Tensor, "batch heads length channels"],
        k: Float[Tensor, "batch kv_heads length channels"],
    ) -> list[Round]:
        """The same over positions 0 … length − 1, each pair in one round; the first holds (i, i)."""
        raise NotImplementedError


SELECTIONS: Registry[type[Selection]] = Registry("selection", "longctx.selections")
register = SELECTIONS.register


def build_selection(spec: str | Mapping[str, Any] | StrategyConfig, **sizes: int) -> Selection:
    """Build a selection from its spec and ``d_model``, ``n_heads``, ``n_kv_heads`` and ``head_dim``.

    Raises:
        ValueError: unknown name or parameter; the message lists what is valid.
    """
    config = SELECTIONS.parse(spec)
    target = SELECTIONS[config.name].target
    wanted = signature(target.__init__).parameters
    return target(config, **{name: size for name, size in sizes.items() if name in wanted})
