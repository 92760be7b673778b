"""Experiments where git does not know the user, as in a container or on a new machine."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks import samples
from bottletop.cli import main
from bottletop.core.errors import ArtefactError
from bottletop.experiments import refs
from tests.tiny import ROOT

UNKNOWN = r"git does not know your name and email, .*: git config --global user.name 'Your Name'; git config"


@pytest.fixture
def repository(_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This project's settings and recipes in one commit, and git without any settings of the user's."""
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    samples.git(tmp_path, "init", "--quiet")
    samples.commit(tmp_path, "start")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for part in ("NAME", "EMAIL"):
        monkeypatch.delenv(f"GIT_COMMITTER_{part}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["recipe", "skin-cnn"], ["sweep", "train.epochs=5,10"]], ids=" ".join)
def test_a_recipe_and_a_sweep_say_what_to_do_and_change_nothing(repository: Path, command: list[str]) -> None:
    with pytest.raises(SystemExit, match=UNKNOWN):
        main(command)
    assert samples.git(repository, "status", "--porcelain") == ""


def test_name_and_email_are_enough_in_this_repositorys_settings_or_in_git_s_variables(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.git(repository, "config", "user.name", "Ada")
    with pytest.raises(ArtefactError):
        refs.refuse_anonymous()
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "ada@localhost")
    refs.refuse_anonymous()


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit", ["", "s/^  validation: 0.1/  validation: 0.2/", "s/^split:/split/"], ids=["unedited", "edited", "damaged"]
)
def test_a_recipe_that_fails_leaves_params_yaml_as_it_was_unless_somebody_has_edited_it(
    repository: Path, edit: str
) -> None:
    for name in ("name", "email"):
        samples.git(repository, "config", f"user.{name}", "me")
    subprocess.run(["dvc", "init", "--quiet"], check=True, env=samples.environment(repository))
    stage = {"cmd": f"sed -i -e '{edit}' params.yaml; false", "params": ["train.model"]}
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fails": stage}}))
    samples.commit(repository, "a stage that fails")
    before = (repository / "params.yaml").read_text()
    with pytest.raises(SystemExit, match="recipe skin-cnn failed"):
        main(["recipe", "skin-cnn"])
    after = (repository / "params.yaml").read_text()
    assert (after == before) is not bool(edit)
    assert ("\n  model: cnn " in after) is bool(edit)
