"""Which pages the site must have: what _toc.yml lists, and what Sphinx adds."""

from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
ADDED_BY_SPHINX = ("genindex", "search")


def entries(node: object) -> Iterator[str]:
    """Every ``root`` and ``file`` below a node of _toc.yml, in reading order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from entries(value)
    elif isinstance(node, list):
        for item in node:
            yield from entries(item)


def listed_pages() -> list[str]:
    """The pages of _toc.yml, without suffix."""
    return [
        name.removesuffix(".md").removesuffix(".ipynb")
        for name in entries(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    ]
