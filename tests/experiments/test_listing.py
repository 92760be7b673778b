import json
import re
import shlex
import socket
import subprocess
import sys
import time
import webbrowser
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks import samples
from bottletop.cli import main
from bottletop.experiments import listing, refs
from bottletop.tracking import browser, sweeps
from bottletop.tracking.owner import STARTED
from bottletop.tracking.runs import LiveRun, Result, finish, tracking_uri
from tests import project as small
from tests.project import DATASET, run
from tests.tiny import ROOT

METRICS = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.95, "val_accuracy": 0.925}
WORKSPACE = "datasets: [animals]\ntrain: {epochs: 60, hidden: []}\n"
PULLED = "datasets: [animals]\ntrain: {epochs: 9, hidden: []}\n"


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=me", "-c", "user.email=me@localhost")
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def save_experiment(name: str, params: str = PULLED, dataset: str = "animals", age_s: int = 0) -> str:
    """Keeps the params and metrics as DVC keeps an experiment: a commit that no branch holds, named by a ref."""
    baseline = git("rev-parse", "HEAD")
    Path("params.yaml").write_text(params)
    scores = Path("metrics", dataset, "metrics.json")
    scores.parent.mkdir(parents=True, exist_ok=True)
    scores.write_text(json.dumps({"accuracy": 0.8, "val_accuracy": 0.75}))
    git("add", "--all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", f"@{int(time.time()) - age_s} +0000")
        commit = git("commit-tree", "-p", baseline, "-m", name, git("write-tree"))
    git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", commit)
    git("reset", "--quiet", "--hard")
    return baseline


def log(
    patch: pytest.MonkeyPatch, name: str | None, dataset: str = "animals", epochs: int = 60, ended: bool = True
) -> str:
    """A finished run of the experiment of that name, or of a plain `dvc repro`, whose command has ended; its id."""
    with patch.context() as inner:
        if name is not None:
            inner.setenv("DVC_EXP_NAME", name)
        digests = {"model_digest": "m" * 64, "data_digest": "d" * 64, "weights_digest": "w" * 64}
        result = Result(METRICS, [{"epoch": 1.0, "val_loss": 0.5}], {}, **digests)
        run_id = finish(dataset, {"train": {"epochs": epochs, "hidden": []}, "source": "{}"}, result)
    if ended:  # this process, which started it, lives on
        MlflowClient(tracking_uri()).set_tag(run_id, STARTED, "0.00")
    return run_id


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit and an empty store, which takes a second to create."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        Path("params.yaml").write_text(WORKSPACE)
        Path(".gitignore").write_text("/mlflow.db*\n/.dvc/\n")
        git("init", "--quiet", "--initial-branch=main")
        git("add", "--all")
        git("commit", "--quiet", "--message", "start")
        LiveRun("nothing", {})
    return folder


