import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bottletop.cli import main
from bottletop.core.files import write_json
from bottletop.tracking import browser
from tests.tiny import ROOT

ACCURACY = {"accuracy": 0.975, "accuracy_low": 0.9512, "accuracy_high": 0.99}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("datasets: [animals, food]\ntrain: {epochs: 5}\n")
    for name, images in (("animals", 179), ("food", 25250), ("left over", 7)):
        write_json(tmp_path / "metrics" / name / "metrics.json", ACCURACY)
        write_json(tmp_path / "metrics" / name / "details.json", {"images": {"test": images, "train": 9}})
        (tmp_path / "data/models" / name).mkdir(parents=True)
    return tmp_path


def test_results_of_each_active_dataset_are_printed(repository, capsys):
    main(["results"])
    assert capsys.readouterr().out.splitlines() == [
        "animals: 97.5% test accuracy (95 % interval 95.1% to 99.0%, 179 images)",
        "  report metrics/animals/report.html, pictures metrics/animals/plots",
        "food: 97.5% test accuracy (95 % interval 95.1% to 99.0%, 25250 images)",
        "  report metrics/food/report.html, pictures metrics/food/plots",
        "To see a report: bottletop report. To compare runs in MLflow: make ui",
    ]


def test_results_of_other_settings_or_of_a_failed_run_are_not_passed_off_as_current(repository, capsys):
    lock = {"stages": {"train@animals": {"params": {"params.yaml": {"train": {"epochs": 4}}}}}}
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
    (repository / "data/models/food").rmdir()
    main(["results"])
    assert [line for line in capsys.readouterr().out.splitlines() if "run dvc repro" in line] == [
        "animals: train.epochs changed since these results: run dvc repro",
        "food: the last run did not complete: run dvc repro",
    ]


def test_a_dataset_without_results_ends_with_one_line_and_no_traceback(repository):
    (repository / "metrics/food/metrics.json").unlink()
    with pytest.raises(SystemExit, match=r"^bottletop: food has no results yet: run dvc repro$"):
        main(["results"])


def shown_reports(repository, *arguments, **environment):
    """What `bottletop report` prints, and the addresses that it opens in a browser.

    Python finds this browser by its name, also in a terminal without a screen.
    """
    command = repository / "bin/www-browser"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$1" >> {repository}/opened\n')
    command.chmod(0o700)
    known = {name: value for name, value in os.environ.items() if name not in browser.SCREENS}
    path = {"PATH": f"{command.parent}:{os.environ['PATH']}", "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "bottletop", "report", *arguments],
        cwd=repository,
        env={**known, **path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    opened = repository / "opened"
    return done.stdout + done.stderr, opened.read_text().split() if opened.exists() else []


@pytest.mark.parametrize(("arguments", "datasets"), [((), ["animals", "food"]), (("food",), ["food"])])
def test_reports_are_opened_in_the_browser_and_their_paths_printed(repository, arguments, datasets):
    reports = [f"metrics/{dataset}/report.html" for dataset in datasets]
    for name in ("animals", "food"):
        (repository / "metrics" / name / "report.html").touch()
    printed, opened = shown_reports(repository, *arguments, BROWSER="www-browser")
    assert printed.splitlines() == reports
    assert opened == [(repository / report).as_uri() for report in reports]


def test_without_a_screen_the_path_of_the_report_is_only_printed(repository):
    (repository / "metrics/food/report.html").touch()
    assert shown_reports(repository, "food") == ("metrics/food/report.html\n", [])


def test_a_dataset_without_a_report_ends_with_one_line(repository):
    assert shown_reports(repository, "cats") == ("bottletop: cats has no results yet: run dvc repro\n", [])


def test_outside_a_repository_the_message_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="run this from the repository's root"):
        main(["results"])


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "results" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["reslts"]])
def test_an_unknown_command_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_command_starts_without_the_heavy_libraries():
    command = [sys.executable, "-X", "importtime", "-m", "bottletop", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "msgspec" in imported
    assert not imported & {"tensorflow", "keras", "mlflow", "pandas", "matplotlib", "sklearn", "scipy", "numpy", "PIL"}
    assert not imported & {"shtab", "email"}  # email: importlib.metadata, for the version


def test_stages_run_with_the_python_of_the_command_also_where_the_environment_is_not_active(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    main(["results"])
    assert shutil.which("python") == str(Path(sys.executable).with_name("python"))
    assert shutil.which("dvc") == str(Path(sys.executable).with_name("dvc"))


def test_it_runs_as_a_module_and_says_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "bottletop", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"bottletop {importlib.metadata.version('bottletop')}\n"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["results"], ["recipe"], ["completion", "bash"], ["--help"]], ids=" ".join
)
def test_it_ends_without_a_word_when_the_reader_closes_the_pipe(repository, arguments):
    shutil.copytree(ROOT / "recipes", "recipes")
    closed, pipe = os.pipe()
    os.close(closed)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-m", "bottletop", *arguments]
    done = subprocess.run(command, env=environment, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    os.close(pipe)
    assert (done.stderr, done.returncode) == ("", 128 + signal.SIGPIPE)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("bottletop swe", {"sweep"}),
        ("bottletop results --h", {"--help"}),
        ("bottletop export --only m", {"mlflow"}),
        ("bottletop predict ros", {"rose.jpg", "roses"}),
    ],
)
def test_bash_completes_commands_options_choices_and_files(tmp_path, typed, completed):
    (tmp_path / "roses").mkdir()
    (tmp_path / "rose.jpg").touch()
    words = typed.split()
    script = f"""
        source <({sys.executable} -m bottletop completion bash)
        COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}
        $(complete -p bottletop | sed -E 's/.* -F ([^ ]+) .*/\\1/') bottletop {words[-1]} {words[-2]}
        printf '%s\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (set(done.stdout.split()), done.stderr) == (completed, "")


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script_of_theirs(shell, capsys):
    main(["completion", shell])
    assert "sweep" in capsys.readouterr().out
