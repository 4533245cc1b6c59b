"""Both sides of an equation, compared where a reader sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Side = Tensor | np.ndarray | np.floating | float | int | Sequence[Any]


def agree(what: str, left: Side, right: Side, *, within: float = 1e-10) -> None:
    """Print that both sides agree, or stop.

    The bound is printed rather than the difference itself, whose last digits vary from machine to machine.

    Args:
        what: the equation or the two things compared, in words.
        left: one side, computed one way.
        right: the other side, computed another way.
        within: largest difference allowed, relative to the largest entry where that exceeds 1.

    Raises:
        ValueError: the shapes differ.
        AssertionError: the sides differ, or hold a number that is not finite.
    """
    # dtype given at once: torch reads a Python number as float32
    a, b = (torch.as_tensor(side, dtype=torch.float64).detach() for side in (left, right))
    if a.shape != b.shape:
        raise ValueError(f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    difference = float((a - b).abs().max()) if a.numel() else 0.0
    bound = within * max(1.0, float(b.abs().max()) if b.numel() else 0.0)
    if not (torch.isfinite(a).all() and torch.isfinite(b).all() and difference <= bound):
        raise AssertionError(f"{what}: the sides differ by {difference:.3g}, more than {bound:.3g}")
    print(f"✓ {what}: " + ("exactly equal" if within == 0 else f"equal within {within:g}"))
