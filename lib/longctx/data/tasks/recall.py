"""Associative recall: which value was said with a key (Arora et al., 2023, as multi-query recall)."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from longctx.data.tasks.base import IGNORED, Problem, Task, register
from longctx.streams import Raw, below

#: Tokens of context for each pair: two that hold it, and six questions.
TOKENS_PER_PAIR = 8


@register(source="https://arxiv.org/abs/2312.04927")
class Recall(Task):
    """Read pairs of a key and a value, then say the value of each key that follows.

    Keys are 0 … keys − 1, values the tokens after them. A quarter of the context holds the pairs of the
    largest problem; every place behind the pairs asks.
    """

    name: Literal["recall"] = "recall"
    keys: Annotated[int, Field(ge=2)] = 64
    values: Annotated[int, Field(ge=2)] = 32

    @property
    def vocab_size(self) -> int:
        return self.keys + self.values

    def largest(self, length: int) -> int:
        return min(length // TOKENS_PER_PAIR, self.keys)

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        keys = np.argsort(raw(self.keys), kind="stable")[:size]
        values = self.keys + below(raw(size), self.values)
        pairs = np.stack([keys, values], axis=1).ravel()
        asked = below(raw(length - 2 * size), size)
        places = np.arange(2 * size, length)
        return Problem(
            inputs=np.concatenate([pairs, keys[asked]]),
            targets=np.concatenate([np.full(2 * size, IGNORED), values[asked]]),
            distances=np.concatenate([np.zeros(2 * size, dtype=np.int64), places - (2 * asked + 1)]),
        )
