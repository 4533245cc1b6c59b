"""Sphinx extension: the settings that the environment decides, not the repository.

``LONGCTX_REPOSITORY_URL`` is the public address of the repository (``LONGCTX_REPOSITORY_BRANCH``: its branch,
``main`` by default). With it every page gets its source, edit, issue and launch buttons; without it those
buttons are absent rather than broken. ``LONGCTX_BOOK_EXECUTE=off`` shows the committed outputs instead of
running the notebooks. Pages are read one at a time: Sphinx forks its parallel readers, and the fork of a
process that has talked to a kernel can wait for ever.
"""

import os
from urllib.parse import urlparse

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError


def repository_options(url: str, branch: str) -> dict[str, object]:
    """Theme options that turn on the buttons of a public repository.

    Raises ExtensionError if ``url`` is not the address of a repository, such as https://host/owner/name.
    """
    parts = urlparse(url)
    if parts.scheme != "https" or len(parts.path.strip("/").split("/")) < 2:
        raise ExtensionError(f"LONGCTX_REPOSITORY_URL must be https://host/owner/name, not {url!r}")
    options: dict[str, object] = {
        "repository_url": url.rstrip("/").removesuffix(".git"),
        "repository_branch": branch,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": True,
        "use_source_button": True,
    }
    if parts.netloc == "github.com":
        options["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
        }
    return options


def apply_environment(app: Sphinx, config: Config) -> None:
    """Read the environment once, before anything else looks at the configuration."""
    url = os.environ.get("LONGCTX_REPOSITORY_URL", "").strip()
    if url:
        branch = os.environ.get("LONGCTX_REPOSITORY_BRANCH", "main")
        config.html_theme_options = {**config.html_theme_options, **repository_options(url, branch)}
    execute = os.environ.get("LONGCTX_BOOK_EXECUTE", "force")
    if execute not in ("force", "off"):
        raise ExtensionError(f"LONGCTX_BOOK_EXECUTE must be 'force' or 'off', not {execute!r}")
    config.nb_execution_mode = execute


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", apply_environment, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
