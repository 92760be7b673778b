"""The tracking store: MLflow's database in this repository, or the one that ``MLFLOW_TRACKING_URI`` names."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before MLflow is imported
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # 7, the default, take minutes if a server is down
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")  # with one retry, 16 s until a silent server is given up

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bottletop.core.addresses import masked
from bottletop.core.errors import ArtefactError, BottletopError, reason
from bottletop.core.files import replacing
from bottletop.core.imports import quick_imports
from bottletop.core.paths import repository
from bottletop.tracking import relocation

SQLITE = "sqlite:///"
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # which MLflow reads before each request
UPLOAD_S = 60  # a server may keep a large file in a bucket before it answers


def tracking_uri() -> str:
    """The address of the tracking store.

    ``MLFLOW_TRACKING_URI`` if set; otherwise one database in the main repository, whichever folder the stages run in. A
    relative path of a database is resolved against the main repository: the folder of a temporary experiment is
    deleted, and the database would be deleted with it.
    """
    named = database(os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db")
    return os.environ["MLFLOW_TRACKING_URI"] if named is None else _address(named)


def database(uri: str) -> Path | None:
    """The absolute path of the SQLite database that a tracking URI names; None for a server or another database."""
    return repository() / unquote(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


@contextmanager
def store() -> Iterator[MlflowClient]:
    """Yields a client of the tracking store. A local store that does not exist yet is made.

    Raises:
        ArtefactError: the tracking store cannot be reached, or refuses a request.
    """
    uri = tracking_uri()
    try:
        path = database(uri)
        if path is not None:
            # Two processes that make a database at the same time would leave a broken one.
            with FileLock(f"{path}.lock"), quick_imports():  # MlflowClient imports SQLAlchemy
                if path.exists():
                    _follow(path)
                else:
                    _make(path)
                client = MlflowClient(uri)
                client.search_experiments(max_results=1)
        else:
            client = MlflowClient(uri)
        yield client
    except MlflowException as error:
        problem = masked(f"the MLflow store {uri} failed ({reason(error)})")
        raise ArtefactError(problem, "check MLFLOW_TRACKING_URI, then dvc repro") from error


@contextmanager
def uploading() -> Iterator[None]:
    """Waits at least `UPLOAD_S` seconds for the answer to each request."""
    usual = os.environ[TIMEOUT]
    os.environ[TIMEOUT] = str(max(UPLOAD_S, int(usual)))
    try:
        yield
    finally:
        os.environ[TIMEOUT] = usual


def _follow(path: Path) -> None:
    try:
        relocation.follow(path)
    except (sqlite3.Error, OSError) as error:
        problem = f"this clone was moved, and {path} can't be made to expect its artefacts here ({error})"
        raise ArtefactError(problem, "bottletop doctor") from error


@contextmanager
def transfer(place: str) -> Iterator[None]:
    """Explains why files could not be copied from or to the place where a run or a model keeps them.

    Args:
        place: its address, such as ``s3://bucket/folder``.

    Raises:
        ArtefactError: it cannot be reached, or refuses. Each kind of place raises errors of its own.
    """
    try:
        yield
    except BottletopError:
        raise
    except Exception as error:
        problem = masked(f"files can't be copied from or to {place} ({type(error).__name__}: {reason(error)})")
        raise ArtefactError(problem, "is it there, may you use it, and are its packages installed?") from error


def _make(path: Path) -> None:
    """Makes the database beside its place and then moves it there.

    MLflow makes its tables in dozens of steps. A process that is killed in between, or a full disk, would leave a
    database that MLflow can neither open nor repair.
    """
    with replacing(path) as new:
        MlflowClient(_address(new)).search_experiments(max_results=1)


def _address(path: Path) -> str:
    """The URI of a SQLite database. SQLAlchemy takes a ``%`` in a path for an escape, and a ``?`` for its end."""
    return SQLITE + str(path).replace("%", "%25").replace("?", "%3F")
