"""What a reader expects of every page works, without any other host."""

import json
import re
from pathlib import Path

from page_inspector import settle, watched
from playwright.sync_api import Page, expect
from site_pages import listed_pages

FIRST = listed_pages()[0]


def test_search_finds_a_page(page: Page, home: str) -> None:
    with watched(page, home) as faults:
        page.goto(f"{home}/search.html?q=attention")
        expect(page.locator("#search-results li").first).to_be_visible(timeout=15_000)
    assert faults == []


def test_only_one_search_box_is_offered(page: Page, home: str) -> None:
    page.goto(f"{home}/{FIRST}.html")
    assert page.locator(".search-button, .search-button-field").filter(visible=True).count() <= 2
    assert page.locator(".bd-header").filter(visible=True).count() <= 1


def test_theme_switch_darkens_page_and_diagrams(page: Page, home: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(f"{home}/{FIRST}.html")
    settle(page)
    paper, diagram = (
        page.evaluate("getComputedStyle(document.body).backgroundColor"),
        page.locator("pre.mermaid svg style").first.text_content(),
    )
    for _ in range(3):
        page.locator(".theme-switch-button").filter(visible=True).first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    page.wait_for_timeout(500)
    settle(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    assert page.locator("pre.mermaid svg style").first.text_content() != diagram


def test_code_can_be_copied(page: Page, home: str) -> None:
    page.goto(f"{home}/book/preface.html")
    expect(page.locator("button.copybtn").first).to_be_attached()


def test_page_source_can_be_downloaded(page: Page, home: str, site: Path) -> None:
    page.goto(f"{home}/{FIRST}.html")
    link = page.locator("a.btn-download-source-button").first.get_attribute("href")
    assert link is not None
    assert page.request.get(f"{home}/book/{link}").ok


def test_no_page_offers_what_needs_a_repository(site: Path) -> None:
    text = (site / f"{FIRST}.html").read_text()
    assert not re.search(
        r"btn-source-(edit|issues|repository)|btn-launch|colab|mybinder|thebe", text, re.IGNORECASE
    )


def test_search_index_covers_every_listed_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    names = json.loads(index[index.index("(") + 1 : index.rindex(")")])["docnames"]
    assert set(listed_pages()) <= set(names)
