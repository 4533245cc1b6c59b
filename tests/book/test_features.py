"""What a reader expects of every page works, without any other host."""

import json
import re
from pathlib import Path

import pytest
from page_inspector import settle, watched
from playwright.sync_api import Page, expect
from site_pages import listed_pages

FIRST = listed_pages()[0]
GROUND = "getComputedStyle(document.body).backgroundColor"
BOX = "getComputedStyle(document.querySelector('pre.mermaid .node rect')).fill"


def brightness(color: str) -> float:
    """Mean of red, green and blue, 0 to 255, of a CSS ``rgb(…)``."""
    return sum(map(float, re.findall(r"[0-9.]+", color)[:3])) / 3


def test_search_finds_a_page(page: Page, home: str) -> None:
    with watched(page, home) as faults:
        page.goto(f"{home}/search.html?q=attention")
        expect(page.locator("#search-results li").first).to_be_visible(timeout=15_000)
    assert faults == []


def test_only_one_search_box_is_offered(page: Page, home: str) -> None:
    page.goto(f"{home}/{FIRST}.html")
    assert page.locator(".search-button, .search-button-field").filter(visible=True).count() <= 2
    assert page.locator(".bd-header").filter(visible=True).count() <= 1


@pytest.mark.parametrize(("scheme", "drawn"), [("light", "neutral"), ("dark", "dark")])
def test_diagrams_follow_the_reader_s_preference(page: Page, home: str, scheme: str, drawn: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{home}/{FIRST}.html")
    expect(page.locator("pre.mermaid").first).to_have_attribute("data-drawn", drawn)


def test_theme_switch_darkens_page_and_diagrams(page: Page, home: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(f"{home}/{FIRST}.html")
    settle(page)
    paper, box = page.evaluate(GROUND), page.evaluate(BOX)
    button = page.locator(".theme-switch-button").filter(visible=True).first
    while page.evaluate("document.documentElement.dataset.mode") != "dark":
        button.click()
    expect(page.locator("pre.mermaid").first).to_have_attribute("data-drawn", "dark")
    assert brightness(page.evaluate(GROUND)) < 64 < 192 < brightness(paper)
    assert brightness(page.evaluate(BOX)) < 128 < brightness(box)


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
