"""Figures that are compared by their data, say where it came from, and are described in words."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from numpy.typing import ArrayLike

from longctx.reporting.intervals import interval
from longctx.reporting.style import look, redraw_command

_PIXEL_RATIO = 2  # sharp on a retina screen; the page shows it at half its pixels


@runtime_checkable
class Keyed(Protocol):
    """A record: its key names it."""

    @property
    def key(self) -> str: ...


def show(
    figure: Figure,
    *,
    alt: str,
    caption: str | None = None,
    records: Iterable[str | Keyed] = (),
    command: str | None = None,
    name: str | None = None,
) -> None:
    """Display a figure with alt text and a caption, and print what was plotted and where it came from.

    The image cannot be compared across machines; the printed line can: it names the series, counts their
    points and holds a digest of the plotted values.

    Args:
        figure: closed after it is shown.
        alt: what the figure shows, for who cannot see it: the quantities and the finding, in a sentence.
        caption: one sentence below the figure, in plain Markdown: the site does not read maths in outputs.
        records: the records drawn from, or their keys; none means the values were computed in the notebook.
        command: what redraws it; by default the notebook named to `use_style`.
        name: under which other pages show the same figure: refreshing the notebook writes NAME.png.

    Raises:
        ValueError: ``alt`` is empty or only a word, or no command is known.
    """
    if len(alt.split()) < 4:
        raise ValueError(f"alt: describe in a sentence what the figure shows, given {alt!r}")
    command = command or redraw_command()
    if command is None:
        raise ValueError(
            "command: say what redraws this figure, or name the notebook: use_style('01_attention')"
        )
    alt = " ".join(alt.split())
    image = b64encode(png(figure)).decode("ascii")
    display(
        {"image/png": image, "text/plain": alt},
        raw=True,
        metadata={"image/png": _metadata(figure, alt, name)},
    )
    if caption:
        display({"text/markdown": f"*{caption.strip()}*", "text/plain": caption.strip()}, raw=True)
    print(describe(figure))
    print(f"{provenance(records)} · redraw: {command}")
    plt.close(figure)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, at twice its size on the page."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=figure.dpi * _PIXEL_RATIO,
        metadata={"Software": None},
        pil_kwargs={"optimize": True},
    )
    return buffer.getvalue()


def _metadata(figure: Figure, alt: str, name: str | None) -> dict[str, object]:
    # needs_background: JupyterLab's dark theme then puts a light ground behind the transparent image
    width = round(figure.get_figwidth() * figure.dpi)
    named = {} if name is None else {"name": name}
    return {"alt": alt, "width": width, "needs_background": "light", **named}


def provenance(records: Iterable[str | Keyed]) -> str:
    """``drawn from 5 records (1f2e3d4c, …)``: which records a figure was drawn from."""
    keys = sorted({(r if isinstance(r, str) else r.key)[:8] for r in records})
    if not keys:
        return "drawn from values computed above"
    shown = ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")
    return f"drawn from {len(keys)} record{'s' if len(keys) > 1 else ''} ({shown})"


def describe(figure: Figure) -> str:
    """``figure: 2 series (rope, alibi) × 5 points, data 1f2e3d4c5b6a``."""
    parts = []
    series = [(name, n) for axes in _axes(figure) for name, n in _series(axes)]
    if series:
        counts = sorted({n for _, n in series})
        points = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
        names = ", ".join(dict.fromkeys(name for name, _ in series if name))
        parts.append(f"{len(series)} series{f' ({names})' if names else ''} × {points} points")
    images = [image.get_array() for axes in _axes(figure) for image in axes.images]
    if images:
        shapes = dict.fromkeys("×".join(map(str, a.shape)) for a in images if a is not None)
        parts.append(f"{len(images)} image{'s' if len(images) > 1 else ''} {', '.join(shapes)}")
    return f"figure: {', '.join(parts) or 'no series'}, data {digest(figure)}"


def digest(figure: Figure) -> str:
    """Twelve hexadecimal digits that depend on every plotted value, to 4 digits, and on nothing else.

    Lines, bars and other patches, filled bands, scatters and images count; colours, sizes, labels and
    limits do not. Values below 1e-9 of the largest of their series count as zero, as they are rounding noise.
    """
    hashed = hashlib.sha256()
    for axes in _axes(figure):
        hashed.update(b"axes;")
        for values in _values(axes):
            hashed.update(_stable(values).encode() + b";")
    return hashed.hexdigest()[:12]


def _axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def _series(axes: Axes) -> Iterator[tuple[str, int]]:
    def name(label: object) -> str:
        return "" if str(label).startswith("_") else str(label)

    for line in axes.lines:
        # guide lines (axvline, a diagonal) carry no series of their own
        if name(line.get_label()) or len(line.get_xdata()) > 2:  # type: ignore[arg-type]
            yield name(line.get_label()), len(line.get_xdata())  # type: ignore[arg-type]
    for container in axes.containers:
        if isinstance(container, BarContainer):
            yield name(container.get_label()), len(container.patches)
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            yield name(collection.get_label()), len(collection.get_offsets())  # type: ignore[arg-type]


def _values(axes: Axes) -> Iterator[np.ndarray]:
    for line in axes.lines:
        yield np.asarray(line.get_xdata(orig=False))
        yield np.asarray(line.get_ydata(orig=False))
    for patch in axes.patches:
        if not isinstance(patch, FancyArrowPatch):  # an arrow's outline depends on the resolution
            yield np.asarray(patch.get_patch_transform().transform(patch.get_path().vertices))
    for collection in axes.collections:
        yield from _collected(collection)
    for image in axes.images:
        yield np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), np.nan)


def _collected(collection: Collection) -> Iterator[np.ndarray]:
    if isinstance(collection, PathCollection):  # a scatter: where its markers stand, not how they look
        yield np.asarray(collection.get_offsets())
    else:
        for path in collection.get_paths():
            yield np.asarray(path.vertices)
    colours = collection.get_array()
    if colours is not None:
        yield np.ma.filled(np.ma.asarray(colours, dtype=np.float64), np.nan)


def _stable(values: np.ndarray) -> str:
    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = np.abs(flat[np.isfinite(flat)])
    noise = 1e-9 * finite.max() if finite.size else 0.0
    return ",".join("0" if abs(v) <= noise else f"{v:.3e}" for v in flat)


def band(
    axes: Axes,
    x: ArrayLike,
    runs: ArrayLike,
    label: str,
    *,
    look_as: str | None = None,
) -> None:
    """Draw the mean over seeds as a line, in the look of its name, and the 95 % interval as a shaded band.

    Args:
        axes: where to draw.
        x: the points' abscissae, one a column of ``runs``.
        runs: seeds × points; at least two seeds.
        label: the series' name in the legend.
        look_as: the encoding or pattern whose look to take, where the label is not its name.

    Raises:
        ValueError: ``runs`` is not seeds × points.
    """
    points = np.asarray(x, dtype=np.float64)
    values = np.asarray(runs, dtype=np.float64)
    if values.ndim != 2 or values.shape[1:] != points.shape:
        raise ValueError(f"runs: must be seeds × {points.size} points, given shape {values.shape}")
    intervals = [interval(column) for column in values.T]
    mean = np.array([i.mean for i in intervals])
    half = np.array([i.half_width for i in intervals])
    style = look(look_as or label)
    axes.plot(points, mean, label=label, **style.line)
    axes.fill_between(points, mean - half, mean + half, color=style.color, alpha=0.18, linewidth=0)


def length_axis(axes: Axes, lengths: ArrayLike, *, label: str = "context length (tokens)") -> None:
    """Make the abscissa a logarithmic one with a tick at each length: 128, 512, 1k, 16k."""
    values = [int(length) for length in np.asarray(lengths)]
    texts = [f"{v // 1024}k" if v >= 1024 and v % 1024 == 0 else str(v) for v in values]
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, texts)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label)
