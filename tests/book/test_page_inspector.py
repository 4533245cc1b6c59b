"""The inspector is worth something only if it finds what is wrong: each fault, injected into a sound page."""

import pytest
from page_inspector import faults_of
from playwright.sync_api import Page, Route
from site_pages import listed_pages

FIRST = listed_pages()[0]

INJECTED = {
    "console: ": "<script>console.error('boom')</script>",
    "exception: ": "<script>throw new Error('boom')</script>",
    "status 404": "<script src='missing.js'></script>",
    "request to another host": "<script src='http://127.0.0.2:9/other.js'></script>",
    "failed request": "<link rel='stylesheet' href='http://127.0.0.1:9/style.css'>",
    "formula with an error": r"<div class='math notranslate'>\[\undefinedmacro{x}\]</div>",
    "formula not typeset": "<div class='math notranslate'>no delimiters</div>",
    "diagram not drawn": "<pre class='mermaid'>flowchart ???</pre>",
    "image without alt text": "<img src='../_static/logo.svg'>",
    "image without pixels": "<img alt='gone' src='data:image/png;base64,AAAA'>",
    "wider than the screen": "<div style='width: 900px'>wide</div>",
    "page scrolls sideways": "<div style='width: 900px'>wide</div>",
    "not exactly one main heading": "<h1>again</h1>",
}


@pytest.mark.parametrize("fault", INJECTED)
def test_injected_fault_is_found(page: Page, home: str, fault: str) -> None:
    def inject(route: Route) -> None:
        response = route.fetch()
        marker = '<article class="bd-article"'
        text = response.text()
        assert marker in text
        at = text.index(">", text.index(marker)) + 1
        route.fulfill(response=response, body=text[:at] + INJECTED[fault] + text[at:])

    page.route(f"**/{FIRST}.html", inject)
    found = faults_of(page, f"{home}/{FIRST}.html", home)
    assert any(fault in line for line in found), found


def test_page_without_a_title_is_found(page: Page, home: str) -> None:
    page.route(
        f"**/{FIRST}.html",
        lambda route: route.fulfill(body="<!doctype html><h1>x</h1>", content_type="text/html"),
    )
    assert "no title" in faults_of(page, f"{home}/{FIRST}.html", home)
