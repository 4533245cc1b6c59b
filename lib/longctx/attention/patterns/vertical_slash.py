"""Vertical and slash lines (Jiang et al., 2024, "MInference", section 3.2)."""

from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.attention.patterns.base import Pattern, Places, grid, joined, register
from longctx.attention.patterns.distances import OfDistances
from longctx.attention.patterns.parts import Part, columns


class Slashes(OfDistances):
    """A window and some distances beyond it."""

    name: Literal["slashes"] = "slashes"
    window: PositiveInt
    distances: Places

    def holds(self, distance: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        chosen = torch.tensor(self.distances, device=distance.device, dtype=distance.dtype)
        return (distance < self.window) | (distance[..., None] == chosen).any(-1)

    def between(self, low: Int[Tensor, " n"], high: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        chosen = torch.tensor(self.distances)
        inside = (chosen >= low[:, None]) & (chosen <= high[:, None])
        return (low < self.window) | inside.any(-1)


@register(source="https://arxiv.org/abs/2407.02490")
class VerticalSlash(Pattern):
    """Attend to a window, to some tokens (vertical lines of the map) and at some distances (its slashes).

    Many heads of trained models attend so. The paper finds the lines of each head by attending from the last
    queries; here they are given.
    """

    cost: ClassVar[str] = "window + len(verticals) + len(slashes)"
    name: Literal["vertical_slash"] = "vertical_slash"
    #: Keys next to the query in each direction, itself included, that are all seen.
    window: PositiveInt = Field(1, examples=[20])
    #: Positions that every query sees.
    verticals: Places = Field((0,), min_length=1, examples=[(0, 3, 60)])
    #: Distances at which every query sees a key.
    slashes: Places = Field((), examples=[(), (30, 71)])

    @cached_property
    def _slashes(self) -> Slashes:
        return Slashes(window=self.window, distances=self.slashes, causal=self.causal)

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        i, j = grid(q_pos, k_pos)
        chosen = torch.tensor(self.verticals, device=j.device, dtype=j.dtype)
        vertical = (j[..., None] == chosen).any(-1) & (i == i)
        return self._slashes.allows(q_pos, k_pos) | (vertical & (j <= i) if self.causal else vertical)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        held = torch.tensor(sorted({p // block for p in self.verticals if p < n_blocks * block})).long()
        return [
            joined(held[held <= row] if self.causal else held, keys)
            for row, keys in enumerate(self._slashes.touched(n_blocks, block))
        ]

    def parts(self, length: int, block: int) -> list[Part]:
        slashes = self._slashes
        held = torch.tensor([p for p in self.verticals if p < length]).long()
        if not len(held):
            return slashes.parts(length, block)
        vertical = columns(held, self.allows, length, block, causal=self.causal)
        return [*slashes.parts(length, block), vertical.without(slashes.allows)]
