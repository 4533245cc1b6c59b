"""A figure's digest follows its data and nothing else; a figure without words or origin is refused."""

from __future__ import annotations

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from longctx.reporting import band, digest, figures, length_axis, show, use_style

matplotlib.use("agg")
ALT = "loss falls as the context grows"


@pytest.fixture(autouse=True)
def _style():
    use_style("00_test")
    yield
    use_style()
    plt.close("all")


def draw(
    *,
    bump=0.0,
    color="k",
    width=1.0,
    size=(4, 3),
    image_bump=0.0,
    bar_bump=0.0,
    scatter_bump=0.0,
    mesh_bump=0.0,
):
    figure, axes = plt.subplots(1, 5, figsize=size)
    axes[0].plot([1, 2, 3], [4.0, 5.0, 6.0 + bump], label="rope", color=color, linewidth=width)
    axes[0].axhline(4.5, color=color)
    axes[1].bar([0, 1], [2.0, 3.0 + bar_bump], color=color, label="bars")
    axes[2].scatter([1, 2], [3.0, 4.0 + scatter_bump], s=30 * width)
    axes[3].imshow(np.arange(6.0).reshape(2, 3) + image_bump)
    mesh = axes[4].pcolormesh(np.arange(4.0).reshape(2, 2) + mesh_bump)
    figure.colorbar(mesh)
    return figure


@pytest.mark.parametrize("part", ["bump", "image_bump", "bar_bump", "scatter_bump", "mesh_bump"])
def test_digest_changes_with_any_plotted_value(part):
    assert digest(draw(**{part: 0.01})) != digest(draw())


def test_digest_ignores_colour_width_and_size():
    assert digest(draw(color="r", width=3.0, size=(9, 5))) == digest(draw())


def test_digest_ignores_rounding_noise_but_not_the_fourth_digit():
    assert digest(draw(bump=1e-12)) == digest(draw())
    assert digest(draw(bump=2e-3)) != digest(draw())


def test_digest_of_values_that_should_be_zero_ignores_their_noise():
    def of(values):
        figure, axes = plt.subplots()
        axes.plot(values)
        return digest(figure)

    assert of([1.0, 3e-17, -2e-17]) == of([1.0, -1e-16, 0.0])


def test_digest_changes_with_the_band_even_where_the_mean_stays():
    def of(spread):
        figure, axes = plt.subplots()
        band(axes, [1, 2], [[1.0 - spread, 2.0], [1.0 + spread, 2.0]], "rope")
        return digest(figure)

    assert of(0.1) != of(0.2)


def test_band_refuses_runs_of_another_shape():
    _, axes = plt.subplots()
    with pytest.raises(ValueError, match="seeds × 3 points"):
        band(axes, [1, 2, 3], [[1.0, 2.0]], "rope")


def test_line_names_series_and_counts_points_and_skips_guides():
    text = figures.describe(draw())
    assert text.startswith("figure: 3 series (rope, bars) × 2–3 points, 1 image 2×3, data ")


@pytest.mark.parametrize("alt", ["", "   ", "a plot"])
def test_alt_text_is_required(alt):
    with pytest.raises(ValueError, match="alt"):
        show(draw(), alt=alt)


def test_command_is_required():
    use_style()
    with pytest.raises(ValueError, match="command"):
        show(draw(), alt=ALT)


def test_show_prints_data_records_and_command_and_closes(capsys, monkeypatch):
    outputs = []
    monkeypatch.setattr(figures, "display", lambda data, raw, metadata=None: outputs.append((data, metadata)))
    figure = draw()
    show(figure, alt=ALT, caption="A caption.", records=["abcdef0123456789", "0123456789abcdef"])
    assert capsys.readouterr().out == (
        f"{figures.describe(figure)}\n"
        "drawn from 2 records (01234567, abcdef01) · redraw: longctx notebook 00_test\n"
    )
    assert outputs[0][1]["image/png"]["alt"] == ALT
    assert outputs[0][0]["text/plain"] == ALT
    assert outputs[1][0]["text/markdown"] == "*A caption.*"
    assert not plt.fignum_exists(figure.number)


def test_png_is_transparent_and_has_retina_pixels():
    image = Image.open(io.BytesIO(figures.png(draw(size=(4, 3)))))
    assert image.size == (800, 600)
    assert image.convert("RGBA").getpixel((0, 0))[3] == 0


def test_site_renderer_restores_the_alt_text_and_leaves_other_outputs_alone():
    from types import SimpleNamespace

    from longctx.reporting.site import FigureRenderer

    renderer = SimpleNamespace(render_image=lambda data: [{"classes": ["old"]}])
    with_alt = SimpleNamespace(mime_type="image/png", output_metadata={"image/png": {"alt": ALT}})
    (node,) = FigureRenderer.handle_mime(renderer, with_alt, False)
    assert node["alt"] == ALT
    assert "longctx-figure" in node["classes"]
    assert "old" in node["classes"]
    without = SimpleNamespace(mime_type="image/png", output_metadata={})
    assert FigureRenderer.handle_mime(renderer, without, False) is None


def test_length_axis_labels_every_length():
    figure, axes = plt.subplots()
    length_axis(axes, [128, 1000, 1024, 65536])
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["128", "1000", "1k", "64k"]
