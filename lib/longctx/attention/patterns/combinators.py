"""Patterns out of patterns: ``a & b`` allows what both allow, ``a | b`` what either allows."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from torch import Tensor

from longctx.attention.patterns.base import Pattern, build_pattern, register
from longctx.attention.patterns.parts import Part

#: A field that takes any spec of a pattern and is written out whole.
Side = Annotated[SerializeAsAny[Pattern], BeforeValidator(build_pattern)]


class Combination(Pattern):
    """Two patterns and a way to join them; whether it is causal follows from its parts."""

    left: Side = Field(examples=["sliding_window(window=20)"])
    right: Side = Field(examples=["block_local(block_size=24)", "block_local(block_size=32, causal=False)"])

    @model_validator(mode="before")
    @classmethod
    def _derive_causal(cls, fields: Any) -> Any:
        if not (isinstance(fields, Mapping) and {"left", "right"} <= set(fields)):
            return fields
        left, right = build_pattern(fields["left"]), build_pattern(fields["right"])
        causal = cls._joined(left.causal, right.causal)
        if fields.get("causal", causal) != causal:
            raise ValueError(f"causal follows from the parts and is {causal}, given {fields['causal']}")
        return {**fields, "left": left, "right": right, "causal": causal}

    @staticmethod
    def _joined(left: bool, right: bool) -> bool:
        raise NotImplementedError

    @property
    def max_length(self) -> int | None:
        return min((side.max_length for side in (self.left, self.right) if side.max_length), default=None)

    @property
    def period(self) -> int | None:
        left, right = self.left.period, self.right.period
        return None if left is None or right is None else math.lcm(left, right)


@register(source="https://arxiv.org/abs/2412.05496")
class Both(Combination):
    """Intersection: allow what both parts allow; written ``left & right``."""

    cost: ClassVar[str] = "at most that of the smaller"
    name: Literal["both"] = "both"

    @staticmethod
    def _joined(left: bool, right: bool) -> bool:
        return left or right

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        return self.left.allows(q_pos, k_pos) & self.right.allows(q_pos, k_pos)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        pairs = zip(self.left.touched(n_blocks, block), self.right.touched(n_blocks, block), strict=True)
        return [a[torch.isin(a, b)] for a, b in pairs]

    def parts(self, length: int, block: int) -> list[Part]:
        laid_out, other = (self.left, self.right) if _has_parts(self.left) else (self.right, self.left)
        if not _has_parts(laid_out):
            return super().parts(length, block)
        return [part.within(other.allows) for part in laid_out.parts(length, block)]

    def __str__(self) -> str:
        return f"({self.left}) & ({self.right})"


@register(source="https://arxiv.org/abs/2412.05496")
class Either(Combination):
    """Union: allow what either part allows; written ``left | right``."""

    cost: ClassVar[str] = "at most the sum of both"
    name: Literal["either"] = "either"

    @staticmethod
    def _joined(left: bool, right: bool) -> bool:
        return left and right

    def allows(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        return self.left.allows(q_pos, k_pos) | self.right.allows(q_pos, k_pos)

    def touched(self, n_blocks: int, block: int) -> list[Int[Tensor, " _"]]:
        pairs = zip(self.left.touched(n_blocks, block), self.right.touched(n_blocks, block), strict=True)
        return [torch.cat(pair).unique() for pair in pairs]

    def parts(self, length: int, block: int) -> list[Part]:
        if not (_has_parts(self.left) or _has_parts(self.right)):
            return super().parts(length, block)
        further = [part.without(self.left.allows) for part in self.right.parts(length, block)]
        return self.left.parts(length, block) + further

    def __str__(self) -> str:
        return f"({self.left}) | ({self.right})"


def _has_parts(pattern: Pattern) -> bool:
    """Whether a pattern is laid out in orders of its own."""
    return type(pattern).parts is not Pattern.parts
