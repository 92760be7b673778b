"""Checks of DVC's cache and site cache: where they are, who may write to them, and how files are linked."""

import grp
import os
import pwd
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from bottletop.doctor.dvc_cache import cache_folder, cache_objects, data_folder, link_type, outputs, settings
from bottletop.doctor.findings import Finding, note, ok, problem, warning

LITTLE_SPACE_BYTES = 5e9  # size of the features of Food-101
WORTH_RELINKING_BYTES = 1e8  # smaller duplicates are not reported
SITE = '"$HOME/.cache/bottletop/site"'  # not in the clone: DVC would make its former place again if the clone is moved
SET_SITE_CACHE = (  # as in `make install`: DVC itself would make the folder writable by everyone
    f"install -d -m 700 {SITE}; dvc config --local core.site_cache_dir {SITE}"
)


def cache() -> Iterator[Finding]:
    """Checks that the cache is writable, has free space, and is linked to the workspace instead of copied."""
    path = cache_folder()
    if not path.exists():
        yield ok(f"{path} will be made by the first dvc repro")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield problem(
            f"{path} belongs to {_owner(path)}: you can't write to it", f'sudo chown -R "$USER" {_quoted(path)}'
        )
        return
    free = shutil.disk_usage(path).free
    used = link_type()
    if used == "copy":
        yield _copies(path)
    elif used != "reflink":  # a reflink cannot be told from a copy
        yield from _twice()
    if free < LITTLE_SPACE_BYTES:
        yield warning(
            f"only {free / 1e9:.1f} GB free in {path}", f"du -sh {_quoted(path)} data mlartifacts # what is large"
        )
    yield ok(f"{'copies' if used == 'copy' else f'{used}s'}, {path}, {free / 1e9:.1f} GB free")


def _copies(path: Path) -> Finding:
    apart = path.stat().st_dev != data_folder().stat().st_dev
    kinds = "reflink,hardlink,symlink,copy" if apart else "reflink,hardlink,copy"
    why = f"{path} is on another filesystem than {data_folder().absolute()}" if apart else "cache.type has no links"
    return warning(f"every checkout is a copy: {why}", f"dvc config --local cache.type {kinds}; dvc checkout --relink")


def _twice() -> Iterator[Finding]:
    """Reports files that take space twice.

    DVC leaves the folders that a stage has just made as copies, although it could link them to the cache.
    """
    objects = cache_objects()
    pairs = [(path, objects[md5]) for path, md5 in outputs(objects).items() if md5 in objects]
    size = sum(path.stat().st_size for path, kept in pairs if not path.samefile(kept))
    if size > WORTH_RELINKING_BYTES:
        yield note(f"{size / 1e9:.1f} GB are in data/ and again in the cache", "dvc checkout --relink")


def site_cache() -> Iterator[Finding]:
    """Checks that nobody else can write to the site cache, because DVC unpickles its files (CVE-2025-69872)."""
    from dvc.dirs import site_cache_dir

    configured = settings()["core"].get("site_cache_dir")
    path = Path(site_cache_dir(configured))
    from_environment = "DVC_SITE_CACHE_DIR" in os.environ
    if not configured and not from_environment:
        yield problem(f"others may write to {path}, which DVC unpickles (CVE-2025-69872)", SET_SITE_CACHE)
        return
    elsewhere = f"unset DVC_SITE_CACHE_DIR; {SET_SITE_CACHE}" if from_environment else SET_SITE_CACHE
    anew = f"install -d -m 700 {_quoted(path)}" if from_environment else SET_SITE_CACHE
    if not path.exists():
        yield problem(f"{path} is missing, and DVC would make it writable by others (CVE-2025-69872)", anew)
    elif path.stat().st_uid != os.getuid():
        yield problem(f"{path}, which DVC unpickles, belongs to {_owner(path)}, not to you", elsewhere)
    elif writable := _writable_by_others(path):
        fix = f"rm -rf {_quoted(path)}; {anew}"  # this also removes what others left there
        yield problem(f"others may write to {writable}, which DVC unpickles (CVE-2025-69872)", fix)
    else:
        yield ok(f"{path} is yours alone")


def _writable_by_others(path: Path) -> Path | None:
    """The first folder that someone else may write to: `path` or one below it. None if there is none."""
    if not path.stat().st_mode & 0o033:  # nobody else may enter or write
        return None
    folders = (Path(folder) for folder, _, _ in os.walk(path))
    return next((folder for folder in folders if _open_to_others(folder)), None)


def _open_to_others(path: Path) -> bool:
    """Whether someone else may write. A group named after the owner, as on Debian, is the owner's own."""
    status = path.stat()
    try:
        own_group = grp.getgrgid(status.st_gid).gr_name == _owner(path)
    except KeyError:  # a group without a name
        own_group = False
    return bool(status.st_mode & 0o002 or (status.st_mode & 0o020 and not own_group))


def _owner(path: Path) -> str:
    try:
        return pwd.getpwuid(path.stat().st_uid).pw_name
    except KeyError:
        return f"user {path.stat().st_uid}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
