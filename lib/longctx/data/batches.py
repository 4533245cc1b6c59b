"""Training batches: random windows of a token stream, a pure function of the seed and the step.

Nothing is remembered between steps, so resuming at step ``n`` needs no state, and every model trained with
the same seed sees the same windows in the same order.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64, UInt16
from torch import Tensor

from longctx.streams import below, stream


def batch(
    tokens: UInt16[np.ndarray, " tokens"], *, length: int, batch_size: int, seed: int, step: int
) -> tuple[Int64[Tensor, "batch length"], Int64[Tensor, "batch length"]]:
    """Draw ``batch_size`` windows uniformly, with replacement; targets are the inputs one token later.

    Args:
        tokens: a split's tokens.
        length: tokens per window, at most ``len(tokens) - 1``.
        batch_size: windows.
        seed: names the order of the data; ≥ 0.
        step: optimiser step (or micro-batch), counted from 0.

    Raises:
        ValueError: an argument outside its range.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("step", step, 0)):
        if value < least:
            raise ValueError(f"{name}: given {value}, must be ≥ {least}")
    if not 1 <= length < len(tokens):
        raise ValueError(f"length: given {length}, valid are 1 … {len(tokens) - 1} for {len(tokens)} tokens")
    starts = below(stream(seed, step)(batch_size), len(tokens) - length)
    windows = np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64)
    drawn = torch.from_numpy(windows)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
