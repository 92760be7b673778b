import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from benchmarks.samples import answering
from bottletop.tracking import client
from bottletop.tracking.client import answers, warn_of_silence, without_password
from tests import web


@contextmanager
def server(status: int) -> Iterator[str]:
    """The address of a server that answers everything with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as address:
        yield address


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("status", [200, 401, 503])
def test_a_server_that_answers_is_there_even_when_it_asks_for_a_password(status):
    with server(status) as address:
        assert answers(address)
        assert answers(f"{address.replace('//', '//me:secret@')}/")


def test_one_that_refuses_connections_or_says_nothing_is_not(silent):
    with server(200) as address:
        pass
    assert not answers(address)
    assert not answers(silent)


@pytest.mark.parametrize("answer", web.BEFORE_THE_BODY)
def test_one_that_never_ends_its_headers_is_not(answer, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", 0.3)
    with web.serving(answer) as address:
        assert not answers(address)


def test_one_that_leads_elsewhere_is_there_and_not_followed():
    with web.serving(lambda request: web.begin(request, 302, Location="http://192.0.2.1/")) as address:
        assert answers(address)


def test_one_that_is_not_among_the_hosts_of_downloads_is_asked(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "example.org")
    with server(200) as address:
        assert answers(address)


def test_one_with_a_wrong_certificate_is_there():
    """A server without TLS gives the same error as one with a certificate of its own."""
    with server(200) as address:
        assert answers(address.replace("http:", "https:"))


@pytest.mark.parametrize("address", ["http://", "http://127.0.0.1:port", "http://127.0.0.1:99999"])
def test_what_is_no_address_is_not_either(address):
    assert not answers(address)


def test_the_warning_names_the_address_without_the_password(capsys):
    with server(200) as address:
        pass
    warn_of_silence(address.replace("//", "//me:secret@") + "?token=secret")
    assert capsys.readouterr().err == (
        f"no MLflow server answers at {address}?token=***, so training will not start: check MLFLOW_TRACKING_URI\n"
    )


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "postgresql://127.0.0.1:1/none"])
def test_databases_are_not_asked(uri, capsys):
    warn_of_silence(uri)
    assert capsys.readouterr().err == ""


def test_an_address_without_a_password_stays_as_it_is():
    assert without_password("https://mlflow.example/team") == "https://mlflow.example/team"
