"""One build, one server and one browser for all tests of the site."""

import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from site_pages import ROOT, SITE

SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
]


def system_browser() -> str | None:
    """The path of a Chromium or Chrome on this machine; None leaves the choice to playwright."""
    named = os.environ.get("LONGCTX_BROWSER")
    if named:
        return named
    found = next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)
    return found or (MAC_CHROME if Path(MAC_CHROME).exists() else None)


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site, from the committed outputs; built if it does not show the present sources."""
    (ROOT / "_build").mkdir(exist_ok=True)
    with FileLock(ROOT / "_build" / "site.lock"):
        command = [sys.executable, str(ROOT / "book" / "build.py"), "--if-stale"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"the site cannot be built:\n{done.stdout}\n{done.stderr}"
    return SITE


class Silent(SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def home(site: Path) -> Iterator[str]:
    """Address of a server of the site on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one these tests fail in CI, and are skipped loudly elsewhere."""
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=system_browser(), args=QUIET)
        except PlaywrightError as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI needs a browser: {error}")
            reason = (
                "NO BROWSER: the pages of the site were not checked; "
                "install chromium, or run: .venv/bin/playwright install chromium"
            )
            warnings.warn(reason, stacklevel=1)
            pytest.skip(reason)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab with empty storage."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
