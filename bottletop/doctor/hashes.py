"""Finds files that were changed in place. DVC trusts times and mode bits, so every file is hashed again here.

With hard links, writing to a file in ``data/`` also changes the cache, and every clone that shares the cache. DVC then
restores the damaged file from its run cache without noticing. The only fix is to remove the file from both places.
"""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from bottletop.core.files import file_digest
from bottletop.core.progress import bar
from bottletop.doctor.dvc_cache import cache_objects, outputs, settings
from bottletop.doctor.findings import Finding, note, ok, problem, some, warning
from bottletop.tracking.owner import dvc_commands

A_WHILE_BYTES = 1e9  # less is hashed in a second or two, without a progress bar
Hashes = dict[Path, str]  # the MD5 of each file


def hashes(*, quick: bool) -> Iterator[Finding]:
    """Compares each file's MD5 with dvc.lock, and that of each cache object with its name."""
    objects = cache_objects()
    expected = outputs(objects)
    counted = f"{len(expected)} outputs and {len(objects)} cache objects"
    if quick:
        yield note(f"{counted} were not hashed (--quick)")
        return
    if running := dvc_commands(Path.cwd()):
        yield note(f"not hashed while DVC runs here (PID {running[0]})", "bottletop doctor # when it has ended")
        return
    found, unread = _digests([*objects.values(), *expected])
    damaged = {
        name: path for name, path in objects.items() if path in found and found[path] != name.removesuffix(".dir")
    }
    wrong = {path: md5 for path, md5 in expected.items() if path in found and found[path] != md5}
    if damaged:
        yield _damaged(damaged, [path for path, md5 in wrong.items() if md5 in damaged])
    yield from _changed({path: md5 for path, md5 in wrong.items() if md5 not in damaged}, objects, found)
    if unread:
        yield problem(f"{some(unread)} can't be read", f'sudo chown -R "$USER" {shlex.join(map(str, unread))}')
    yield ok(f"{counted} hashed: none was changed in place")


def _damaged(damaged: dict[str, Path], links: list[Path]) -> Finding:
    """The finding for damaged cache objects, and for the outputs that are links to them."""
    pull = "dvc pull; " if settings()["core"].get("remote") else ""
    names = f"{some(links)} and in DVC's cache {some(damaged.values())}" if links else some(damaged.values())
    return problem(
        f"changed in place, which DVC does not notice: {names}",
        f"rm -f {_arguments([*damaged.values(), *links])}; {pull}dvc repro",
    )


def _changed(wrong: Hashes, objects: dict[str, Path], found: Hashes) -> Iterator[Finding]:
    """Findings for outputs that differ from dvc.lock although the cache is not damaged."""
    others = [path for path in wrong if found[path] in objects]  # they hold another cached version
    edited = [path for path in wrong if path not in others]
    if others:
        yield warning(f"of another version than dvc.lock: {some(others)}", f"dvc checkout {_arguments(others)}")
    if edited:
        names = _arguments(edited)  # checkout skips metrics, which git keeps; repro makes them
        yield problem(
            f"changed in place, or left by a stage that failed: {some(edited)}",
            f"rm -f {names}; dvc checkout {names}; dvc repro",
        )


def _digests(paths: list[Path]) -> tuple[Hashes, list[Path]]:
    """The MD5 of each file, and the files that cannot be read. Hard links to the same file are read once."""
    same: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        status = path.stat()
        same.setdefault((status.st_dev, status.st_ino), []).append(path)
    found: Hashes = {}
    unread: list[Path] = []
    sizes = [links[0].stat().st_size for links in same.values()]
    with bar("hashing", "B", sum(sizes), unit_scale=True, leave=False, disable=sum(sizes) < A_WHILE_BYTES) as shown:
        for links, size in zip(same.values(), sizes, strict=True):
            try:
                found |= dict.fromkeys(links, file_digest(links[0], "md5"))
            except PermissionError:
                unread += links
            shown.update(size)
    return found, unread


def _arguments(paths: Iterable[Path]) -> str:
    return shlex.join(map(str, paths))
