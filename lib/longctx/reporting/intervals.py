"""Means with intervals over seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """A mean and the half-width of its confidence interval; ``f"{i:.2f}"`` gives ``3.41 ± 0.02``."""

    mean: float
    half_width: float

    def __format__(self, spec: str) -> str:
        width_spec = spec.removeprefix("+")  # a half-width has no sign
        return f"{self.mean:{spec}} ± {self.half_width:{width_spec}}"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return abs(self.mean) > self.half_width


def interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    r"""Mean and half-width of Student's interval over seeds.

    $$\bar x \pm t_{n-1}\,\frac{s}{\sqrt n}$$

    Args:
        values: one number a seed, at least two.
        level: coverage, between 0 and 1.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a level outside (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size < 2:
        raise ValueError(f"values: an interval needs at least two seeds, given shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"values: must be finite, given {x.tolist()}")
    if not 0 < level < 1:
        raise ValueError(f"level: must lie between 0 and 1, given {level}")
    t = stats.t.ppf(0.5 + level / 2, x.size - 1)
    return Interval(float(x.mean()), float(t * x.std(ddof=1) / np.sqrt(x.size)))


def paired_interval(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean and half-width of ``a − b``, paired by seed: what the seeds share cancels.

    Raises:
        ValueError: different numbers of seeds, or what `interval` refuses.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"a, b: paired values need the same seeds, given shapes {x.shape} and {y.shape}")
    return interval(x - y, level=level)


def verdict(found: Interval, threshold: float) -> str:
    """What an interval says of the claim that its quantity lies below a threshold.

    Returns:
        "reproduced" or "contradicted" if the whole interval lies below or above, else "undecided".
    """
    if found.mean + found.half_width < threshold:
        return "reproduced"
    return "contradicted" if found.mean - found.half_width > threshold else "undecided"
