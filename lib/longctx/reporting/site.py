"""How the built site shows a figure: with its alt text, and ready for dark mode.

myst-nb drops the alt text that a notebook's image output carries. This renderer, found through the
entry-point group ``myst_nb.mime_renderers``, puts it back, and marks the image so that the site's style sheet
may turn it over (``filter: invert() hue-rotate()``) in dark mode instead of dimming it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

#: ``dark-light`` switches the theme's own dimming off; ``longctx-figure`` is what the style sheet selects.
CLASSES = ("dark-light", "longctx-figure")


class FigureRenderer:
    """A myst-nb MIME renderer for images that carry alt text."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = ()

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[Any] | None:
        """The image node with its alt text; None leaves every other output to myst-nb."""
        alt = data.output_metadata.get("image/png", {}).get("alt") if data.mime_type == "image/png" else None
        if not alt:
            return None
        nodes: list[Any] = renderer.render_image(data)
        for node in nodes:
            node["alt"] = alt
            node["classes"] = [*node.get("classes", []), *CLASSES]
        return nodes
