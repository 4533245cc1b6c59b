"""Bigrams, and triggers that copy back: attention is seldom needed (Guo et al., 2024, section 2)."""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field, model_validator

from longctx.data.tasks.base import IGNORED, Problem, Task, register
from longctx.streams import Raw, below, stream


@register(source="https://arxiv.org/abs/2410.13835")
class Backcopy(Task):
    """Go on with a text of bigrams, in which after some symbols, the triggers, the one before comes again.

    Symbols are 0 … symbols − 1, the last of them triggers; one more token begins every text and asks nothing.
    Every other symbol has an order of its own of all symbols, the same in every problem, and is followed by
    the first of them with probability 1/2, by the second with 1/4, and so on: 2 ln 2 nats. What follows a
    trigger has a right answer, what follows another symbol has not.
    """

    name: Literal["backcopy"] = "backcopy"
    symbols: Annotated[int, Field(ge=3)] = 32
    triggers: Annotated[int, Field(ge=1)] = 8

    @model_validator(mode="after")
    def _some_are_ordinary(self) -> "Backcopy":
        if self.triggers >= self.symbols:
            raise ValueError(f"triggers must be fewer than symbols={self.symbols}, given {self.triggers}")
        return self

    @property
    def vocab_size(self) -> int:
        return self.symbols + 1

    def largest(self, length: int) -> int:
        return length - 1

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        orders, ordinary = _orders(self.symbols), self.symbols - self.triggers
        # The lowest 1 among random bits stands at place k with probability 2^−(k+1).
        lowest = [(bits & -bits).bit_length() for bits in raw(size).tolist()]
        text = [int(below(raw(1), ordinary)[0])]
        for place in lowest:
            drawn = orders[text[-1], min(max(place, 1), self.symbols) - 1]
            text.append(int(drawn) if text[-1] < ordinary else text[-2])
        return Problem(
            inputs=np.array([self.symbols, *text[:-1]]),
            targets=np.array([IGNORED, *text[1:]]),
            distances=np.array([0, *(int(token >= ordinary) for token in text[:-1])]),
        )


@lru_cache
def _orders(symbols: int) -> Int64[np.ndarray, "symbols symbols"]:
    raw = stream(symbols)
    return np.stack([np.argsort(raw(symbols), kind="stable") for _ in range(symbols)])
