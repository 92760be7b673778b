"""Checks of DVC's remote as a colleague would find it: shared, reachable, verified, and without secrets in git."""

import configparser
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bottletop.doctor.dvc_cache import settings
from bottletop.doctor.findings import Finding, ok, problem, warning

TIMEOUT_S = 20  # seconds, for listing the remote
SHARED, OWN = Path(".dvc/config"), Path(".dvc/config.local")
SECRETS = {
    "access_key_id", "account_key", "client_secret", "connection_string", "custom_auth_header", "gdrive_client_secret",
    "oss_key_secret", "passphrase", "password", "sas_token", "secret_access_key", "session_token", "sse_customer_key",
    "token",
}  # fmt: skip
PROBE = "import sys; from bottletop.doctor.remote import probe; sys.exit(probe(sys.argv[1]))"


def remote() -> Iterator[Finding]:
    """Checks that there is a default remote, that it is the same in every clone, and that it answers now."""
    merged = settings()
    name, known = merged["core"].get("remote"), merged["remote"]
    if name is None:
        change = "modify folder url" if "folder" in known else "add folder"
        fix = f"dvc remote {change} /an/absolute/path; dvc remote default folder # or S3, SSH: docs/teams.md"
        yield warning("no default remote: results stay on this machine", fix)
        return
    if name not in known:
        listed = ", ".join(known) or "none"
        yield problem(
            f"the default remote {name} is not set up, only: {listed}", f"dvc remote add {name} /an/absolute/path"
        )
        return
    url = known[name]["url"]
    if "/your-" in url or "@your-" in url:
        fix = f"dvc remote modify {name} url ADDRESS # such as s3://bucket/path, see docs/teams.md"
        yield problem(f"the address of remote {name} is not filled in: {url}", fix)
        return
    shared = _sections(SHARED).get(name, {}).get("url", "")
    if shared and "://" not in shared and not Path(shared).is_absolute():
        yield problem(
            f"remote {name} has the relative address {shared}: every colleague would get a folder of their own",
            f"dvc remote modify {name} url {shlex.quote(str((SHARED.parent / shared).resolve()))}",
        )
    if not known[name].get("verify"):
        yield warning(
            f"what comes from {name} is not checked against its hash", f"dvc remote modify {name} verify true"
        )
    yield _answer(name, url)


def _answer(name: str, url: str) -> Finding:
    """Whether the remote answers now."""
    failure = _reach(name)
    if not failure:
        return ok(f"{name} ({url}) answers")
    local = "://" not in url
    fix = f"mkdir -p {shlex.quote(url)} # or mount it" if local else "dvc remote list # credentials: docs/teams.md"
    return problem(f"{name} ({url}) can't be listed: {failure}", fix)


def _reach(name: str) -> str:
    """Why the remote cannot be listed; empty if it can. A separate process can be ended, whatever it waits for."""
    command = [sys.executable, "-P", "-c", PROBE, name]  # -P: import the running library, not one in this folder
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            start_new_session=True,  # without a terminal, so that it cannot ask for a password
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1] if done.returncode else ""


def probe(name: str) -> str | None:
    """Lists the remote's folder.

    A push creates a missing folder, but not a missing bucket. So if the folder is missing, its nearest existing parent
    is listed instead, except on the local file system.

    Returns:
        Why listing failed; None if it succeeded.
    """
    from dvc.fs import get_cloud_fs

    try:
        kind, options, path = get_cloud_fs(settings(), name=name)
        system: Any = kind(**options)
        while True:
            try:
                next(iter(system.ls(path, detail=False)), None)
                return None
            except FileNotFoundError as error:
                above = system.parent(path)
                if above in ("", path) or system.protocol == "local":
                    return f"{type(error).__name__}: {path}"
                path = above
    except Exception as error:  # each kind of remote raises its own exceptions
        return f"{type(error).__name__}: {error}"


def secrets() -> Iterator[Finding]:
    """Checks for credentials that are in git, or that other users of this machine can read."""
    for name, options in _sections(SHARED).items():
        yield from _shared_secrets(name, options)
    own = _sections(OWN).values()
    if OWN.exists() and OWN.stat().st_mode & 0o044 and any(_holds_secrets(options) for options in own):
        yield problem(f"{OWN} holds credentials, and others may read it", f"chmod 600 {OWN}")
    yield ok(f"none in {SHARED}, none that others may read")


def _shared_secrets(name: str, options: dict[str, str]) -> Iterator[Finding]:
    own = f"dvc remote modify --local {name}"
    for option in sorted(SECRETS & options.keys()):
        yield problem(
            f"{SHARED}, which is in git, holds {option} of remote {name}: it is no secret any more, get a new one",
            f"dvc remote modify --unset {name} {option}; {own} {option} 'THE NEW ONE'; chmod 600 {OWN}",
        )
    url = urlsplit(options.get("url", ""))
    if url.password:
        clean = url._replace(netloc=f"{url.username}@{url.netloc.rpartition('@')[2]}").geturl()
        yield problem(
            f"{SHARED}, which is in git, holds a password in the address of remote {name}: get a new one",
            f"dvc remote modify {name} url {clean}; {own} password 'THE NEW ONE'; chmod 600 {OWN}",
        )


def _holds_secrets(options: dict[str, str]) -> bool:
    return bool(SECRETS & options.keys() or urlsplit(options.get("url", "")).password)


def _sections(path: Path) -> dict[str, dict[str, str]]:
    """The options of each remote as written in one configuration file, by the remote's name."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(path, encoding="utf-8")
    remotes = {name.strip("'"): parser[name] for name in parser.sections() if name.strip("'").startswith("remote ")}
    return {
        name.split('"')[1]: {key: value.strip("\"'") for key, value in section.items()}
        for name, section in remotes.items()
    }
