"""Series stay apart in greyscale and for colour-blind readers, and a name keeps its look."""

from __future__ import annotations

from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb

from longctx.attention import MIXERS
from longctx.attention.patterns.base import PATTERNS
from longctx.positions.base import POSITIONS
from longctx.reporting.style import LOOKS, PALETTE, look, use_style


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def lightness(color):
    return 116 * max(luminance(color), 0.008856) ** (1 / 3) - 16


def test_palette_is_ordered_and_distinct_in_greyscale():
    values = [lightness(color) for color in PALETTE]
    assert all(b - a >= 6 for a, b in pairwise(values)), values


def test_palette_stands_out_from_a_white_page():
    assert min(1.05 / (luminance(color) + 0.05) for color in PALETTE) >= 3


@pytest.mark.parametrize("registry", [POSITIONS, PATTERNS, MIXERS], ids=lambda registry: registry.kind)
def test_every_registered_name_has_a_look_of_its_own(registry):
    names = [entry.name for entry in registry]
    looks = {name: look(name) for name in names}
    assert len(set(looks.values())) == len(names), looks
    built_in = {entry.name for entry in registry if entry.target.__module__.startswith("longctx.")}
    assert not built_in - {"both", "either"} - set(LOOKS), "add a row to LOOKS"


@pytest.mark.parametrize(
    "names",
    [("rope", "alibi", "sinusoidal", "learned", "nope", "t5"), ("full", "sliding_window", "block_local")],
    ids=["encodings", "patterns"],
)
def test_series_of_one_comparison_differ_in_line_and_marker_too(names):
    for a, b in combinations(names, 2):
        assert look(a).linestyle != look(b).linestyle
        assert look(a).marker != look(b).marker


def test_all_looks_are_distinct():
    assert len(set(LOOKS.values())) == len(LOOKS)


def test_parameters_do_not_change_a_look():
    assert look("sliding_window(window=256)") == look("sliding_window")


def test_an_unknown_name_gets_a_stable_look_that_no_listed_name_has():
    assert look("my_encoding") == look("my_encoding")
    assert look("my_encoding") not in LOOKS.values()
    assert look("my_encoding") != look("another_encoding")


def test_every_look_can_be_drawn():
    use_style()
    figure, axes = plt.subplots()
    for name in LOOKS:
        axes.plot([1, 2], [1, 2], label=name, **look(name).line)
    figure.canvas.draw()
    plt.close(figure)
