"""Perplexity by context length, on the same target tokens at every length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, Integer
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, field_validator
from torch import Tensor

from longctx.model import Transformer
from longctx.objectives import token_losses

Protocol = Literal["non_overlapping", "sliding"]
#: Ways to read a stream of which a model holds ``length`` tokens at a time: see `evaluate_stream`.
Reading = Literal["window", "recomputed", "sinks", "sinks_in_text"]

#: Tokens in one forward pass of the evaluation; bounds its memory.
BATCH_TOKENS = 8192


class LengthResult(BaseModel):
    """How well a model predicts the target tokens when it sees them through windows of one length."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    length: int
    protocol: Protocol | Reading
    #: Mean −log p of the targets, in nats a token.
    loss: float
    #: Targets scored.
    targets: int
    #: Mean loss by place in the window: bin k holds the places below `edges[k]` and not below `edges[k-1]`.
    edges: tuple[int, ...]
    loss_by_position: tuple[float, ...]

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(self.loss)

    @field_validator("loss_by_position")
    @classmethod
    def _one_value_a_bin(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value:
            raise ValueError("loss_by_position must not be empty")
        return value


def evaluate(
    model: Transformer,
    excerpts: Sequence[Integer[ndarray, " _"]],
    *,
    length: int,
    protocol: Protocol,
) -> LengthResult:
    """Score every token of ``excerpts`` but the first of each, through windows of ``length`` tokens.

    ``non_overlapping`` cuts an excerpt into windows side by side: targets see 1 … length tokens.
    ``sliding`` moves the window by half its length and scores only its second half: targets see more than
    length/2 tokens, except in an excerpt's first window (Press et al., 2022, appendix B, with stride 1).
    Both score the same targets, so that lengths and protocols may be compared.

    Args:
        excerpts: token ids, each from one document; windows never cross from one to another.
        length: tokens a window, at most the tokens that an excerpt predicts.

    Raises:
        ValueError: ``length`` is not between 1 and the length of the excerpts less one.
    """
    shortest = min((len(excerpt) for excerpt in excerpts), default=0) - 1
    if not 1 <= length <= shortest:
        raise ValueError(f"length must be between 1 and {shortest} (the excerpts less one), got {length}")
    edges = position_edges(length)
    total, count = np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int64)
    was_training = model.training
    model.eval()
    for inputs, targets, first in _batches(excerpts, length, protocol):
        losses = token_losses(model, inputs, targets).double().cpu().numpy()
        places = np.arange(losses.shape[1])
        bins = np.searchsorted(edges, places, side="right")
        for row, start in zip(losses, first, strict=True):
            np.add.at(total, bins[start:], row[start:])
            np.add.at(count, bins[start:], 1)
    model.train(was_training)
    kept = count > 0
    return LengthResult(
        length=length,
        protocol=protocol,
        loss=float(total.sum() / count.sum()),
        targets=int(count.sum()),
        edges=tuple(np.asarray(edges)[kept].tolist()),
        loss_by_position=tuple((total[kept] / count[kept]).tolist()),
    )


def position_edges(length: int) -> list[int]:
    """Upper edges of bins of places in a window: two an octave, the last one ``length``."""
    edges = {round(2 ** (k / 2)) for k in range(2 * math.ceil(math.log2(max(2, length))) + 1)}
    return sorted({edge for edge in edges if edge < length} | {length})


def _windows(tokens: int, length: int, protocol: Protocol) -> Iterator[tuple[int, int, int]]:
    """(start, stop, first scored place) of every window over ``tokens`` targets."""
    stride = length if protocol == "non_overlapping" else max(1, length // 2)
    scored = 0
    for start in range(0, tokens, stride):
        stop = min(start + length, tokens)
        if stop > scored:
            yield start, stop, scored - start
            scored = stop


def _batches(
    excerpts: Sequence[Integer[ndarray, " _"]], length: int, protocol: Protocol
) -> Iterator[tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"], list[int]]]:
    """Windows of equal size, a few thousand tokens at a time."""
    by_size: dict[int, list[tuple[Integer[ndarray, " _"], int]]] = {}
    for excerpt in excerpts:
        for start, stop, first in _windows(len(excerpt) - 1, length, protocol):
            by_size.setdefault(stop - start, []).append((excerpt[start : stop + 1], first))
    for size, windows in by_size.items():
        rows = max(1, BATCH_TOKENS // size)
        for at in range(0, len(windows), rows):
            some = windows[at : at + rows]
            tokens = torch.from_numpy(np.stack([w for w, _ in some]).astype(np.int64))
            yield tokens[:, :-1], tokens[:, 1:], [first for _, first in some]
