"""What a mixer is: attention beyond fixed patterns, which chooses its keys or does without a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longctx.attention.executors.base import Task
from longctx.positions.base import PositionEncoding
from longctx.registry import Registry, StrategyConfig


class MixerConfig(StrategyConfig):
    """The parameters of a mixer, which never looks to the right."""

    causal: ClassVar[bool] = True


class Mixer(nn.Module):
    """Base of attention that no fixed pattern describes. A mixer is causal, and each layer has its own.

    A subclass is built as ``cls(config, d_model=…, n_heads=…, n_kv_heads=…, head_dim=…)`` with those of the
    four sizes that its constructor names as keywords.
    """

    #: What it does instead; shown in the catalogue.
    kind: ClassVar[Literal["chosen by content", "linear"]]
    causal: ClassVar[bool] = True
    #: What a query costs, in keys over L tokens, as of a pattern; "" if unsaid.
    cost: ClassVar[str] = ""
    #: Channels that `ask` adds to each query, and `keep` to each key.
    asked: int = 0
    kept: int = 0

    @classmethod
    def check_position(cls, encoding: type[PositionEncoding]) -> None:
        """Refuse an encoding of positions that it cannot use, before anything is built.

        Raises:
            ValueError: names both, and why.
        """

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the initial values of what is learned, but for those of linear layers."""

    def ask(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch heads length asked"] | None:
        """What is read off the states of the tokens, to go with their queries."""
        return None

    def keep(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch kv_heads length kept"] | None:
        """What is read off the states of the tokens, to be kept beside their keys, also in a cache."""
        return None

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """Mix the values, given rotated queries and keys; the channels of `ask` and `keep` are their last.

        Raises:
            ValueError: an executor, or an encoding of positions, that the mixer cannot use.
        """
        raise NotImplementedError


MIXERS: Registry[type[Mixer]] = Registry("mixer", "longctx.mixers")
register_mixer = MIXERS.register


def build_mixer(spec: str | Mapping[str, Any] | StrategyConfig, **sizes: int) -> Mixer:
    """Build a mixer from its spec and ``d_model``, ``n_heads``, ``n_kv_heads`` and ``head_dim``.

    Raises:
        ValueError: unknown name or parameter; the message lists what is valid.
    """
    return MIXERS.construct(spec, **sizes)
