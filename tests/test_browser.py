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
from bottletop.tracking import columns, ui
from tests import project as small
from tests.project import DATASET, run

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]

EPOCHS, BATCH_SIZES = (3, 4), (8, 16)  # others than in params.yaml, or a run would not be named after them
NAMES = combinations(DATASET, EPOCHS, BATCH_SIZES)


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


def test_the_first_page_shows_scores_and_what_was_swept_at_a_first_visit(address: str) -> None:
    with browser(address) as (page, others):
        show_runs(page, address, NAMES)
        page.get_by_text("train.batch_size", exact=True).first.wait_for()
        assert {"accuracy", "val_accuracy", "log_loss", "train.epochs", "train.batch_size"} <= set(headings(page))
        assert others == set()


def test_each_experiment_of_the_sweep_is_in_the_table_by_what_it_changed(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    shown = page.get_by_role("link").all_inner_texts()
    assert sorted(name for name in shown if name in NAMES) == sorted(NAMES)


def test_by_age_the_runs_of_a_sweep_are_below_its_own(page: Page, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}/#/experiments/1/runs?{ui.TRAINING}&viewStateShareKey={columns.NEWEST}")
    page.get_by_role("link", name=f"{DATASET}: sweep of train.epochs, train.batch_size").wait_for()
    assert not page.get_by_role("link", name=NAMES[0], exact=True).count()
    page.locator(".ag-row [role=button], .ag-row button").first.click()
    for name in NAMES:
        page.get_by_role("link", name=name, exact=True).wait_for()


def test_training_and_validation_are_in_one_chart(page: Page, address: str) -> None:
    show_runs(page, address, NAMES, more="&compareRunsMode=CHART")
    for title in ("epoch_val_loss vs epoch_loss", "epoch_val_accuracy vs epoch_accuracy"):
        page.get_by_text(title).wait_for()
    page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()


def test_runs_are_compared_side_by_side(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    compare(page, NAMES)
    page.locator(".js-plotly-plot").first.wait_for()  # parallel coordinates
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("tr").all()]
    values = {texts[0]: texts[1:] for texts in rows if texts}
    assert sorted(values["Run Name:"]) == sorted(NAMES)
    found = zip(values["train.epochs"], values["train.batch_size"], strict=True)
    assert sorted(f"{DATASET}: train.epochs={count}, train.batch_size={size}" for count, size in found) == sorted(NAMES)


def test_a_runs_page_begins_with_its_accuracy_its_settings_and_its_confusion_matrix(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    open_run(page, NAMES[0])
    page.get_by_text("test accuracy").wait_for()
    page.get_by_text(f"train.epochs: {EPOCHS[0]}").wait_for()
    page.get_by_text("Show more").click()
    picture = page.locator("img[src*='get-artifact']")  # MLflow leaves the text for want of a picture out
    picture.wait_for()
    page.wait_for_function("image => image.naturalWidth > 300", arg=picture.element_handle())
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report").click()
    assert "/artifacts/report/" in opened.value.url


def test_a_runs_data_and_model_are_shown_with_what_they_hold(page: Page, address: str) -> None:
    show_runs(page, address, NAMES)
    open_run(page, NAMES[0])
    page.get_by_text(f"{DATASET} (").last.click()
    page.get_by_text("images per class").wait_for()
    page.get_by_text("data/images/").wait_for()
    page.goto(f"{address}/#/experiments/1/models?{ui.TRAINING}")
    page.get_by_role("link", name=NAMES[0], exact=True).wait_for()
    model = (page.locator("a[href*='/models/m-']").first.get_attribute("href") or "").partition("?")[0]
    page.goto(f"{address}/{model.removeprefix('/')}/artifacts?{ui.TRAINING}")
    page.get_by_text("MLmodel", exact=True).click()
    page.get_by_text("signature").first.wait_for()


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
    name = f"epochs={EPOCHS[0]},batch_size={BATCH_SIZES[0]}"
    text = run(project, "env", f"MLFLOW_TRACKING_URI={address}", "bottletop", "runs", name)
    [named] = [line.strip() for line in text.splitlines() if line.strip().startswith(address)]
    with browser(address) as (page, others):
        page.goto(named)
        page.get_by_role("heading", name=NAMES[0]).wait_for()
        assert page.get_by_role("link", name="Runs", exact=True).count()
        assert not page.get_by_role("link", name="Evaluation runs").count()
        assert others == set()
