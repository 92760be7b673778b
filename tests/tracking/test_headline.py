import subprocess

import pytest

from bottletop.core.files import write_json
from bottletop.tracking.headline import closing

SCORES = {"accuracy": 0.975, "accuracy_low": 0.9512, "accuracy_high": 0.99}
HEADLINE = "animals: 97.5% test accuracy (95 % interval 95.1% to 99.0%, 179 images)"
FILES = "  report metrics/animals/report.html, pictures metrics/animals/plots"
PUSH = "  results stay on this machine: `dvc push`, which DVC suggests, needs a remote (docs/teams.md)"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a default remote, whose results are not committed."""
    for name in ("DVC_EXP_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    remote = shared\n")
    write_json(tmp_path / "metrics/animals/metrics.json", SCORES)
    write_json(tmp_path / "metrics/animals/details.json", {"images": {"test": 179}})
    git("init", "--quiet")
    return tmp_path


def git(*arguments):
    user = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run(["git", *user, *arguments], check=True)


def commit(project):
    git("add", "-A")
    git("commit", "--quiet", "-m", "results")


def test_a_run_ends_with_its_score_and_where_the_report_is(project):
    assert closing("animals").splitlines() == [HEADLINE, FILES]


def test_the_score_stands_beside_that_of_the_last_commit(project):
    commit(project)
    write_json(project / "metrics/animals/metrics.json", {**SCORES, "accuracy": 0.8})
    first = HEADLINE.replace("97.5%", "80.0%", 1)
    assert closing("animals").splitlines()[0] == f"{first}; the last commit has 97.5%"


def test_without_a_remote_the_hint_to_push_is_explained(project):
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n['remote \"s3\"']\n    url = s3://x\n")
    assert closing("animals").splitlines()[-1] == PUSH
    (project / ".dvc/config.local").write_text("[core]\n    remote = s3\n")
    assert closing("animals").splitlines()[-1] == FILES


def test_an_experiment_in_a_folder_of_its_own_says_how_to_see_its_results(project, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-cats")
    monkeypatch.setenv("DVC_ROOT", str(project.parent))
    assert closing("animals").splitlines()[1:] == [
        "  its report, model and curves: bottletop runs brave-cats --open; to have them here: dvc exp apply brave-cats"
    ]
