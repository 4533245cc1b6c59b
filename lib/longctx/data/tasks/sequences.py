"""Copying a sequence, forwards and backwards."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from longctx.data.tasks.base import Problem, Task, asked, register
from longctx.streams import Raw, below

Symbols = Annotated[int, Field(ge=2)]


class _OfASequence(Task):
    """Tokens 0 … symbols − 1 in any order, then the token that asks, then an answer as long."""

    symbols: Symbols = 30

    @property
    def vocab_size(self) -> int:
        return self.symbols + 1

    def largest(self, length: int) -> int:
        return length // 2

    def order(self, sequence: np.ndarray) -> np.ndarray:
        """The place of every token of the answer in the sequence."""
        raise NotImplementedError

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        sequence = below(raw(size), self.symbols)
        order = self.order(sequence)
        return asked(np.append(sequence, self.symbols), sequence[order], order)


@register(source="https://arxiv.org/abs/2305.19466")
class Copy(_OfASequence):
    """Say the sequence again."""

    name: Literal["copy"] = "copy"

    def order(self, sequence: np.ndarray) -> np.ndarray:
        return np.arange(len(sequence))


@register(source="https://arxiv.org/abs/2305.19466")
class Reverse(_OfASequence):
    """Say the sequence backwards."""

    name: Literal["reverse"] = "reverse"

    def order(self, sequence: np.ndarray) -> np.ndarray:
        return np.arange(len(sequence))[::-1]


@register(source="https://arxiv.org/abs/2305.19466")
class Sort(_OfASequence):
    """Say the sequence in order, smallest token first."""

    name: Literal["sort"] = "sort"

    def order(self, sequence: np.ndarray) -> np.ndarray:
        return np.argsort(sequence, kind="stable")
