"""Sweeps as users run them, on a copy of the project with a small dataset of its own."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from tests import project as small
from tests.project import DATASET, run, set_param

pytestmark = pytest.mark.slow


def names(project: Path) -> set[str]:
    """Those of the experiments, from git: `dvc exp list` fails while a sweep holds DVC's lock."""
    refs = samples.git(project, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return {ref.split("/")[-1] for ref in refs if len(ref.split("/")) == 5}


def tracked(project: Path) -> list[tuple[str, str]]:
    return sorted((found["name"], found["status"]) for found in small.tracked_runs(project)[1:])


def executed(project: Path, stage: str) -> list[str]:
    """The experiments of the last sweep in which the stage's code ran."""
    logs = (project / ".dvc/tmp/bottletop/sweep").glob("*.log")
    return sorted(log.stem for log in logs if f"Running stage '{stage}@{DATASET}'" in log.read_text())


def table(output: str) -> list[str]:
    """The first column of the last ranking printed."""
    lines = output.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("  experiment "))
    return [line.split()[0] for line in lines[start + 1 : lines.index("", start)]]


COMMAND = ("bottletop", "sweep", "train.epochs=2,5", "train.batch_size=16,32", "--jobs", "1")
RANKED = ("bottletop", "sweep", "train.learning_rate=1e-6,0.003")
EXPECTED = ["epochs=2,batch_size=16", "epochs=2,batch_size=32", "epochs=5,batch_size=16"]  # the fourth is params.yaml


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> small.Finished:
    """A fresh project, and a sweep that was interrupted in every way, and started again each time."""
    project = small.make(tmp_path_factory.mktemp("swept"))
    second = project / f".dvc/tmp/bottletop/sweep/{EXPECTED[1]}.log"
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        second.unlink(missing_ok=True)
        started = small.start(project, *COMMAND)
        small.wait_for(second.exists)
        assert names(project) == {EXPECTED[0]}
        started.send_signal(how)
        assert started.wait() != 0
    return small.Finished(project, run(project, *COMMAND))


def test_every_combination_is_one_experiment_and_one_finished_run(swept: small.Finished) -> None:
    assert names(swept.folder) == set(EXPECTED)
    assert [name for name, status in tracked(swept.folder) if status == "FINISHED"] == EXPECTED
    assert executed(swept.folder, "train") == EXPECTED
    assert sorted(table(swept.output)) == ["baseline", *EXPECTED]
    params = yaml.safe_load(samples.git(swept.folder, "show", "HEAD:params.yaml"))["train"]
    assert (params["epochs"], params["batch_size"]) == (5, 32)


def test_interrupted_it_continues_where_it_stopped(swept: small.Finished) -> None:
    """After SIGINT, SIGTERM and SIGKILL."""
    assert "\n2 of 3 are there already\n" in swept.output  # the second went on when the sweep was killed


def test_a_fresh_project_extracts_once_before_the_sweep(swept: small.Finished) -> None:
    assert executed(swept.folder, "extract") == executed(swept.folder, "download") == []
    assert small.tracked_runs(swept.folder)[0]["status"] == "FINISHED"  # the baseline's


def test_a_setting_that_makes_no_difference_is_named(swept: small.Finished) -> None:
    assert "train.batch_size made no difference" in swept.output  # the default top looks at all images in each epoch
    assert "train.epochs made no difference" not in swept.output


def test_started_again_it_runs_nothing_twice(swept: small.Finished) -> None:
    before = tracked(swept.folder)
    again = run(swept.folder, *COMMAND)
    assert "3 of 3 are there already" in again
    assert tracked(swept.folder) == before
    assert table(again) == table(swept.output)


def test_one_for_other_params_of_the_workspace_is_run_again(swept: small.Finished, tmp_path: Path) -> None:
    project = small.copy(swept.folder, tmp_path)
    set_param(project, "evaluate.seed", 7)
    output = run(project, "bottletop", "sweep", "train.epochs=2", "train.batch_size=16")
    assert "already" not in output
    params = yaml.safe_load(samples.git(project, "show", f"{_ref(project, EXPECTED[0])}:params.yaml"))
    assert params["evaluate"] == {"bootstrap": 1000, "seed": 7, "positive_classes": ["malignant"]}
    assert params["train"]["epochs"] == 2


def test_an_experiment_that_another_command_has_just_queued_is_left_to_it(project: Path) -> None:
    queue = "from dvc.repo import Repo; e = Repo().experiments; e.queue_one(e.tempdir_queue, name='others')"
    run(project, "python", "-c", queue)
    command = "dvc exp run --temp --name mine -S train.epochs=2"
    run(project, "python", "-m", "bottletop.experiments.alone", *command.split())
    assert names(project) == {"mine"}
    assert tracked(project) == [("mine", "FINISHED")]


