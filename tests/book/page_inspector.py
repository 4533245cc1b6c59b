"""Opens a page in a browser and says what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

from playwright.sync_api import Page, Request, Response

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
PATIENCE_MS = 20_000

# Resolves to true as soon as everything that scripts draw has been drawn, to false if it never is.
SETTLED = """
async patience => {
  const done = async () => {
    if (document.querySelector('.math') && !window.MathJax?.startup?.promise) return false;
    await window.MathJax?.startup?.promise;
    return [...document.querySelectorAll('pre.mermaid')].every(diagram => diagram.dataset.drawn);
  };
  for (const end = Date.now() + patience; Date.now() < end; await new Promise(tick => setTimeout(tick, 50))) {
    if (await done()) return true;
  }
  return false;
}
"""

FAULTS = """
() => {
  const faults = [];
  const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 160)}`);
  if (!document.title.trim()) faults.push('no title');
  if (document.querySelectorAll('article h1, .bd-search-container h1').length !== 1) faults.push('not exactly one main heading');
  for (const image of document.images) {
    if (!image.alt.trim() && image.getAttribute('role') !== 'presentation') say('image without alt text', image);
    if (image.complete && image.naturalWidth === 0) say('image without pixels', image);
  }
  for (const node of document.querySelectorAll('mjx-merror, [data-mjx-error]')) say('formula with an error', node.closest('.math') ?? node);
  for (const formula of document.querySelectorAll('.math')) {
    if (!formula.querySelector('mjx-container')) say('formula not typeset', formula);
  }
  for (const diagram of document.querySelectorAll('pre.mermaid')) {
    if (!diagram.querySelector('svg')) say('diagram not drawn', diagram);
  }
  return faults;
}
"""

# What sticks out to the right, unless it lies in a box of its own that scrolls.
OVERFLOW = """
() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width && !document.querySelector('article')) return [];
  const scrolls = element => {
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (box.matches('article.bd-article')) return false;
      if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(box).overflowX)) return true;
    }
    return false;
  };
  const wide = [...document.querySelectorAll('article *')].filter(
    element => element.getClientRects().length && element.getBoundingClientRect().right > width + 1 && !scrolls(element));
  const faults = wide.slice(0, 3).map(element => `wider than the screen: ${element.outerHTML.slice(0, 160)}`);
  if (document.documentElement.scrollWidth > width) faults.push(`page scrolls sideways: ${document.documentElement.scrollWidth} > ${width} px`);
  return faults;
}
"""


@contextmanager
def watched(page: Page, home: str) -> Iterator[list[str]]:
    """Collect console errors, exceptions, failed requests and requests that leave ``home``, while the block runs."""
    faults: list[str] = []

    def on_request(request: Request) -> None:
        parts = urlparse(request.url)
        if parts.scheme not in ("data", "blob", "file") and f"{parts.scheme}://{parts.netloc}" != home:
            faults.append(f"request to another host: {request.url}")

    def on_response(response: Response) -> None:
        if response.status >= 400:
            faults.append(f"status {response.status}: {response.url}")

    listeners = {
        "console": lambda message: message.type == "error" and faults.append(f"console: {message.text}"),
        "pageerror": lambda error: faults.append(f"exception: {error}"),
        "request": on_request,
        "response": on_response,
        "requestfailed": lambda request: faults.append(f"failed request: {request.url} ({request.failure})"),
    }
    for event, listener in listeners.items():
        page.on(event, listener)  # type: ignore[call-overload]
    try:
        yield faults
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)


def settle(page: Page) -> list[str]:
    """Wait until formulas and diagrams are drawn; a fault if they never are."""
    if page.evaluate(SETTLED, PATIENCE_MS):
        return []
    return [f"formulas or diagrams not drawn after {PATIENCE_MS / 1000:.0f} s"]


def faults_of(page: Page, address: str, home: str) -> list[str]:
    """Everything wrong with the page at ``address``, on a wide screen and on a phone; empty if it is sound."""
    with watched(page, home) as faults:
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.goto(address, wait_until="load")
        faults += settle(page)
        faults += page.evaluate(FAULTS)
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        faults += page.evaluate(OVERFLOW)
    return faults
