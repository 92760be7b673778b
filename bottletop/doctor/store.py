"""Checks of the MLflow tracking store as the next run will find it: present, current, with a place for artefacts."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bottletop.doctor.findings import Finding, note, ok, problem, some, warning
from bottletop.tracking.owner import is_gone
from bottletop.tracking.relocation import artefacts, former_places

TIMEOUT_S = 5  # seconds, for each of two attempts
CHECK_ADDRESS = 'curl --max-time 5 "$MLFLOW_TRACKING_URI/health" # is it running? otherwise: unset MLFLOW_TRACKING_URI'


def store() -> Iterator[Finding]:
    """Checks that the store answers, that its schema fits this MLflow, and that artefacts can be written."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(TIMEOUT_S))
    from bottletop.tracking.store import database, tracking_uri

    uri = tracking_uri()
    path = database(uri)
    if path is not None and not path.exists():
        yield ok(f"{uri} will be made by the first run")
        return
    refused = list(_schema(uri, path)) if "sql" in urlsplit(uri).scheme else []
    yield from refused
    if not refused:
        try:
            yield from _contents(uri, path)
        except Exception as error:  # raised by MLflow, requests or SQLAlchemy
            yield problem(f"{uri} does not answer: {error}", CHECK_ADDRESS)
    yield ok(f"{uri} answers")


def _schema(uri: str, path: Path | None) -> Iterator[Finding]:
    """Checks that MLflow would accept the database's schema. The database is only read.

    Args:
        uri: the address of the database.
        path: the file of an SQLite database, else None.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError

    aside = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.broken')} # the next run makes a new one"
    try:
        with create_engine(uri).connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            tables = inspect(connection).get_table_names()
            runs = connection.execute(text("select count(*) from runs")).scalar() if "runs" in tables else 0
    except SQLAlchemyError as error:
        fix = f"{aside}; or put a backup there"
        if path is None:
            fix = "pg_isready # is the database running? otherwise: unset MLFLOW_TRACKING_URI"
        yield problem(f"{uri} can't be opened: {str(error).splitlines()[0]}", fix)
        return
    scripts = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    revisions = [script.revision for script in scripts.walk_revisions()]  # the newest first
    if not tables:
        yield note(f"{uri} is empty: the first run fills it")
    elif path is not None and not runs and found in (None, *revisions[1:]):
        yield problem(
            f"{uri} holds no runs, and its tables are half made or of an older MLflow (schema {found})", aside
        )
    elif found != revisions[0]:
        yield _of_another_version(uri, path, str(found), revisions)


def _of_another_version(uri: str, path: Path | None, found: str, revisions: list[str]) -> Finding:
    """The finding for a database whose tables an older or newer MLflow made.

    Args:
        uri: the address of the database.
        path: the file of an SQLite database, else None.
        found: the revision of its tables.
        revisions: those that this MLflow knows, the newest first.
    """
    if found not in revisions:
        newer = f"{uri} was made by a newer MLflow (schema {found}, here {revisions[0]})"
        return problem(newer, "git pull; make install # MLflow as new as your colleagues'")
    named = '"$MLFLOW_TRACKING_URI"' if os.environ.get("MLFLOW_TRACKING_URI") else shlex.quote(uri)
    backup = f"cp {shlex.quote(str(path))} mlflow.db.backup; " if path else ""
    older = f"{uri} was made by an older MLflow (schema {found}, now {revisions[0]})"
    return problem(older, f"{backup}mlflow db upgrade {named}")


def _contents(uri: str, path: Path | None) -> Iterator[Finding]:
    """Checks where the experiments keep their artefacts, and looks for runs that nobody will finish.

    Args:
        uri: the address of the store.
        path: the file of an SQLite database, else None.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = client.search_experiments(filter_string="name LIKE 'bottletop/%'")
    places = {str(experiment.artifact_location) for experiment in experiments}
    former = former_places(path) if path is not None else []
    for place in former:
        moved = f"artefacts are expected in {place}, where this clone was before: the next run mends it"
        yield warning(moved, "bottletop runs # mends it now")
    for place in sorted(places - {artefacts(), *former}):
        yield from _unwritable(place)
    ids = [experiment.experiment_id for experiment in experiments]
    running = client.search_runs(ids, "attributes.status = 'RUNNING'") if ids else []
    gone = [run.info.run_name for run in running if is_gone(run.data.tags)]
    if gone:
        yield note(f"{len(gone)} killed: {some(gone)}; still RUNNING in MLflow, which the next run sets right")


def _unwritable(place: str) -> Iterator[Finding]:
    """Checks that the artefacts' folder exists and is writable, if it is on this machine."""
    path = _local(place)
    if path is None:
        return
    if not path.is_absolute():
        yield problem(f"artefacts go to {place}, a relative path", "mlflow server --serve-artifacts # docs/teams.md")
    elif not path.exists():
        yield problem(
            f"artefacts go to {place}, which is missing on this machine", f"mkdir -p {shlex.quote(str(path))}"
        )
    elif not os.access(path, os.W_OK):
        yield problem(f"artefacts go to {place}: you can't write there", f"sudo chmod -R g+w {shlex.quote(str(path))}")


def _local(place: str) -> Path | None:
    """The path that a ``file:`` address or plain path names; None for the address of a server or bucket."""
    parts = urlsplit(place)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None
