"""Is my number normal? Where a new run lies among the seeds of a committed one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Band(NamedTuple):
    """The spread of a metric over its seeds, and the range in which a further run is expected."""

    mean: float
    deviation: float
    half_width: float
    seeds: int

    def contains(self, value: float) -> bool:
        """Whether ``value`` is what one more seed might give."""
        return abs(value - self.mean) <= self.half_width

    def describe(self, value: float, *, name: str = "value", spec: str = ".3f") -> str:
        """One sentence: inside the band or not, and by how many standard deviations."""
        low, high = self.mean - self.half_width, self.mean + self.half_width
        where = "inside" if self.contains(value) else "OUTSIDE"
        away = value - self.mean
        if away == 0:
            distance = "exactly at their mean"
        elif self.deviation == 0:
            distance = f"{abs(away):.2g} from the one value they share"
        else:
            side = "above" if away > 0 else "below"
            distance = f"{abs(away) / self.deviation:.1f} standard deviations {side} their mean"
        return (
            f"{name} {value:{spec}} lies {where} the 95 % band {low:{spec}} … {high:{spec}} "
            f"of {self.seeds} seeds, {distance}"
        )


def band_of(values: ArrayLike, *, level: float = 0.95) -> Band:
    r"""The band in which one more run is expected: Student's prediction interval.

    $$\bar x \pm t_{n-1}\, s\,\sqrt{1 + 1/n}$$

    Wider than the interval of the mean: that one says where the average is, this one where a run may fall.

    Raises:
        ValueError: fewer than two values, or a value that is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size < 2:
        raise ValueError(f"values: a band needs at least two seeds, given shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"values: must be finite, given {x.tolist()}")
    s = float(x.std(ddof=1))
    t = float(stats.t.ppf(0.5 + level / 2, x.size - 1))
    return Band(float(x.mean()), s, t * s * float(np.sqrt(1 + 1 / x.size)), int(x.size))
