"""The MLflow UI in a real browser: what users are promised to see is there, and nothing leaves the machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from benchmarks import samples
from benchmarks.mlflow_server import serving
from benchmarks.pictures import (
    browser,
    combinations,
    compare,
    open_picture,
    open_run,
    prefer_training,
    show_runs,
    sweep,
)
from tests import project as small
from tests.project import run

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]

EPOCHS, BATCH_SIZES = (3, 5), (8, 16)
NAMES = [name for name, _, _ in combinations(EPOCHS, BATCH_SIZES)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the experiments of a small sweep."""
    if shutil.which("chromium") is None:
        pytest.skip("needs a browser: apt-get install chromium")
    project = small.make(tmp_path_factory.mktemp("browser"))
    run(project, "dvc", "repro")
    samples.commit(project, "first results")
    sweep(project, EPOCHS, BATCH_SIZES)
    return project


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """That of the UI over the project's own database, as `make ui` starts it."""
    with serving(project.parent, f"sqlite:///{project}/mlflow.db") as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A page of a browser that has been here before; it may ask for nothing elsewhere."""
    with browser(address) as (page, others):
        prefer_training(page, address)
        yield page
        assert others == set()


def headings(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".ag-header-cell-text, .ag-header-cell").all_inner_texts()]


def test_the_table_of_runs_lists_each_experiment_of_the_sweep_by_name(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    shown = page.get_by_role("link").all_inner_texts()
    assert [name for name in shown if name in NAMES] == NAMES[::-1]  # the newest first


def test_the_table_shows_scores_and_the_params_that_were_swept(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    page.get_by_text("train.batch_size", exact=True).wait_for()
    assert {"accuracy", "val_accuracy", "log_loss", "train.epochs", "train.batch_size"} <= set(headings(page))


def test_runs_are_compared_side_by_side(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    compare(page, NAMES)
    page.locator(".js-plotly-plot").first.wait_for()  # parallel coordinates
    assert page.locator("[role=combobox]").nth(1).get_attribute("aria-description") == "epoch_val_loss"
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("tr").all()]
    values = {cells[0]: cells[1:] for cells in rows if cells}
    assert values["Run Name:"] == NAMES
    found = zip(map(int, values["train.epochs"]), map(int, values["train.batch_size"]), strict=True)
    assert list(found) == [(count, size) for _, count, size in combinations(EPOCHS, BATCH_SIZES)]


@pytest.mark.parametrize("picture", ["confusion.png", "curves.png"])
def test_a_run_shows_its_pictures(picture: str, page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    open_run(page, NAMES[0])
    page.get_by_role("tab", name="Artifacts").click()
    open_picture(page, picture)
    shown = page.get_by_alt_text(f"report/plots/{picture}")
    assert shown.evaluate("image => image.naturalWidth") > 300


def test_a_run_shows_its_curves_by_epoch(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    open_run(page, NAMES[-1])
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill("epoch_")
    for name in ("epoch_loss", "epoch_val_loss", "epoch_accuracy", "epoch_val_accuracy"):
        page.get_by_text(f"{NAMES[-1]} ({name})").wait_for()
    points = page.locator(".js-plotly-plot").first.locator(".scatterlayer .point")
    assert points.count() == EPOCHS[-1]


def test_the_page_that_bottletop_names_opens_on_training_at_a_first_visit(project: Path, address: str) -> None:
    text = run(project, "env", f"MLFLOW_TRACKING_URI={address}", "bottletop", "runs", NAMES[0])
    [named] = [line.strip() for line in text.splitlines() if line.strip().startswith(address)]
    with browser(address) as (page, others):
        page.goto(named)
        page.get_by_role("heading", name=NAMES[0]).wait_for()
        assert page.get_by_role("link", name="Runs", exact=True).count()
        assert not page.get_by_role("link", name="Evaluation runs").count()
        assert others == set()
