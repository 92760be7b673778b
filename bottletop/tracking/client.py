"""The MLflow server that a web address names: whether it is there, and how to show its address."""

import sys
from urllib.parse import urlsplit

TIMEOUT_S = 2


def is_server(uri: str) -> bool:
    """Whether a tracking URI names a server, not a database."""
    return uri.startswith(("http://", "https://"))


def answers(address: str) -> bool:
    """Whether a server answers there in time, if only to ask for a password or to show a certificate of its own."""
    import ssl  # these take 20 ms, and `sources`, which every command runs, rarely needs them
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    try:
        with urllib.request.urlopen(f"{without_password(address)}/health", timeout=TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, HTTPException, ValueError):  # no whole answer in time, not a web server, not an address
        return False


def warn_of_silence(uri: str) -> None:
    """Says at once that the server of a tracking URI is down, and no more.

    A pipeline without changes needs none, features extracted meanwhile are kept, and training refuses to start.
    """
    if is_server(uri) and not answers(uri):
        message = f"no MLflow server answers at {without_password(uri)}, so training will not start"
        print(f"{message}: check MLFLOW_TRACKING_URI", file=sys.stderr)


def without_password(address: str) -> str:
    """The address less a user's name, a password and a last slash."""
    return urlsplit(address)._replace(netloc=urlsplit(address).netloc.rpartition("@")[2]).geturl().rstrip("/")
