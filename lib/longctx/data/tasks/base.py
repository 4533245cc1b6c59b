"""What a task is: problems of any size with one right answer, written as tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from longctx.registry import ConfigRegistry, StrategyConfig
from longctx.streams import Raw, below, stream

#: Raised when a task's problems change, so that records of the old ones are not used.
VERSION = 1
#: The target where nothing is asked.
IGNORED = -100


class Problem(NamedTuple):
    """One problem: what is read, what is asked at each place, and how far back the evidence lies."""

    inputs: Int64[np.ndarray, " tokens"]
    #: The token to predict at each place, or `IGNORED`.
    targets: Int64[np.ndarray, " tokens"]
    #: From each place back to the farthest token that its answer depends on first of all; 0 if not asked.
    distances: Int64[np.ndarray, " tokens"]


class Batch(NamedTuple):
    """Problems side by side, filled up at the end with tokens that no answer depends on."""

    inputs: Int64[Tensor, "batch length"]
    targets: Int64[Tensor, "batch length"]
    distances: Int64[Tensor, "batch length"]


class Task(StrategyConfig):
    """A kind of problem. A task is its own config."""

    @property
    def vocab_size(self) -> int:
        """Tokens that its problems use."""
        raise NotImplementedError

    def largest(self, length: int) -> int:
        """The size of the largest problem that fits ``length`` tokens; below 1 if none does."""
        raise NotImplementedError

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        """A random problem of ``size`` in at most ``length`` tokens."""
        raise NotImplementedError

    def batch(self, *, length: int, batch_size: int, names: tuple[int, ...], hardest: bool = False) -> Batch:
        """Problems of random sizes that fit ``length`` tokens: a pure function of its arguments.

        Args:
            names: of the stream of random numbers, such as a seed and a step.
            hardest: only problems of the largest size.

        Raises:
            ValueError: no problem fits.
        """
        if (largest := self.largest(length)) < 1:
            raise ValueError(f"length: given {length}, too short for any problem of {self}")
        raw = stream(*names)
        sizes = np.full(batch_size, largest) if hardest else 1 + below(raw(batch_size), largest)
        filled = np.zeros((3, batch_size, length), dtype=np.int64)
        filled[1] = IGNORED
        for row, size in enumerate(sizes.tolist()):
            problem = self.problem(size, length, raw)
            for part, values in enumerate(problem):
                filled[part, row, : len(values)] = values
        return Batch(*(torch.from_numpy(part) for part in filled))


TASKS = ConfigRegistry(Task, "task", "longctx.tasks")
register = TASKS.register_config
build_task = TASKS.build


def asked(
    question: Int64[np.ndarray, " m"], answer: Int64[np.ndarray, " n"], evidence: Int64[np.ndarray, " n"]
) -> Problem:
    """A question, then its answer token by token, each predicted from what stands before it.

    Args:
        question: ends with the token that asks.
        answer: its tokens.
        evidence: the place in the question of what each token of the answer depends on.
    """
    silent = len(question) - 1
    places = silent + np.arange(len(answer))
    return Problem(
        inputs=np.concatenate([question, answer[:-1]]),
        targets=np.concatenate([np.full(silent, IGNORED), answer]),
        distances=np.concatenate([np.zeros(silent, dtype=np.int64), places - evidence]),
    )
