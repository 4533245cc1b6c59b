"""The one plotting style, and the fixed look of every encoding and pattern.

Figures are drawn on a transparent ground with dark ink: legible on a light page, and, where the site turns
images over in dark mode, on a dark one. A name has the same colour, line and marker in every figure, and two
names never differ by colour alone.
"""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any, NamedTuple

import matplotlib as mpl
from cycler import cycler

INK = "#14142b"
INDIGO = "#332288"
WINE = "#882255"
FOREST = "#166a30"
BLUE = "#0072b2"
VERMILLION = "#d55e00"
PINK = "#cc79a7"

#: Seven colours in order of lightness, at least 6 steps of CIE L* apart: different in greyscale too, and each
#: with a contrast of 3:1 or more against white.
PALETTE = (INK, INDIGO, WINE, FOREST, BLUE, VERMILLION, PINK)

Dashes = tuple[float, tuple[float, ...]]
_LINES: tuple[str | Dashes, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0.0, (6.0, 1.5, 1.0, 1.5, 1.0, 1.5)),
    (0.0, (9.0, 2.0)),
)
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*", "<", ">", "h", "d")


class Look(NamedTuple):
    """How one series is drawn; ``**look("rope").line`` goes into ``ax.plot``."""

    color: str
    linestyle: str | Dashes
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """The keyword arguments of ``Axes.plot``."""
        return self._asdict()


#: The names of the literature; a name without a row gets a look derived from its spelling.
LOOKS: dict[str, Look] = {
    "rope": Look(BLUE, _LINES[0], "o"),
    "alibi": Look(VERMILLION, _LINES[1], "s"),
    "sinusoidal": Look(FOREST, _LINES[2], "^"),
    "learned": Look(WINE, _LINES[3], "D"),
    "nope": Look(INK, _LINES[4], "X"),
    "t5": Look(INDIGO, _LINES[5], "v"),
    "kerple": Look(PINK, _LINES[0], "P"),
    "fire": Look(PINK, _LINES[2], "*"),
    "p_rope": Look(BLUE, _LINES[1], "d"),
    "sandwich": Look(FOREST, _LINES[1], "<"),
    "dynamic_bias": Look(INDIGO, _LINES[3], ">"),
    "xpos": Look(BLUE, _LINES[2], "P"),
    "pope": Look(BLUE, _LINES[3], "X"),
    "rerope": Look(WINE, _LINES[1], "v"),
    "self_extend": Look(PINK, _LINES[5], "s"),
    "dual_chunk": Look(VERMILLION, _LINES[4], "h"),
    "transformer_xl": Look(INDIGO, _LINES[1], "o"),
    "shaw": Look(FOREST, _LINES[5], "X"),
    "deberta": Look(WINE, _LINES[5], "^"),
    "cope": Look(PINK, _LINES[3], "d"),
    "fox": Look(VERMILLION, _LINES[3], "*"),
    "full": Look(INK, _LINES[0], "s"),
    "sliding_window": Look(BLUE, _LINES[1], "^"),
    "block_local": Look(VERMILLION, _LINES[2], "D"),
    "dilated_window": Look(FOREST, _LINES[3], "v"),
    "strided": Look(WINE, _LINES[4], "P"),
    "fixed": Look(INDIGO, _LINES[2], "h"),
    "longformer": Look(INDIGO, _LINES[0], "<"),
    "bigbird": Look(PINK, _LINES[1], ">"),
    "sinks": Look(FOREST, _LINES[0], "d"),
    "logsparse": Look(PINK, _LINES[4], "v"),
    "longnet": Look(BLUE, _LINES[4], "h"),
    "prefix_lm": Look(INK, _LINES[2], "<"),
    "documents": Look(WINE, _LINES[2], ">"),
    "vertical_slash": Look(VERMILLION, _LINES[5], "d"),
    "moba": Look(WINE, _LINES[0], "*"),
    "lsh": Look(INDIGO, _LINES[4], "P"),
    "routing": Look(BLUE, _LINES[5], "D"),
    "top_k": Look(FOREST, _LINES[2], "X"),
    "linear": Look(BLUE, _LINES[2], "v"),
    "performer": Look(PINK, _LINES[3], "P"),
    "gated_delta": Look(WINE, _LINES[1], "D"),
    "nsa": Look(VERMILLION, _LINES[0], "P"),
    "dsa": Look(VERMILLION, _LINES[2], "p"),
}


def look(name: str) -> Look:
    """The look of an encoding or a pattern, by its name (parameters in brackets are ignored)."""
    name = name.partition("(")[0].strip()
    return LOOKS.get(name) or _derived(name)


def _derived(name: str) -> Look:
    taken = set(LOOKS.values())
    free = [each for each in (Look(*t) for t in product(PALETTE, _LINES, _MARKERS)) if each not in taken]
    return free[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(free)]


_RC: dict[str, Any] = {
    "figure.figsize": (5.6, 3.4),  # CSS pixels / 100: large enough type when a phone shrinks it to 340
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(
        color=[BLUE, VERMILLION, FOREST, WINE, INK, PINK], linestyle=["-", "--", "-.", ":", "-", "--"]
    ),
    "grid.color": "#8a8fa3",
    "grid.alpha": 0.35,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 3.2,  # long enough to show a dash pattern
    "lines.linewidth": 1.9,
    "lines.markersize": 5.5,
    "image.cmap": "cividis",  # even in lightness, and the same to colour-blind readers
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
}

_notebook: str | None = None


def use_style(notebook: str | None = None) -> None:
    """Set the book's matplotlib style.

    Args:
        notebook: the calling notebook's name, so that `show` can print the command that redraws a figure.
    """
    global _notebook
    mpl.rcParams.update(_RC)  # type: ignore[arg-type]
    _notebook = notebook


def redraw_command() -> str | None:
    """The command that reruns the notebook named to `use_style`."""
    return f"longctx notebook {_notebook}" if _notebook else None
