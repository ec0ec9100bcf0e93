"""The report in Chromium, driven by Playwright. Skipped where `make browser-setup` was not called."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.results.test_report import Campaign

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: make browser-setup installs one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    found = Campaign(tmp_path_factory.mktemp("report"))
    found.page()
    return found


@pytest.fixture
def page(browser: Any, campaign: Campaign) -> Iterator[Any]:
    """The report on a screen; whatever it says in the console, or wants to load, fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if request.url[:5] != "file:" else None)
    opened.goto((campaign.root / "report.html").as_uri())
    yield opened
    assert [line for line in complaints if not line.startswith("data:")] == []
    context.close()


def table_of(page: Any) -> Any:
    return page.locator("table.linked").first


def rows_of(table: Any) -> list[list[str]]:
    """The texts of the rows that are shown."""
    return table.evaluate(
        "table => [...table.tBodies[0].rows].filter(row => !row.hidden)"
        ".map(row => [...row.cells].map(cell => cell.innerText))"
    )


def numbers_of(table: Any, column: int) -> list[float]:
    found = [re.match(r"-?[\d.]+", row[column]) for row in rows_of(table)]
    return [float(match[0]) for match in found if match]


def test_a_column_of_numbers_is_sorted_up_then_down_then_as_it_was(page):
    table = table_of(page)
    before = rows_of(table)
    heads = table.locator("thead th")
    column = next(at for at in range(heads.count()) if "number" in (heads.nth(at).get_attribute("class") or ""))
    button = heads.nth(column).locator("button")
    for state, reverse in (("ascending", False), ("descending", True)):
        button.click()
        found = numbers_of(table, column)
        assert found == sorted(found, reverse=reverse) and len(found) > 2
        assert heads.nth(column).get_attribute("aria-sort") == state
        assert all(row[0] for row in rows_of(table))  # labels that were left out are there, since rows move
    button.press("Enter")
    assert rows_of(table) == before and heads.nth(column).get_attribute("aria-sort") == "none"


def test_rows_are_found_by_words_and_counted(page):
    table = table_of(page)
    total = len(rows_of(table))
    tools = page.locator(".tools").first
    tools.locator("input[type=search]").fill("wecolora")
    shown = rows_of(table)
    assert 0 < len(shown) < total and all("WeCoLoRA" in " ".join(row) for row in shown)
    assert tools.locator("[role=status]").inner_text() == f"{len(shown)} of {total} rows"
    tools.locator("input[type=search]").fill("")
    assert len(rows_of(table)) == total


def test_a_data_set_can_be_left_out(page):
    table = table_of(page)
    before = table.locator("thead th:visible").count()
    page.locator(".tools").first.locator("input[type=checkbox]").first.uncheck()
    assert table.locator("thead th:visible").count() == before - 1
    assert table.locator("tbody tr").first.locator("> *:visible").count() == before - 1


@pytest.mark.parametrize("how", ["hover", "focus"])
def test_what_is_behind_a_number_is_shown(page, how):
    link = table_of(page).locator("td a").first
    about = page.locator("#about")
    assert about.is_hidden()
    getattr(link, how)()
    assert "last" in about.inner_text() and "best" in about.inner_text()
    assert "last" in link.get_attribute("aria-description")
    page.keyboard.press("Escape")
    assert about.is_hidden()


def test_a_figures_files_are_saved_as_they_are(page, campaign):
    figure = page.locator("figure:has(.downloads)").first
    links = figure.locator(".downloads a")
    assert links.all_inner_texts() == ["PNG", "PDF", "CSV"]
    name = links.nth(0).get_attribute("download").removesuffix(".png")
    files = dict(zip(("csv", "png", "pdf"), campaign.files(name), strict=True))
    for at, kind in enumerate(("png", "pdf", "csv")):
        assert links.nth(at).get_attribute("download") == f"{name}.{kind}"
        content = links.nth(at).get_attribute("href").split(",", 1)[1]
        assert base64.b64decode(content) == Path(files[kind]).read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    found = Axe().run(page)
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_dark_mode_follows_the_system(page):
    colour = "() => getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert light == "rgb(255, 255, 255)" and page.evaluate(colour) == "rgb(20, 23, 26)"
    page.emulate_media(media="print", color_scheme="dark")  # paper stays white
    assert page.evaluate(colour) == light and page.locator(".tools").first.is_hidden()


def test_without_javascript_all_of_it_is_there(browser, campaign):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((campaign.root / "report.html").as_uri())
    assert plain.locator("table.linked tbody tr").count() > 2 and plain.locator("thead button").count() == 0
    assert plain.locator("td a[title]").count() > 2 and plain.locator(".downloads a").count() > 1
    context.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(browser, campaign, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    narrow = context.new_page()
    narrow.goto((campaign.root / "report.html").as_uri())
    assert narrow.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()
