"""Real servers for a team's remote on 127.0.0.1, on free ports: S3 by SeaweedFS, and SSH by an sshd of one's own."""

import getpass
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError

START_S = 60  # at most
SSHD = Path("/usr/sbin/sshd")


@dataclass(frozen=True)
class S3:
    """A running server; the account "writer" may do everything, "reader" only read; see `keys`."""

    address: str
    bucket: str = "team"

    def keys(self, account: str) -> dict[str, str]:
        """What an account has in its environment."""
        return {"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": f"{account}-secret"}

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id="writer",
            aws_secret_access_key="writer-secret",  # noqa: S106 (of a server that lives as long as the test)
            region_name="us-east-1",
            config=botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=10),
        )


@dataclass(frozen=True)
class Ssh:
    """A running server that lets the current user in with a key."""

    port: int
    key: Path
    user: str


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """SeaweedFS with one empty bucket, its data in `folder`."""
    actions = {"writer": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], "actions": allowed}
        for name, allowed in actions.items()
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    names += [f"{name}.grpc" for name in names]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = ["weed", "server", "-s3", "-ip=127.0.0.1", f"-dir={folder / 'data'}", f"-s3.config={folder / 's3.json'}"]
    command += ["-master.telemetry=false", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-volume.max=50", f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    server = S3(f"http://127.0.0.1:{ports['s3.port']}")
    with _running(command, folder):
        _wait_for(lambda: _bucket_made(server), folder)
        yield server


@contextmanager
def ssh_server(folder: Path) -> Iterator[Ssh]:
    """An sshd that the current user runs, with host and user keys of its own in `folder`."""
    if not SSHD.exists():
        pytest.skip(f"needs {SSHD}: apt install openssh-server")
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as Debian's service does; other users need none
    for name in ("host", "user"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    [port] = free_ports(1)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    with _running([str(SSHD), "-D", "-e", "-f", str(folder / "config")], folder):
        _wait_for(lambda: _answers(port), folder)
        yield Ssh(port, folder / "user", getpass.getuser())


@contextmanager
def mlflow_server(command: str, port: int, folder: Path) -> Iterator[None]:
    """The shell command, which starts a tracking server at the port; its log goes to `folder`."""
    with _running(["bash", "-c", command], folder):
        _wait_for(lambda: _answers(port), folder)
        yield


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    """The command, its output in ``server.log``; stopped at the end, whatever happens."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()  # nothing of it is needed any more, and SeaweedFS takes its time to end
        process.wait()


def _wait_for(ready: Callable[[], bool], folder: Path) -> None:
    end = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"no answer in {START_S} s:\n{(folder / 'server.log').read_text()[-3000:]}")
        time.sleep(0.2)


def _bucket_made(server: S3) -> bool:
    try:
        server.client().create_bucket(Bucket=server.bucket)
        server.client().put_object(Bucket=server.bucket, Key="ready", Body=b"")  # the volumes are there, too
    except server.client().exceptions.BucketAlreadyOwnedByYou:
        pass
    except (BotoCoreError, ClientError):
        return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
