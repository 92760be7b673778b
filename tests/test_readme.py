"""The README tells the truth: its commands run, its settings exist."""

import csv
import json
import re
import shutil
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.backbones.networks import NETWORKS
from bottletop.core.catalogue import Dataset
from bottletop.core.settings import parse
from bottletop.download import parts
from bottletop.download.layout import Labelled, Layout
from bottletop.experiments.recipes import listing
from tests import project as small
from tests.pictures import jpeg, write_folder
from tests.project import DATASET, run, tracked_runs
from tests.servers import free_ports, mlflow_server

README = (samples.ROOT / "README.md").read_text()
PREDICT = (samples.ROOT / "docs/predict.md").read_text()
COMPARE = (samples.ROOT / "docs/compare.md").read_text()
MODELS = (samples.ROOT / "docs/models.md").read_text()
ARTICLES = (samples.ROOT / "docs/articles.md").read_text()


def commands(page: str) -> list[str]:
    return re.findall(r"^\$ (.+)$", page, re.MULTILINE)


def test_the_example_of_a_folder_is_a_valid_entry() -> None:
    [example] = re.findall(r"```yaml\n(.+?)```", README, re.DOTALL)
    for name, entry in yaml.safe_load(example).items():
        layout = Layout(parse(Dataset, entry, name, Path("README.md")).source)
        assert layout.place("cats/1.jpg") == Labelled("cats")


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (samples.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README)) <= targets


def test_every_recipe_is_on_the_page_of_the_articles_as_it_is_listed() -> None:
    assert f"```text\n{listing()}\n```" in ARTICLES
    for line in listing().splitlines():
        assert f"| `{line.split()[0]}` |" in ARTICLES


def test_every_backbone_is_on_the_page_of_models() -> None:
    for name in NETWORKS:
        assert f"| `{name}` |" in MODELS


def test_every_dataset_is_in_its_table() -> None:
    for name in yaml.safe_load((samples.ROOT / "datasets.yaml").read_text())["datasets"]:
        assert f"| `{name}` |" in README


def test_pictures_are_there_and_small() -> None:
    names = re.findall(r"\]\((docs/.+?\.png)\)", README)
    names += [f"docs/{name}" for page in (COMPARE, PREDICT) for name in re.findall(r"\]\((.+?\.png)\)", page)]
    assert len(names) > 2
    for name in names:
        assert (samples.ROOT / name).stat().st_size < 200_000


def use_environment(project: Path) -> None:
    """Lets make find the one at hand instead of installing it again."""
    installed = samples.ROOT / ".venv"
    if not (installed / "bin" / ".installed").exists():
        pytest.skip("needs the environment that make install makes")
    (project / ".venv").symlink_to(installed)
    (installed / "bin" / ".installed").touch()


def use_few_small_digits(project: Path) -> None:
    """300 of the 1,797, at a third of their side: `.ci/run` runs the pipeline on all."""
    write_folder(project / "digits", {member.name: member.read() for member in islice(parts._digits(), 300)})
    catalogue = yaml.safe_load((project / "datasets.yaml").read_text())
    catalogue["datasets"]["digits"]["source"] = {"folder": "digits"}
    (project / "datasets.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))
    with (project / ".git/info/exclude").open("a") as excluded:
        excluded.write("/digits/\n")
    small.set_param(project, "extract.image_side_px", 32)
    samples.commit(project, "few small digits")


@pytest.mark.slow
def test_its_commands_run_in_the_order_given(tmp_path: Path) -> None:
    """All but ``make test``, which would start itself; `.ci/run` runs that one. The environment is the one at hand."""
    project = samples.copy_project(tmp_path / "project")
    use_environment(project)
    use_few_small_digits(project)
    assert "make run" in commands(README)
    for command in commands(README):
        if command != "make test":
            output = run(project, "bash", "-c", command)
            if command == "make run":
                assert re.search(r"^digits: \d+\.\d% test accuracy", output, re.MULTILINE)
                samples.commit(project, "first results")
    assert {tracked["status"] for tracked in tracked_runs(project)} == {"FINISHED"}
    assert len(tracked_runs(project)) == 6  # make run, dvc exp run, four of the sweep
    shutil.rmtree(project)


@pytest.mark.slow
def test_the_commands_of_the_page_on_models_run(project: Path) -> None:
    entries, ours = (yaml.safe_load((root / "weights.yaml").read_text()) for root in (project, samples.ROOT))
    entries["efficientnet_lite0"] = ours["efficientnet_lite0"]
    (project / "weights.yaml").write_text(yaml.safe_dump(entries))
    samples.commit(project, "a second backbone")
    for command in commands(MODELS):
        run(project, "bash", "-c", command)
    assert [tracked["status"] for tracked in tracked_runs(project)] == ["FINISHED"] * 4


@pytest.mark.slow
@pytest.mark.server  # none of its own, but some twenty experiments: run with those that take longest
def test_the_commands_of_the_page_on_experiments_run_in_the_order_given(tmp_path: Path) -> None:
    project = small.make(tmp_path)
    use_environment(project)
    assert "make experiments" in commands(COMPARE)
    author = [f"GIT_{role}_{what}=anna" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    for command in commands(COMPARE):
        starts_workers = command.startswith("dvc queue start")  # which would keep a pipe, and may end late
        quiet = f"{command} > /dev/null 2>&1" if starts_workers else command
        output = run(project, "env", *author, "bash", "-c", quiet)
        if starts_workers:
            small.wait_for(lambda: run(project, "dvc", "queue", "status").count("Success") == 4)
        if command == "make experiments":
            assert {line.split()[-1] for line in output.splitlines()} >= {"workspace", "wide", "balanced"}
        if command == "bottletop runs":
            assert "wide" in output
    params = yaml.safe_load((project / "params.yaml").read_text())
    assert params["train"]["hidden"] == [256]
    assert {tracked["status"] for tracked in tracked_runs(project)} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.server
def test_the_commands_of_the_page_on_predicting_run_in_the_order_given(tmp_path: Path) -> None:
    """On patterns, where it speaks of flowers, and at a free port. Its server answers as its file in Python does."""
    project = small.make(tmp_path)
    run(project, "dvc", "repro")
    samples.commit(project, "first results")
    for number, name in enumerate(("field", "garden")):
        write_folder(project / "photos", {f"{name}.jpg": jpeg(number)})
    [port] = free_ports(1)
    answer = ""
    with ExitStack() as servers:
        for command in commands(PREDICT):
            here = command.replace("flowers-17", DATASET).replace("5001", str(port))
            if here.startswith("mlflow models serve"):
                servers.enter_context(mlflow_server(f"cd {project} && exec {here}", port, tmp_path))
            else:
                answer = run(project, "bash", "-c", here)
    served = json.loads(answer)["predictions"][0]
    [code] = re.findall(r"```python\n(.+?)```", PREDICT, re.DOTALL)
    code = code.replace("flowers-17", DATASET).replace("photos/garden", "photos/field")
    printed = run(project, "python", "-c", code).splitlines()[-1]
    assert printed == f"{served['class']} {max(served['probabilities'].values()):.1%}"
    predicted = list(csv.DictReader((project / "predictions.csv").open(newline="")))
    assert [row["path"] for row in predicted] == ["photos/field.jpg", "photos/garden.jpg"]
    assert {name: float(predicted[0][f"p({name})"]) for name in small.CLASSES} == pytest.approx(
        served["probabilities"], abs=1e-4
    )
    assert (project / "explained/garden.png").exists()
