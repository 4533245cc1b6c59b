"""Random numbers that never change: the raw output of a named stream, which NumPy promises to keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64, UInt64

#: (n) → n random 64-bit numbers.
Raw = Callable[[int], UInt64[np.ndarray, " n"]]


def stream(*names: int) -> Raw:
    """The stream that some non-negative numbers name, such as a seed and a step, from its beginning."""
    return np.random.Philox(np.random.SeedSequence(names)).random_raw


def below(raw: UInt64[np.ndarray, " n"], limit: int) -> Int64[np.ndarray, " n"]:
    """Random numbers brought into 0 … limit − 1."""
    return (raw % np.uint64(limit)).astype(np.int64)
