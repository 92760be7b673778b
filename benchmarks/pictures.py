"""The pictures of report.html and the MLflow UI in docs/: a small sweep on digits, looked at in Debian's Chromium.

`python -m benchmarks.pictures` makes them anew. Give it a folder to keep the project there, for the next time too.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, Route, sync_playwright

from benchmarks import samples
from benchmarks.mlflow_server import serving
from bottletop.tracking import columns, ui

EPOCHS, BATCH_SIZES = (5, 10), (16, 64)
WINDOW = {"width": 1600, "height": 900}  # pixels
COLOURS = 224


def main(scratch: Path) -> None:
    project = scratch / "project"
    if not project.exists():
        samples.copy_project(project)
        settings = project / "params.yaml"
        settings.write_text(settings.read_text().replace("optimiser: auto", "optimiser: adam"))  # it has epochs
        run(project, "dvc", "repro")
        samples.commit(project, "first results")
        sweep(project, EPOCHS, BATCH_SIZES)
    show_report(project / "metrics/digits/report.html")
    names = combinations("digits", EPOCHS, BATCH_SIZES)
    with serving(scratch, f"sqlite:///{project}/mlflow.db") as address, browser(address) as (page, others):
        show_runs(page, address, names)
        save(page, "mlflow-runs", height=620)
        prefer_training(page, address)
        show_runs(page, address, names, more="&compareRunsMode=CHART")
        page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()
        save(page, "mlflow-curves", height=780)
        show_runs(page, address, names)
        compare(page, names)
        choose_metric(page, "val_log_loss")
        save(page, "mlflow-compare", height=640)  # above the table of runs, which the window would cut off
        show_runs(page, address, names)
        open_run(page, names[-1])
        page.get_by_text("Show more").click()
        page.set_viewport_size({"width": WINDOW["width"], "height": 1150})  # or the matrix is cut off
        save(page, "mlflow-run")
    print(f"other hosts asked for: {', '.join(sorted(others)) or 'none'}")


def combinations(dataset: str, epochs: tuple[int, ...], batch_sizes: tuple[int, ...]) -> list[str]:
    """The name of the run of each experiment of a sweep."""
    return [f"{dataset}: train.epochs={count}, train.batch_size={size}" for count in epochs for size in batch_sizes]


def sweep(project: Path, epochs: tuple[int, ...], batch_sizes: tuple[int, ...]) -> None:
    values = {"train.epochs": epochs, "train.batch_size": batch_sizes}
    settings = [f"{name}={','.join(map(str, numbers))}" for name, numbers in values.items()]
    run(project, "bottletop", "sweep", "--jobs", "1", *settings)


def run(project: Path, *arguments: str) -> None:
    subprocess.run(arguments, cwd=project, env=samples.environment(project), check=True)


@contextmanager
def browser(address: str) -> Iterator[tuple[Page, set[str]]]:
    """A page of a fresh browser that reaches this address alone, and the other addresses that it was asked for."""
    others: set[str] = set()

    def only_ours(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            others.add(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = chromium.new_page(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
            page.route("**/*", only_ours)
            page.set_default_timeout(60_000)
            yield page, others
        finally:
            chromium.close()


def show_report(report: Path) -> None:
    """The report from its start to the end of the confusion matrix, without the table of scores and what follows it."""
    with browser(report.as_uri()) as (page, _):
        page.set_viewport_size({"width": 1000, "height": 900})
        page.goto(report.as_uri())
        page.evaluate(
            "for (const part of document.querySelectorAll('#answer .wide, #answer > .small, #data')) part.remove()"
        )
        matrix = page.locator("svg.matrix").bounding_box() or {"y": 0.0, "height": 900.0}
        page.set_viewport_size({"width": 1000, "height": int(matrix["y"] + matrix["height"]) + 16})
        save(page, "report")


def prefer_training(page: Page, address: str) -> None:
    """What a user clicks at the first visit, which the UI remembers: pages about training, and no assistant."""
    page.goto(f"{address}/#/experiments")
    page.get_by_text("Model training", exact=True).click()
    page.get_by_role("button", name="Close", exact=True).click()


def show_runs(page: Page, address: str, names: list[str], more: str = "") -> None:
    """The first page that `bottletop ui` names, of the only dataset: its table of runs, once it lists them."""
    page.goto("about:blank")  # the UI reads a view's key once
    page.goto(f"{address}/#/experiments/1/runs?{ui.TRAINING}&viewStateShareKey={columns.BEST}{more}")
    for name in names:
        page.get_by_role("link", name=name, exact=True).wait_for()


def compare(page: Page, names: list[str]) -> None:
    """From the table to the page that compares these runs side by side."""
    for name in names:
        row = (
            page.get_by_role("link", name=name, exact=True)
            .locator("xpath=ancestor::*[@row-id]")
            .get_attribute("row-id")
        )
        page.locator(f"[row-id='{row}'] input[type=checkbox]").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text(f"Comparing {len(names)} Runs").first.wait_for()


def choose_metric(page: Page, new: str) -> None:
    """Draws the parallel coordinates with another metric than the one that the UI takes."""
    box = page.locator("[role=combobox]").nth(1)
    old = box.get_attribute("aria-description") or ""
    box.click()
    page.keyboard.type(new)
    page.get_by_title(new, exact=True).click()
    page.get_by_title(old, exact=True).click()
    page.keyboard.press("Escape")


def open_run(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name).wait_for()


def open_picture(page: Page, name: str) -> None:
    """A picture among the run's files, once it is drawn."""
    for folder in ("report", "plots"):
        page.get_by_text(folder, exact=True).click()
    page.get_by_text(name, exact=True).click()
    page.locator("img[src^='blob:']:visible").first.wait_for()


def save(page: Page, name: str, height: int | None = None) -> None:
    """A picture of the window or its upper part, in few colours, in docs/."""
    page.wait_for_timeout(2000)  # moves and fades end
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    few = picture.crop((0, 0, picture.width, height or picture.height)).quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(samples.ROOT / "docs" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
