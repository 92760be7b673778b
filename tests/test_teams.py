"""A team that shares everything through a DVC remote: against real S3 and SSH servers on 127.0.0.1, and a folder."""

import configparser
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from benchmarks import samples
from bottletop.core.files import file_digest
from tests import project as small
from tests import servers
from tests.project import DATASET, run, stages_run

KINDS = ("s3", "ssh", "folder")
BIG_BYTES = 120_000_000
READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}


@dataclass(frozen=True)
class Remote:
    """How to reach a server's empty folder: settings for everybody, settings of one person, and what is in a shell."""

    kind: str
    settings: dict[str, str]
    own: dict[str, str] = field(default_factory=dict)
    shell: dict[str, str] = field(default_factory=dict)

    def publish(self, project: Path) -> None:
        """What one person does once for the team."""
        for name, value in self.settings.items():
            run(project, "dvc", "remote", "modify", self.kind, name, value)
        run(project, "dvc", "remote", "default", self.kind)
        samples.commit(project, "remote")

    def use(self, project: Path) -> None:
        """What everybody does in each clone."""
        for name, value in self.own.items():
            run(project, "dvc", "remote", "modify", "--local", self.kind, name, value)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3]:
    with servers.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Ssh]:
    with servers.ssh_server(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


@pytest.fixture
def remote_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Remote]:
    """Makes a remote of a kind, for this test alone; what belongs into the shell is in the environment from then on."""

    def make(kind: str) -> Remote:
        if kind == "s3":
            server = request.getfixturevalue("s3")
            place = {"url": f"s3://{server.bucket}/{tmp_path.name}", "endpointurl": server.address}
            remote = Remote(kind, place, shell=server.keys("writer"))
        elif kind == "ssh":
            server = request.getfixturevalue("ssh")
            place = {"url": f"ssh://{server.user}@127.0.0.1:{server.port}{tmp_path}/remote"}
            remote = Remote(kind, place, own={"keyfile": str(server.key)})
        else:
            remote = Remote(kind, {"url": str(tmp_path / "remote")})
        for name, value in remote.shell.items():
            monkeypatch.setenv(name, value)
        return remote

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pipeline has run once. Its pictures and weights are gone: colleagues never had them."""
    folder = tmp_path_factory.mktemp("finished")
    project = small.make(folder)
    run(project, "dvc", "repro")
    samples.commit(project, "first results")
    shutil.rmtree(project / "pictures")
    (folder / "weights.h5").unlink()
    return project


@pytest.fixture
def pushed(finished: Path, tmp_path: Path) -> Callable[[Remote], Path]:
    """Makes a copy of the finished project that has pushed everything, to Git, too (a bare repository beside it)."""

    def make(remote: Remote) -> Path:
        project = Path(shutil.copytree(finished, tmp_path / "mine", symlinks=True))
        remote.publish(project)
        remote.use(project)
        samples.git(project, "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
        samples.git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
        run(project, "dvc", "push")
        return project

    return make


def colleague(project: Path, remote: Remote) -> Path:
    """A colleague's fresh clone: an empty cache, a site cache of its own."""
    clone = project.parent / "colleague"
    samples.git(project, "clone", "--quiet", "--branch=main", str(project.parent / "origin.git"), str(clone))
    remote.use(clone)
    return clone


def test_the_template_has_three_verified_remotes_and_none_that_is_contacted() -> None:
    config = configparser.ConfigParser()
    config.read(samples.ROOT / ".dvc" / "config")
    assert "remote" not in config["core"]
    for kind in KINDS:
        assert config[f"'remote \"{kind}\"'"]["verify"] == "true"