@pytest.fixture(scope="module")
def ranked(finished: small.Finished, tmp_path_factory: pytest.TempPathFactory) -> small.Finished:
    """A project whose params.yaml hardly trains, and a sweep in which one experiment trains well."""
    project = small.copy(finished.folder, tmp_path_factory.mktemp("ranked"))
    set_param(project, "train.optimiser", "adam")
    set_param(project, "train.learning_rate", 1e-7)
    return small.Finished(project, run(project, *RANKED))


def test_the_ranking_is_by_validation_and_its_last_line_applies_the_best(
    ranked: small.Finished, tmp_path: Path
) -> None:
    project, output = small.copy(ranked.folder, tmp_path), ranked.output
    scores = {}
    for name in [*names(project), "workspace"]:
        source = "" if name == "workspace" else f"{_ref(project, name)}:"
        path = f"metrics/{DATASET}/metrics.json"
        text = samples.git(project, "show", source + path) if source else (project / path).read_text()
        found = yaml.safe_load(text)
        scores["baseline" if name == "workspace" else name] = (-found["val_accuracy"], found["val_log_loss"])
    assert table(output) == sorted(scores, key=lambda name: scores[name])
    assert table(output)[0] == "learning_rate=0.003"
    assert output.splitlines()[-1] == "apply it: dvc exp apply learning_rate=0.003"
    run(project, "dvc", "exp", "apply", "learning_rate=0.003")
    assert yaml.safe_load((project / "params.yaml").read_text())["train"]["learning_rate"] == 0.003


def _ref(project: Path, name: str) -> str:
    [ref] = samples.git(project, "for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").splitlines()
    return ref


def test_what_failed_is_tried_again_and_reported_while_the_others_are_ranked(project: Path) -> None:
    stage = project / "stages/train.py"
    start = "def run(params: TopParams, paths: Paths) -> None:\n"
    broken = f'{start}    if params.epochs == 3:\n        raise OSError("the disk is gone")\n'
    assert start in stage.read_text()
    stage.write_text(stage.read_text().replace(start, broken))
    output = run(project, "bottletop", "sweep", "train.epochs=3,4", check=False)
    assert output.count("epochs=3: failed: train@patterns: OSError: the disk is gone") == 2
    assert sorted(table(output)) == ["baseline", "epochs=4"]
    assert output.splitlines()[-1].startswith("bottletop: failed twice: epochs=3; see .dvc/tmp/bottletop/sweep")


def test_other_features_are_extracted_once_for_all_that_need_them(project: Path) -> None:
    run(project, "bottletop", "sweep", "extract.image_side_px=64", "evaluate.bootstrap=100,200", "--jobs", "2")
    assert len(executed(project, "extract")) == len(executed(project, "train")) == 1
    assert len(names(project)) == 2
    assert tracked(project) == [(name, "FINISHED") for name in sorted(names(project))]


def test_seeds_repeat_the_best_and_the_baseline_and_test_them_on_the_same_images(
    ranked: small.Finished, tmp_path: Path
) -> None:
    project = small.copy(ranked.folder, tmp_path)
    output = run(project, *RANKED, "--seeds", "2", "--repeat", "1")
    best = "learning_rate=0.003"
    assert names(project) == {best, "learning_rate=1e-06", f"{best},seed=1", "baseline,seed=1"}
    assert sorted(table(output)) == ["baseline", best]
    assert re.search(r"±.*±", output)
    [verdict] = [line for line in output.splitlines() if line.startswith(f"  {DATASET}: ")]
    assert re.search(r"% against .* on 6 test images: [+-][\d.]+ points \(95 % interval .*\), p = ", verdict)


def test_a_second_sweep_waits_for_the_first(project: Path) -> None:
    first = small.start(project, "bottletop", "sweep", "evaluate.bootstrap=100")
    small.wait_for((project / ".dvc/tmp/bottletop/sweep/evaluate.bootstrap=100.log").exists)
    output = run(project, "bottletop", "sweep", "evaluate.bootstrap=100")
    assert first.wait() == 0
    assert output.startswith("waiting for another sweep here")
    assert "1 of 1 are there already" in output
    assert len(tracked(project)) == 1


def test_a_failing_baseline_starts_nothing(project: Path) -> None:
    set_param(project, "train.learning_rate", -1)
    output = run(project, "bottletop", "sweep", "train.epochs=2", check=False)
    assert "train.learning_rate" in output
    assert names(project) == set()


def test_make_sweep_is_the_same(project: Path) -> None:
    makefile = (samples.ROOT / "Makefile").read_text()
    assert "sweep: install" in makefile
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--old-file=install", "sweep",
         "GRID=train.hidden=[],[256] train.epochs=5", "SEEDS=3"],
        cwd=samples.ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "bottletop sweep 'train.hidden=[],[256]' 'train.epochs=5' --seeds 3"
