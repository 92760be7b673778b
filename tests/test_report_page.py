"""report.html in a real browser: it asks for nothing, fits every width, and can be used by everyone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from bottletop.core.catalogue import Dataset, Source
from tests.report_pages import FOUND, HOSTILE, UNREADABLE, Made, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS = {
    "three classes": ("ant", "bee", "cat"),
    "two classes": ("benign", "malignant"),
    "hostile names": tuple(sorted(HOSTILE)),
    "101 classes": tuple(f"class number {number:03}" for number in range(101)),
}
WIDTHS = (360, 800, 1600)  # pixels


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    entry = Dataset(title=HOSTILE[1], licence="<i>", image_side_px=96, source=Source(folder="pictures"))
    left = {"not an image": {"files": 2, "examples": [HOSTILE[0]]}}
    hostile = {"entry": entry, "found": {**FOUND, "left_out": left}, "unreadable": UNREADABLE}
    return {
        kind: make(tmp_path_factory.mktemp("page"), names, **(hostile if kind == "hostile names" else {}))
        for kind, names in KINDS.items()
    }


class Visit:
    """A page in the browser, with what it asked for and what went wrong."""

    def __init__(self, browser: Browser, path: Path, width: int, scheme: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_asks_for_nothing_has_no_error_and_never_scrolls_sideways(
    browser: Browser, pages: dict[str, Made], kind: str, width: int, scheme: str
) -> None:
    visit = Visit(browser, pages[kind].path, width, scheme)
    assert [url for url in visit.requests if not url.startswith("data:")] == [pages[kind].path.as_uri()]
    assert visit.errors == []
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["three classes", "two classes", "hostile names"])
def test_axe_finds_nothing_serious(browser: Browser, pages: dict[str, Made], kind: str, scheme: str) -> None:
    page = browser.new_context(bypass_csp=True, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    page.goto(pages[kind].path.as_uri())
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious] == []
    page.context.close()


def test_hostile_names_are_shown_as_text_inside_their_boxes(browser: Browser, pages: dict[str, Made]) -> None:
    page = Visit(browser, pages["hostile names"].path, 360, "light").page
    table = page.get_by_role("region", name="scores by class")
    shown = table.locator("tbody th").all_inner_texts()
    assert sorted(shown) == sorted(name.replace("\u202e", "\\u202e") for name in HOSTILE)
    wider = """boxes => boxes.filter(box => [...box.querySelectorAll('bdi')].some(
        name => name.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)).length"""
    assert page.locator("th, td, figure, li, h1, h3, h4, dd, .name-box").evaluate_all(wider) == 0
    page.close()


@pytest.mark.parametrize("kind", KINDS)
def test_all_photos_are_shown(browser: Browser, pages: dict[str, Made], kind: str) -> None:
    page = Visit(browser, pages[kind].path, 800, "light").page
    assert page.locator("img").count() > 10
    assert page.locator("img").evaluate_all("images => images.every(image => image.naturalWidth > 0)")
    page.close()


def test_a_click_on_a_column_sorts_the_table_by_it(browser: Browser, pages: dict[str, Made]) -> None:
    page = Visit(browser, pages["three classes"].path, 800, "light").page
    table = page.get_by_role("region", name="scores by class")
    for clicks, order in ((1, "descending"), (2, "ascending")):
        table.get_by_role("button", name="recall").click()
        values = table.locator("tbody td:nth-child(2)").evaluate_all("cells => cells.map(cell => +cell.dataset.value)")
        assert values == sorted(values, reverse=clicks == 1)
        assert table.get_by_role("columnheader", name="recall").get_attribute("aria-sort") == order
    page.close()


def test_it_can_be_read_without_its_script(browser: Browser, pages: dict[str, Made]) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(pages["three classes"].path.as_uri())
    table = page.get_by_role("region", name="scores by class")
    assert table.locator("thead th").all_inner_texts()[:3] == ["class", "recall", "precision"]
    assert table.locator("tbody th").all_inner_texts() == ["ant", "bee", "cat"]
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_it_is_dark_on_white_and_nothing_is_cut_off(
    browser: Browser, pages: dict[str, Made], scheme: str
) -> None:
    page = Visit(browser, pages["101 classes"].path, 794, scheme).page  # A4
    page.emulate_media(media="print", color_scheme=scheme)  # type: ignore[arg-type]
    colours = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    assert page.evaluate(colours) == ["rgb(27, 31, 36)", "rgb(255, 255, 255)"]
    drawings = page.locator("svg.matrix, svg.chart, table").evaluate_all(
        "drawings => drawings.map(drawing => drawing.getBoundingClientRect().right)"
    )
    assert max(drawings) <= 794
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_the_matrix_names_its_cells_to_the_pointer(browser: Browser, pages: dict[str, Made]) -> None:
    page = Visit(browser, pages["101 classes"].path, 1600, "light").page
    titles = page.locator("svg.matrix rect.miss title").all_text_contents()
    assert "class number" in titles[0]
    assert "taken for class number" in titles[0]
    assert page.locator("svg.matrix > text > title").count() == 2 * 101
    page.close()