@pytest.mark.slow
@pytest.mark.server
class TestSharing:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_fresh_clone_gets_every_result_without_computing(self, kind, remote_of, pushed) -> None:
        remote = remote_of(kind)
        project = pushed(remote)
        clone = colleague(project, remote)
        assert stages_run(run(clone, "dvc", "repro", "--pull")) == []
        for name in (f"data/models/{DATASET}/top.keras", f"data/features/{DATASET}/noise-000.npy"):
            assert (clone / name).read_bytes() == (project / name).read_bytes()
        assert samples.git(clone, "status", "--porcelain") == ""
        assert not (clone / "mlflow.db").exists()  # a result is logged once, where it was made
        assert stages_run(run(clone, "dvc", "repro")) == []

    def test_a_colleagues_experiment_is_restored_and_not_trained_again(self, remote_of, pushed) -> None:
        remote = remote_of("s3")
        project = pushed(remote)
        run(project, "dvc", "exp", "run", "--name", "longer", "-S", "train.epochs=7")
        run(project, "dvc", "exp", "push", "origin", "longer", "--run-cache")
        clone = colleague(project, remote)
        output = run(clone, "dvc", "exp", "run", "--pull", "-S", "train.epochs=7")
        assert stages_run(output) == ["track"]
        [tracked] = small.tracked_runs(clone)
        assert (tracked["status"], tracked["restored"], tracked["epochs"]) == ("FINISHED", "true", 7)
        for name in ("history.csv", "metrics.json", "details.json", "classification_report.csv"):
            shared = Path("metrics", DATASET, name)
            assert (clone / shared).read_bytes() == (project / shared).read_bytes()
        run(clone, "dvc", "exp", "pull", "origin", "longer")
        assert "longer" in run(clone, "dvc", "exp", "list")

    def test_a_clone_without_pull_or_pictures_says_what_to_do(self, remote_of, pushed) -> None:
        remote = remote_of("folder")
        clone = colleague(pushed(remote), remote)
        output = run(clone, "dvc", "repro", check=False)
        assert f"{clone / 'pictures'}, which is missing" in output
        assert "dvc repro --pull" in output
        assert stages_run(run(clone, "dvc", "repro", "--pull")) == []

    def test_experiments_go_on_where_the_pictures_are_missing(self, remote_of, pushed) -> None:
        remote = remote_of("folder")
        clone = colleague(pushed(remote), remote)
        run(clone, "dvc", "repro", "--pull")
        output = run(clone, "dvc", "exp", "run", "--temp", "-S", "train.seed=1")
        assert stages_run(output) == ["train", "evaluate", "track"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with a little file to share; its remotes are those of the project."""
    project = tmp_path / "mine"
    project.mkdir()
    samples.git(project, "init", "--quiet", "--initial-branch=main")
    run(project, "dvc", "init", "--quiet")
    shutil.copy(samples.ROOT / ".dvc" / "config", project / ".dvc" / "config")
    (project / "shared").mkdir()
    (project / "shared" / "file").write_text("content")
    return project


def share(project: Path, remote: Remote) -> None:
    """Adds the folder, and makes the remote known to everybody who clones."""
    run(project, "dvc", "add", "--quiet", "shared")
    remote.publish(project)
    remote.use(project)
    samples.git(project, "clone", "--quiet", "--bare", ".", str(project.parent / "origin.git"))


@pytest.mark.slow
@pytest.mark.server
class TestFaults:
    """Each ends with a message and an exit code other than 0; `run` sees to the latter."""

    def test_no_default_remote_is_named(self, repository) -> None:
        assert "no remote specified" in run(repository, "dvc", "push", check=False)

    def test_a_folder_that_was_not_filled_in_is_named(self, repository) -> None:
        run(repository, "dvc", "add", "--quiet", "shared")
        assert "'/dev/null/your-shared-folder" in run(repository, "dvc", "push", "--remote=folder", check=False)

    def test_a_folder_that_is_not_mounted_has_no_files(self, repository, remote_of) -> None:
        remote = remote_of("folder")
        share(repository, remote)
        run(repository, "dvc", "push")
        (repository.parent / "remote").rename(repository.parent / "unmounted")
        output = run(colleague(repository, remote), "dvc", "pull", check=False)
        assert "do not exist neither locally nor on remote" in output

    @pytest.mark.parametrize(
        ("shell", "settings", "message"),
        [
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, {}, "Forbidden"),
            (READER, {}, "Access Denied"),
            ({}, {"url": "s3://elsewhere/bottletop"}, "The specified bucket does not exist"),
            ({}, {"endpointurl": "http://127.0.0.1:1"}, "Could not connect to the endpoint URL"),  # nobody listens
        ],
        ids=["wrong secret", "read-only account", "wrong bucket", "server down"],
    )
    def test_s3_that_cannot_be_written_to(self, shell, settings, message, repository, remote_of, monkeypatch) -> None:
        remote = remote_of("s3")
        share(repository, Remote("s3", remote.settings | settings))
        for name, value in shell.items():
            monkeypatch.setenv(name, value)
        assert message in run(repository, "dvc", "push", check=False)

    def test_s3_without_credentials(self, repository, remote_of, monkeypatch) -> None:
        share(repository, remote_of("s3"))
        for name in READER:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # nobody else is asked
        assert "Unable to locate credentials" in run(repository, "dvc", "push", check=False)

    def test_s3_that_may_be_read_is_enough_to_pull(self, repository, remote_of, monkeypatch) -> None:
        remote = remote_of("s3")
        share(repository, remote)
        run(repository, "dvc", "push")
        for name, value in READER.items():
            monkeypatch.setenv(name, value)
        clone = colleague(repository, remote)
        run(clone, "dvc", "pull")
        assert (clone / "shared" / "file").read_text() == "content"

    def test_an_ssh_key_that_the_server_does_not_know(self, repository, remote_of, ssh) -> None:
        share(repository, Remote("ssh", remote_of("ssh").settings, own={"keyfile": str(ssh.key.with_name("host"))}))
        assert "Permission denied" in run(repository, "dvc", "push", check=False)


@pytest.mark.slow
@pytest.mark.server
class TestDamage:
    @pytest.mark.parametrize("kind", ["s3", "ssh"])
    def test_kill_9_during_push_and_pull_costs_nothing_but_the_time(self, kind, repository, remote_of, s3) -> None:
        remote = remote_of(kind)
        big = repository / "shared" / "big"
        big.write_bytes(os.urandom(BIG_BYTES))
        digest = file_digest(big)
        share(repository, remote)

        def arriving() -> bool:
            uploads = s3.client().list_multipart_uploads(Bucket=s3.bucket)
            return "Uploads" in uploads or any(repository.parent.glob("remote/files/md5/*/.*.tmp"))

        kill_when(repository, "push", arriving)
        assert file_digest(big) == digest
        run(repository, "dvc", "push")
        clone = colleague(repository, remote)
        kill_when(clone, "pull", lambda: any(clone.glob(".dvc/cache/files/md5/*/.*.tmp")))
        assert not (clone / "shared").exists()
        run(clone, "dvc", "pull")
        assert file_digest(clone / "shared" / "big") == digest
        assert "up to date" in run(clone, "dvc", "status")

    def test_an_ssh_server_that_breaks_off_costs_nothing_but_the_time(self, repository, remote_of, ssh) -> None:
        remote = remote_of("ssh")
        big = repository / "shared" / "big"
        big.write_bytes(os.urandom(BIG_BYTES))
        share(repository, remote)
        arriving = repository.parent / "remote/files/md5"
        assert "ERROR" in break_off_when(ssh, repository, "push", lambda: any(arriving.glob("*/.*.tmp")))
        run(repository, "dvc", "push")
        clone = colleague(repository, remote)
        arriving = clone / ".dvc/cache/files/md5"
        assert "ERROR" in break_off_when(ssh, clone, "pull", lambda: any(arriving.glob("*/.*.tmp")))
        assert not (clone / "shared").exists()
        run(clone, "dvc", "pull")
        assert file_digest(clone / "shared" / "big") == file_digest(big)

    def test_a_damaged_object_is_refused_until_it_is_pushed_again(self, repository, remote_of, s3) -> None:
        remote = remote_of("s3")
        share(repository, remote)
        run(repository, "dvc", "push")
        [damaged, listing] = sorted(objects(s3, remote), key=lambda key: key.endswith(".dir"))
        s3.client().put_object(Bucket=s3.bucket, Key=damaged, Body=b"CONTENT")
        clone = colleague(repository, remote)
        assert "shared" in run(clone, "dvc", "pull", check=False)
        assert not (clone / "shared").exists()
        assert damaged.split("/")[-1] not in {path.name for path in clone.glob(".dvc/cache/files/md5/*/*")}
        assert "corrupted cache file" in run(clone, "dvc", "fetch", "--verbose")

        s3.client().delete_object(Bucket=s3.bucket, Key=damaged)
        s3.client().delete_object(Bucket=s3.bucket, Key=listing)  # where it is there, DVC believes its files are, too
        run(repository, "dvc", "push")
        run(clone, "dvc", "pull")
        assert (clone / "shared" / "file").read_text() == "content"


def kill_when(project: Path, command: str, condition: Callable[[], bool]) -> None:
    """Kill -9 for a ``dvc push`` or ``pull`` that has come so far."""
    started = small.start(project, "dvc", command)
    small.wait_for(lambda: condition() or started.poll() is not None)
    started.kill()
    assert started.wait() == -signal.SIGKILL


def break_off_when(server: servers.Ssh, project: Path, command: str, condition: Callable[[], bool]) -> str:
    """Ends the server's connections when a ``dvc push`` or ``pull`` has come so far; returns what DVC prints then."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = subprocess.Popen(["dvc", command], cwd=project, env=samples.environment(project), **output)
    small.wait_for(lambda: condition() or started.poll() is not None)
    for connection in psutil.Process(int(server.key.with_name("pid").read_text())).children(recursive=True):
        connection.kill()
    printed, _ = started.communicate(timeout=60)
    assert started.returncode
    return printed


def objects(server: servers.S3, remote: Remote) -> list[str]:
    prefix = remote.settings["url"].removeprefix(f"s3://{server.bucket}/")
    listed = server.client().list_objects_v2(Bucket=server.bucket, Prefix=f"{prefix}/files")
    return [entry["Key"] for entry in listed["Contents"]]


PAGE = (samples.ROOT / "docs" / "teams.md").read_text()


class Person:
    """Somebody at a shell, who types what the page says."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.shell = {f"GIT_{role}_{what}": name for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def type(self, command: str) -> str:
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
        elif command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.shell[name] = value
        else:
            settings = [f"{name}={value}" for name, value in self.shell.items()]
            return run(self.folder, "env", *settings, "bash", "-c", command)
        return ""


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(600)  # two minutes where nothing else runs
def test_the_commands_of_the_page_run_in_the_order_given(finished, tmp_path, s3, ssh) -> None:
    """`make install` apart, whose environment is at hand. The placeholders stand for this test's servers."""
    [port] = servers.free_ports(1)
    places = {
        "/mnt/team/": f"{tmp_path}/mounted/",
        "ssh://your-server/srv/": f"ssh://127.0.0.1:{ssh.port}{tmp_path}/served/",
        "ssh user anna": f"ssh user {ssh.user}",
        "~/.ssh/id_ed25519": str(ssh.key),
        "s3://your-bucket/": f"s3://{s3.bucket}/page/",
        "https://s3.your-company.example": s3.address,
        "YOUR-KEY": "writer",
        "YOUR-SECRET": "writer-secret",
        "git@your-server:bottletop.git": f"{tmp_path}/origin.git bottletop",
        "/srv/mlflow": f"{tmp_path}/mlflow",
        "5000": str(port),
        "make install": f"ln -s {samples.ROOT / '.venv'} .venv",
    }
    anna = Person(Path(shutil.copytree(finished, tmp_path / "anna", symlinks=True)), "anna")
    samples.git(anna.folder, "reset", "--quiet", "HEAD~1")  # the results are not committed yet
    samples.git(anna.folder, "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    samples.git(anna.folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    anna.type("git push --quiet --set-upstream origin main")
    people = {"anna": anna, "ben": Person(tmp_path, "ben")}
    said, last = {}, ""
    with ExitStack() as stack:
        for name, command, output in re.findall(
            r"^(?:(anna|ben)\$ (.+)|```text\n((?:[^`\n].*\n)+))", PAGE, re.MULTILINE
        ):
            typed = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], command)
            if output:
                shown = output.replace("my-photos", DATASET).splitlines()
                assert set(shown) <= set(last.splitlines())
            elif "mlflow server" in command:
                stack.enter_context(servers.mlflow_server(typed, port, tmp_path / "mlflow"))
            else:
                last = said[command] = people[name].type(typed)
    assert stages_run(said["dvc repro --pull"]) == []
    assert stages_run(said["dvc exp run --pull -S train.epochs=80"]) == ["track"]
    assert "longer" in said["dvc exp list origin"]
    [logged] = small.tracked_runs(tmp_path / "mlflow")
    assert logged["status"] == "FINISHED"
