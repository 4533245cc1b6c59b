"""Every page of the site opens without a fault, on a wide screen and on a phone."""

from pathlib import Path

import pytest
from page_inspector import faults_of
from playwright.sync_api import Page
from site_pages import ADDED_BY_SPHINX, listed_pages

PAGES = [*listed_pages(), *ADDED_BY_SPHINX]


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_fault(page: Page, home: str, name: str) -> None:
    assert faults_of(page, f"{home}/{name}.html", home) == []


def test_no_page_is_built_that_nothing_lists(site: Path) -> None:
    built = {file.relative_to(site).with_suffix("").as_posix() for file in site.rglob("*.html")}
    built = {name for name in built if not name.startswith("_static/")}
    assert built == {*PAGES, "index"}


def test_front_door_leads_to_the_first_page(page: Page, home: str) -> None:
    page.goto(f"{home}/index.html")
    page.wait_for_url(f"{home}/{listed_pages()[0]}.html")


@pytest.mark.parametrize("name", listed_pages()[:1])
def test_page_opens_as_a_file_without_a_server(page: Page, site: Path, name: str) -> None:
    assert faults_of(page, (site / f"{name}.html").as_uri(), "file://") == []
