"""Opens a page in a browser and says what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from playwright.sync_api import Page, Request, Response

HERE = Path(__file__).parent
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
PATIENCE_MS = 20_000
SETTLED = (HERE / "settled.js").read_text()
FAULTS = (HERE / "faults.js").read_text()
OVERFLOW = (HERE / "overflow.js").read_text()


@contextmanager
def watched(page: Page, home: str) -> Iterator[list[str]]:
    """Collect errors, failed requests and requests that leave ``home``, while the block runs."""
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
    """Everything wrong with the page at ``address``, on a wide screen and on a phone."""
    with watched(page, home) as faults:
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.goto(address, wait_until="load")
        faults += settle(page)
        faults += page.evaluate(FAULTS)
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        faults += page.evaluate(OVERFLOW)
    return faults
