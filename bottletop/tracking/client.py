"""Checks whether an MLflow server answers, and prepares its address for display."""

import sys
from urllib.parse import urlsplit

from bottletop.core.addresses import masked
from bottletop.core.errors import ArtefactError
from bottletop.core.terminal import say

TIMEOUT_S = 2


def is_server(uri: str) -> bool:
    """Whether a tracking URI names a server rather than a database."""
    return uri.startswith(("http://", "https://"))


def answers(address: str) -> bool:
    """Whether a server answers at the address within `TIMEOUT_S` seconds.

    HTTP errors, such as a request for a password, and TLS errors, such as a self-signed certificate, count as answers.
    """
    from bottletop.core.http_client import responds  # takes 20 ms to import; `sources` runs with every command

    return responds(f"{without_password(address)}/health", TIMEOUT_S)


def warn_of_silence(uri: str) -> None:
    """Prints a warning if the tracking URI names a server that does not answer.

    A warning is enough: a pipeline without changes needs no server, features extracted meanwhile are kept, and training
    itself refuses to start.
    """
    if is_server(uri) and not answers(uri):
        say(f"{_silent(uri)}, so training will not start: check MLFLOW_TRACKING_URI", file=sys.stderr)


def refuse_silence(uri: str) -> None:
    """Raises an error if the tracking URI names a server that does not answer.

    Raises:
        ArtefactError: it does not answer.
    """
    if is_server(uri) and not answers(uri):
        raise ArtefactError(_silent(uri), "check MLFLOW_TRACKING_URI, then dvc repro")


def _silent(uri: str) -> str:
    return f"no MLflow server answers at {masked(without_password(uri))}"


def without_password(address: str) -> str:
    """The address without user name, password and trailing slash."""
    return urlsplit(address)._replace(netloc=urlsplit(address).netloc.rpartition("@")[2]).geturl().rstrip("/")