@pytest.fixture(autouse=True)
def repository(_at_home, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    subprocess.run(["cp", "-r", f"{template}/.", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(datasets: tuple[str, ...] | None = ("animals",), limit: int = 20) -> list[list[str]]:
    """The cells of each line of the table, its heading left out."""
    lines = listing.table(datasets, limit).split("\n\n")[0].splitlines()[3:]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def test_an_experiment_is_listed_beside_its_run(monkeypatch):
    baseline = save_experiment("tidy-otter")
    run_id = log(monkeypatch, "tidy-otter")
    [line] = listed()
    assert line[:7] == ["tidy-otter", "animals", run_id[:8], "finished", "restored", "0.925", "0.900 (0.85 to 0.95)"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", line[7])
    assert line[8] == baseline[:7]


def test_a_plain_repro_is_listed_by_its_commit_and_never_as_removed(monkeypatch):
    log(monkeypatch, None)
    assert listed()[0][0] == git("rev-parse", "--short=7", "HEAD")


def test_an_experiment_pulled_from_a_colleague_shows_a_dash_for_the_run_and_its_own_scores():
    save_experiment("from-afar")
    [line] = listed()
    assert line[:7] == ["from-afar", "animals", "-", "-", "-", "0.750", "0.800"]


def test_a_run_whose_experiment_was_removed_says_so(monkeypatch):
    log(monkeypatch, "tidy-otter")
    assert listed()[0][0] == "tidy-otter (removed)"


def test_a_run_that_a_command_has_not_yet_saved_as_an_experiment_is_not_called_removed(monkeypatch):
    log(monkeypatch, "tidy-otter", ended=False)
    assert listed()[0][0] == "tidy-otter"


def test_a_run_that_failed_is_not_called_removed(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "hopeless")
    live = LiveRun("animals", {})
    live.end("FAILED")
    MlflowClient(tracking_uri()).set_tag(live._run_id, STARTED, "0.00")
    assert listed()[0][:7] == ["hopeless", "animals", live._run_id[:8], "failed", "-", "-", "-"]


def test_the_newest_come_first_with_or_without_a_run(monkeypatch):
    for number in range(2):
        log(monkeypatch, f"run-{number}")
    save_experiment("older", age_s=60)
    save_experiment("newer", age_s=-60)
    assert [line[0].split()[0] for line in listed()] == ["newer", "run-1", "run-0", "older"]


def test_the_limit_holds_for_both_kinds_together(monkeypatch):
    for number in range(3):
        log(monkeypatch, f"run-{number}")
    save_experiment("from-afar", age_s=-60)
    assert [line[0].split()[0] for line in listed(limit=2)] == ["from-afar", "run-2"]


def test_of_many_pulled_ones_the_newest_are_listed():
    for age_s in (60, 0, 120):
        save_experiment(f"age-{age_s}", age_s=age_s)
    assert [line[0] for line in listed(limit=2)] == ["age-0", "age-60"]


def test_an_experiment_whose_run_is_beyond_the_limit_is_not_taken_for_one_without(monkeypatch):
    for number in range(3):
        log(monkeypatch, f"run-{number}")
    save_experiment("run-0", age_s=-60)  # it took long
    assert [line[0].split()[0] for line in listed(limit=2)] == ["run-2", "run-1"]


def test_only_active_datasets_are_listed_unless_all_are_asked_for(monkeypatch):
    log(monkeypatch, "tidy-otter", "food")
    save_experiment("food-from-afar", "datasets: [food]\n", "food")
    assert listing.table(("animals",), 20).startswith("no experiments yet")
    assert {line[0] for line in listed(None)} >= {"tidy-otter (removed)", "food-from-afar"}


def test_an_experiment_on_two_datasets_has_a_line_for_each():
    save_experiment("both", "datasets: [animals, food]\n")
    assert sorted(line[1] for line in listed(None) if line[0] == "both") == ["animals", "food"]


def test_the_pages_of_the_runs_open_with_the_scores(monkeypatch):
    log(monkeypatch, "tidy-otter")
    found = [line.split() for line in listing.table(("animals",), 20).splitlines() if "http" in line]
    runs = "http://127.0.0.1:5000/#/experiments/2/runs?workflowType=machine_learning&viewStateShareKey"
    assert [(words[0], words[-1]) for words in found] == [
        ("best", f"{runs}=bottletop-best"),
        ("newest", f"{runs}=bottletop"),
        ("curves", f"{runs}=bottletop-best&compareRunsMode=CHART"),
    ]
    tags = MlflowClient(tracking_uri()).get_experiment("2").tags
    assert json.loads(tags["mlflow.sharedViewState.bottletop"])["name"] == "Newest"


def test_a_run_that_holds_those_of_a_sweep_together_is_no_experiment(monkeypatch):
    log(monkeypatch, "tidy-otter")
    with sweeps.parents(["animals"], ["train.epochs=5,10"]):
        log(monkeypatch, "epochs=5")
    assert sorted(line[0].split()[0] for line in listed()) == ["epochs=5", "tidy-otter"]


def test_looking_creates_no_store(repository):
    (repository / "mlflow.db").unlink()
    save_experiment("from-afar")
    assert len(listed()) == 1
    assert not (repository / "mlflow.db").exists()


def test_the_command_lists_the_active_datasets(monkeypatch, capsys):
    log(monkeypatch, "tidy-otter")
    log(monkeypatch, "other", "food")
    main(["runs"])
    assert "tidy-otter" in (printed := capsys.readouterr().out)
    assert "food" not in printed
    main(["runs", "--all", "--limit", "1"])
    assert "food" in (printed := capsys.readouterr().out)
    assert "tidy-otter" not in printed


def test_open_needs_the_name_of_what_to_open():
    with pytest.raises(SystemExit, match="needs the name"):
        main(["runs", "--open"])


def test_no_limit_below_one_is_taken(capsys):
    with pytest.raises(SystemExit):
        main(["runs", "--limit", "0"])
    assert "must be a whole number, 1 or more, got 0" in capsys.readouterr().err


# One experiment


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(["runs", name])
    return capsys.readouterr().out


@pytest.mark.parametrize("by", ["name", "id"])
def test_one_is_shown_by_its_name_or_the_start_of_its_runs_id(by, monkeypatch, capsys):
    save_experiment("tidy-otter")
    run_id = log(monkeypatch, "tidy-otter", epochs=5)
    text = shown("tidy-otter" if by == "name" else run_id[:6], capsys)
    assert text.startswith("tidy-otter, animals, finished, restored, 20")
    assert f"http://127.0.0.1:5000/#/experiments/2/runs/{run_id}?workflowType=machine_learning\n" in text
    for fact in (git("rev-parse", "HEAD"), "d" * 64, "w" * 64, "m" * 64, socket.gethostname(), "keras "):
        assert fact in text


def test_only_the_params_that_differ_from_the_workspaces_are_shown(monkeypatch, capsys):
    log(monkeypatch, "tidy-otter", epochs=5)
    text = shown("tidy-otter", capsys)
    assert re.search(r"train\.epochs +5 +\(params\.yaml: 60\)", text)
    assert "train.hidden" not in text


def test_the_scores_are_shown_and_those_of_single_epochs_are_not(monkeypatch, capsys):
    log(monkeypatch, "tidy-otter")
    text = shown("tidy-otter", capsys)
    assert re.search(r"accuracy_low +0\.850", text)
    assert "epoch_" not in text


def test_a_pulled_one_is_shown_with_its_params_scores_and_dvcs_commands(capsys):
    baseline = save_experiment("from-afar")
    text = shown("from-afar", capsys)
    assert "none in this MLflow store" in text
    assert re.search(r"train\.epochs +9 +\(params\.yaml: 60\)", text)
    assert re.search(r"\baccuracy +0\.800", text)
    assert f"  dvc exp diff {baseline[:7]} from-afar\n" in text


def test_a_removed_one_is_not_offered_to_dvc(monkeypatch, capsys):
    log(monkeypatch, "tidy-otter")
    text = shown("tidy-otter", capsys)
    assert "tidy-otter is not in this repository" in text
    assert "dvc exp apply" not in text


def test_more_runs_of_one_name_are_mentioned(monkeypatch, capsys):
    first = log(monkeypatch, "tidy-otter", "food")
    log(monkeypatch, "tidy-otter")
    assert f"1 more of that name: {first[:8]}" in shown("tidy-otter", capsys)


def test_an_unknown_name_is_answered_with_near_ones(monkeypatch):
    log(monkeypatch, "tidy-otter")
    save_experiment("tidy-other")
    with pytest.raises(SystemExit, match=r"called 'tidy-ottr'.*did you mean tidy-otter or tidy-other"):
        main(["runs", "tidy-ottr"])


@pytest.mark.parametrize("name", ["it's", 'a"b', "xyzzy", "100%", "abc' OR '1"])
def test_a_name_that_nothing_resembles_points_at_the_list(name):
    with pytest.raises(SystemExit, match=r"no experiment is called .*bottletop runs --all lists them"):
        main(["runs", name])


def test_a_servers_page_is_named_without_the_password(monkeypatch):
    record = listing.find(log(monkeypatch, "tidy-otter"))[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example:8443/team/")
    assert (
        listing.page(record)
        == f"https://mlflow.example:8443/team/#/experiments/2/runs/{record.run_id}?workflowType=machine_learning"
    )


def test_opening_without_a_server_says_what_to_do(monkeypatch):
    log(monkeypatch, "tidy-otter")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("PORT", str(unused.getsockname()[1]))
        with pytest.raises(SystemExit, match=r"no MLflow server answers at http://127.0.0.1:\d+: type make ui"):
            main(["runs", "tidy-otter", "--open"])


def test_opening_shows_the_page_in_the_browser(monkeypatch, tmp_path):
    """The browser is a command that writes the address down, as the environment variable BROWSER may name any."""
    run_id = log(monkeypatch, "tidy-otter")

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(tmp_path / "opened"))}\n')
    script.chmod(0o755)
    with samples.answering(Healthy) as address:
        monkeypatch.setenv("PORT", address.rpartition(":")[2])
        monkeypatch.setattr(webbrowser, "_tryorder", None)  # read BROWSER anew
        monkeypatch.setenv("BROWSER", f"{script} %s")
        main(["runs", "tidy-otter", "--open"])
    assert (
        tmp_path / "opened"
    ).read_text() == f"{address}/#/experiments/2/runs/{run_id}?workflowType=machine_learning\n"


def test_where_there_is_no_screen_the_address_to_open_is_said(monkeypatch):
    run_id = log(monkeypatch, "tidy-otter")
    for name in browser.SCREENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(listing, "answers", lambda _: True)
    with pytest.raises(SystemExit, match=f"no web browser was found: open http://127.0.0.1:5000/.*{run_id}"):
        main(["runs", "tidy-otter", "--open"])


def test_one_without_a_run_has_no_page_to_open():
    save_experiment("from-afar")
    with pytest.raises(SystemExit, match="from-afar has no MLflow run here"):
        main(["runs", "from-afar", "--open"])


def test_listing_loads_no_tensorflow(monkeypatch):
    log(monkeypatch, "tidy-otter")
    command = [sys.executable, "-X", "importtime", "-m", "bottletop", "runs"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**samples.environment(Path.cwd()), "PYTHONPATH": str(ROOT)},
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "tidy-otter" in done.stdout
    assert not imported & {"tensorflow", "keras", "matplotlib", "sklearn"}


@pytest.mark.slow
class TestRealExperiments:
    """DVC's own experiments, pulled and removed as users do it."""

    @pytest.fixture(scope="class")
    def project(self, finished: small.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
        project = small.copy(finished.folder, tmp_path_factory.mktemp("runs"))
        for epochs in (3, 4):
            run(project, "dvc", "exp", "run", "--temp", "--name", f"epochs-{epochs}", "-S", f"train.epochs={epochs}")
        return project

    def test_the_list_holds_what_dvc_lists_and_the_plain_repro(self, project, monkeypatch):
        listed_by_dvc = run(project, "dvc", "exp", "list", "--all-commits", "--name-only").split()
        monkeypatch.chdir(project)
        assert sorted(one.name for one in refs.saved()) == sorted(listed_by_dvc) == ["epochs-3", "epochs-4"]
        table = run(project, "bottletop", "runs").split("\n\n")[0]
        assert table.count(" finished ") == 3
        assert [line.split()[0] for line in table.splitlines()[3:5]] == ["epochs-4", "epochs-3"]

    def test_the_commands_it_prints_work(self, project):
        text = run(project, "bottletop", "runs", "epochs-3")
        assert re.search(r"train\.epochs +3 +\(params\.yaml: 5\)", text)
        commands = re.findall(r"^  (dvc .+)$", text, re.MULTILINE)
        assert [command.split()[1] for command in commands] == ["exp", "exp", "plots"]
        assert "epochs-3" in run(project, *shlex.split(commands[1]))
        assert "index.html" in run(project, *shlex.split(commands[2]))
        run(project, *shlex.split(commands[0]))
        assert "epochs: 3" in (project / "params.yaml").read_text()
        samples.git(project, "reset", "--quiet", "--hard")

    def test_a_colleague_who_pulled_it_sees_it_without_a_run(self, project, tmp_path):
        clone = tmp_path / "clone"
        run(project, "git", "clone", "--quiet", str(project), str(clone))
        run(clone, "dvc", "exp", "pull", "--no-cache", "origin", "epochs-3")
        [line] = run(clone, "bottletop", "runs").splitlines()[3:]
        assert line.split()[:4] == ["epochs-3", DATASET, "-", "-"]
        scores = json.loads(
            samples.git(project, "show", f"{experiment(project, 'epochs-3')}:metrics/{DATASET}/metrics.json")
        )
        assert f"{scores['accuracy']:.3f}" in line

    def test_a_removed_one_is_called_so(self, project):
        run(project, "dvc", "exp", "remove", "epochs-4")
        assert "epochs-4 (removed)" in run(project, "bottletop", "runs")


def experiment(project: Path, name: str) -> str:
    """The commit of the experiment of that name."""
    return samples.git(project, "for-each-ref", "--format=%(objectname)", f"refs/exps/**/{name}")


def test_control_characters_of_an_experiment_and_its_tags_are_written_out(monkeypatch, capsys):
    run_id = log(monkeypatch, "evil")
    client = MlflowClient(tracking_uri())
    client.set_tag(run_id, "experiment", "ev\x1b[31mil\nname")
    client.set_tag(run_id, "machine", "here\r\x1b]0;there\a")
    assert listed()[0][0].removesuffix(" (removed)") == r"ev\x1b[31mil\x0aname"
    main(["runs", run_id])
    printed = capsys.readouterr().out
    assert r"here\x0d\x1b]0;there\x07" in printed
    assert not set("\x1b\r\a") & set(printed)
