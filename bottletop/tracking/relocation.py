"""A clone that was moved or copied: MLflow's database holds absolute paths of artefacts, which must follow it."""

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bottletop.core.files import replacing
from bottletop.core.paths import repository
from bottletop.core.terminal import say

ADDRESSES = (  # table and column of each address of artefacts in MLflow's database, runs before what they contain
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("experiments", "artifact_location"),
)


def artefacts() -> str:
    """The address of the folder in which this clone's own database keeps its artefacts."""
    return (repository() / "mlartifacts").as_uri()


def former_places(database: Path) -> list[str]:
    """The folders in which the clone's own database expects its artefacts, other than `artefacts`, as addresses.

    Places that somebody chose, such as a bucket, are not among them.

    Args:
        database: an SQLite file; there are no former places if it is outside the clone, and so may be a team's.
    """
    if not database.is_relative_to(repository()):
        return []
    query = """
        select distinct artifact_location from experiments
        where name like 'bottletop/%' and artifact_location like 'file:%/mlartifacts' and artifact_location != ?
    """
    with closing(sqlite3.connect(database)) as connection:
        try:
            return sorted(str(place) for (place,) in connection.execute(query, [artefacts()]))
        except sqlite3.Error:  # it is empty or damaged: MLflow itself fills it, or says so
            return []


def follow(database: Path) -> None:
    """Makes the clone's own database expect its artefacts in the clone, if it expects them where the clone was before.

    Artefacts that were written to the former place since the clone was moved or copied are copied from there first.

    Raises:
        sqlite3.Error: the database cannot be written to, or is of an older MLflow.
        OSError: artefacts cannot be copied.
    """
    for place in former_places(database):
        with closing(sqlite3.connect(database)) as connection, connection:
            for table, column in ADDRESSES:
                rows = connection.execute(f"select rowid, {column} from {table}")  # noqa: S608 (names from above)
                inside = [(row, str(address)) for row, address in rows if f"{address}/".startswith(f"{place}/")]
                for row, address in inside:
                    _fetch(address, place)
                    moved = artefacts() + address.removeprefix(place)
                    connection.execute(f"update {table} set {column} = ? where rowid = ?", [moved, row])  # noqa: S608
        say(f"MLflow's artefacts are in {_path(artefacts())} now, no longer in {_path(place)}", file=sys.stderr)


def _fetch(address: str, place: str) -> None:
    """Copies a folder of artefacts from the former place, unless it is here already."""
    old = _path(address)
    new = _path(artefacts()) / old.relative_to(_path(place))
    if old.is_dir() and not new.exists():
        with replacing(new) as made:
            shutil.copytree(old, made)


def _path(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))
