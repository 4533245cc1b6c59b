"""Sphinx extension: every script is served with the site, nothing is asked of another host.

MathJax comes from the installed ``sphinx-mathjax-offline``; Mermaid from where ``book/vendor.py`` puts the
version that ``book/package-lock.json`` pins. Both are classic scripts, so that the pages also work when
opened as files, where browsers refuse to load modules.
"""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib.mermaid import mermaid

sys.path.insert(0, str(Path(__file__).parents[1]))
import vendor

MERMAID = "mermaid.tiny.js"
# The renderer, and what its accessibility menu loads on demand.
MATHJAX_PARTS = ("tex-svg-full.js", "a11y", "sre")
MATHJAX_CONFIG = {
    # An undefined macro would be printed in red without a word; as an error node the tests find it.
    "tex": {"packages": {"[-]": ["noundefined", "noerrors"]}},
    "svg": {"fontCache": "local"},
}
SILENCED = {
    "html-page-context": ("sphinxcontrib.mermaid",),
    "builder-inited": ("sphinx_thebe",),
    "env-before-read-docs": ("sphinx_thebe",),
    "doctree-resolved": ("sphinx_thebe",),
}


def configure(app: Sphinx, config: Config) -> None:
    """Point MathJax at our copy; silence Mermaid's loader, an ES module, and Thebe, which is elsewhere."""
    config.mathjax_path = "vendor/mathjax/tex-svg-full.js"
    config.mathjax3_config = MATHJAX_CONFIG
    for event, owners in SILENCED.items():
        for listener in list(app.events.listeners[event]):
            if listener.handler.__module__ in owners:
                app.disconnect(listener.id)
    app.registry.css_files[:] = [entry for entry in app.registry.css_files if entry[0] != "sphinx-thebe.css"]


def add_diagrams(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Add Mermaid to the pages that have a diagram."""
    if doctree is not None and doctree.next_node(mermaid):  # type: ignore[attr-defined]
        app.add_js_file(f"vendor/{MERMAID}")
        app.add_js_file("diagrams.js")


def copy_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Copy the vendored scripts next to the pages."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "vendor")
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: run `make setup`")
    mathjax = Path(spec.origin).parent / "static" / "mathjax"
    for part in MATHJAX_PARTS:
        copy(mathjax / part, target / "mathjax" / part)
    script = vendor.location()
    if not script.is_file():
        raise ExtensionError(f"{script} is missing: build with `make book`, which fetches it")
    copy(script, target / MERMAID)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder to ``target``."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", configure, priority=1)
    app.connect("html-page-context", add_diagrams)
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
