import gzip
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from bottletop.core import http_client
from bottletop.core.catalogue import Part, Source
from bottletop.core.errors import DataError
from bottletop.core.files import file_digest
from bottletop.download import fetch as module
from bottletop.download.fetch import fetch, verify
from bottletop.download.parts import Parts, _archive
from tests import web
from tests.memory import peak_kb
from tests.pictures import jpeg, write_zip

pytestmark = pytest.mark.server

MIB = 1 << 20
DATA = hashlib.shake_128(b"photos").digest(3 * MIB)
OTHER = hashlib.shake_128(b"other photos").digest(3 * MIB)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@dataclass
class Site:
    """What the server has, how it misbehaves, and what it was asked."""

    port: int = 0
    data: bytes = DATA
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True  # can send parts
    length: bool = True  # tells the length
    tells_size: bool = True  # of the file, where it is asked for more than there is
    faults: list[dict[str, Any]] = field(default_factory=list)  # of the next requests: status, drop_after, hang_s …
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    received: list[Any] = field(default_factory=list)  # the headers of each request
    sent: list[int] = field(default_factory=list)  # bytes of each answer

    def url(self, host: str = "127.0.0.1", name: str = "photos.zip") -> str:
        return f"http://{host}:{self.port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = self.server.site
        site.asked.append(self.headers["Range"])
        site.received.append(self.headers)
        fault = site.faults.pop(0) if site.faults else {}
        time.sleep(fault.get("hang_s", 0))
        if "status" in fault:
            self.answer(fault["status"], b"", fault.get("headers", {}))
            return
        body, status, extent = site.data, 200, ""
        part = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if part and site.ranges and self.headers["If-Range"] in site.headers.values():
            body, status = body[int(part[1]) :][: fault.get("most")], 206
            extent = f"bytes {part[1]}-{int(part[1]) + len(body) - 1}/{len(site.data)}"
        if part and not body:
            self.answer(416, b"", {"Content-Range": f"bytes */{len(site.data)}"} if site.tells_size else {})
            return
        headers = {**site.headers, **({"Content-Range": extent} if extent else {}), **fault.get("headers", {})}
        self.answer(status, body, headers, fault.get("drop_after"))

    def answer(self, status: int, body: bytes, headers: dict[str, str], drop_after: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.server.site.sent.append(len(body[:drop_after]))
        with suppress(ConnectionError):  # who has waited too long is gone
            self.wfile.write(body[:drop_after])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.site = Site(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would have been waited."""
    seconds: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; returns the folder of the downloads."""
    monkeypatch.setenv("BOTTLETOP_CACHE", str(tmp_path))
    monkeypatch.delenv("BOTTLETOP_HOSTS", raising=False)
    return tmp_path / "downloads"


def downloaded(cache) -> list[bytes]:
    """The contents of the cache, without locks and notes."""
    return [path.read_bytes() for path in cache.iterdir() if path.suffix not in (".lock", ".etag")]


# The good case


def test_the_file_is_kept_in_the_cache(site, cache):
    path = fetch(site.url(), SHA256)
    assert path.parent == cache
    assert path.name.endswith("-photos.zip")
    assert downloaded(cache) == [DATA]


@pytest.mark.parametrize("checksum", [SHA256, f"md5:{hashlib.md5(DATA).hexdigest()}", None])  # noqa: S324
def test_a_second_fetch_asks_nobody(site, checksum):
    first = fetch(site.url(), checksum)
    assert fetch(site.url(), checksum) == first
    assert len(site.asked) == 1


def test_files_of_one_name_from_different_places_are_kept_apart(site):
    first = fetch(site.url(name="a/photos.zip"), None)
    site.data = OTHER
    second = fetch(site.url(name="b/photos.zip"), None)
    assert (first.read_bytes(), second.read_bytes()) == (DATA, OTHER)


def test_the_length_need_not_be_told(site):
    site.length = False
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_an_empty_file_is_refused_and_not_kept(site, cache):
    site.data = b""
    with pytest.raises(DataError, match="the server sent an empty file; it is not kept"):
        fetch(site.url(), None)
    assert downloaded(cache) == []


def test_a_redirect_is_followed(site):
    site.faults = [{"status": 302, "headers": {"Location": "/storage/photos.zip"}}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_without_a_checksum_the_line_to_paste_is_printed(site, capsys):
    path = fetch(site.url(), None)
    assert capsys.readouterr().out.splitlines() == [
        f"{site.url()}: no checksum is known; to pin these bytes, add to its source in datasets.yaml:",
        f"      sha256: {SHA256.removeprefix('sha256:')}",
        f"  (to download it again, delete {path})",
    ]


def test_with_a_checksum_nothing_is_printed(site, capsys):
    fetch(site.url(), SHA256)
    assert capsys.readouterr().out == ""


# Broken connections


def test_a_broken_download_goes_on_where_it_stopped(site, waits):
    site.faults = [{"drop_after": 2 * MIB}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked == [None, f"bytes={2 * MIB}-"]
    assert site.sent == [2 * MIB, MIB]


def test_a_broken_download_loses_nothing(site, waits):
    site.faults = [{"drop_after": 2 * MIB - 1}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert sum(site.sent) == len(DATA)


def test_a_download_may_break_several_times(site, waits):
    site.faults = [{"drop_after": MIB}, {"drop_after": MIB // 2}, {"status": 503}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked == [None, f"bytes={MIB}-", f"bytes={MIB * 3 // 2}-", f"bytes={MIB * 3 // 2}-"]


def test_a_later_process_goes_on_where_an_earlier_one_stopped(site, waits, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.faults = [{"drop_after": MIB}]
    with pytest.raises(
        DataError, match=r"gave up after 1 attempts, 1048576 bytes kept in \S+photos.zip.part: .*delete that file"
    ):
        fetch(site.url(), SHA256)
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.sent == [MIB, 2 * MIB]


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_file_that_has_changed_in_between_is_downloaded_anew(site, waits, monkeypatch, name):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.data, site.headers, site.faults = OTHER, {name: '"1"'}, [{"drop_after": MIB}]
    with pytest.raises(DataError):
        fetch(site.url(), SHA256)
    site.data, site.headers = DATA, {name: '"2"'}
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked[1] == f"bytes={MIB}-"
    assert site.sent == [MIB, len(DATA)]


def test_a_server_that_cannot_send_parts_sends_all_of_it_again(site, waits):
    site.ranges, site.faults = False, [{"drop_after": MIB}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.sent == [MIB, len(DATA)]


def test_without_a_version_there_is_nothing_to_go_on_from(site, waits):
    """The kept part could be of another file."""
    site.headers, site.faults = {}, [{"drop_after": MIB}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked == [None, None]


def leave_part(site, monkeypatch, size):
    """Breaks a download off after so many bytes, then shortens the site's file to a MiB; returns its checksum."""
    site.faults = [{"drop_after": size}]
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    checksum = f"sha256:{hashlib.sha256(DATA[:MIB]).hexdigest()}"
    with pytest.raises(DataError):
        fetch(site.url(), checksum)
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    site.data = DATA[:MIB]
    return checksum


@pytest.mark.parametrize("tells_size", [True, False])
def test_a_complete_part_is_downloaded_anew_only_where_the_server_does_not_tell_the_size(
    site, waits, monkeypatch, tells_size
):
    """The process ended after the last byte, before the file had its name."""
    site.tells_size = tells_size
    checksum = leave_part(site, monkeypatch, MIB)
    assert fetch(site.url(), checksum).read_bytes() == site.data
    assert site.asked == [None, f"bytes={MIB}-"] + ([] if tells_size else [None])


def test_a_part_that_is_longer_than_the_file_is_downloaded_anew(site, waits, monkeypatch):
    checksum = leave_part(site, monkeypatch, 2 * MIB)
    assert fetch(site.url(), checksum).read_bytes() == site.data


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(site, waits, status):
    site.faults = [{"status": status}] * 2
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert (len(site.asked), waits) == (3, [1, 2])


def test_a_server_that_falls_silent_is_asked_again(site, waits, monkeypatch):
    monkeypatch.setattr(http_client, "HEADERS_S", 0.2)
    site.faults = [{"hang_s": 0.5}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert len(site.asked) == 2


def test_after_five_attempts_it_gives_up_and_says_so(site, waits):
    site.faults = [{"status": 503}] * 9
    with pytest.raises(DataError, match=r"gave up after 5 attempts, 0 bytes kept in .*: HTTP 503 Service Unavailable"):
        fetch(site.url(), SHA256)
    assert (len(site.asked), waits) == (5, [1, 2, 4, 8])


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_says_no_is_not_asked_again(site, waits, status):
    site.faults = [{"status": status}]
    with pytest.raises(DataError, match=f"HTTP {status} "):
        fetch(site.url(), SHA256)
    assert (len(site.asked), waits) == (1, [])


def test_a_download_that_breaks_often_but_gets_on_is_not_given_up(site, waits):
    site.faults = [{"drop_after": MIB // 4}] * 9
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert len(site.asked) == 10


def test_a_host_that_does_not_answer_is_an_error_of_ours(site, waits):
    closed = site.url().replace(str(site.port), "1")
    with pytest.raises(DataError, match="gave up after 5 attempts"):
        fetch(closed, SHA256)


# Wrong bytes


def test_wrong_bytes_are_refused_with_both_checksums_and_not_kept(site, cache):
    site.data = OTHER
    with pytest.raises(DataError) as caught:
        fetch(site.url(), SHA256)
    assert SHA256.removeprefix("sha256:") in str(caught.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert downloaded(cache) == []


def test_after_wrong_bytes_the_right_ones_are_fetched(site, cache):
    site.data = OTHER
    with pytest.raises(DataError):
        fetch(site.url(), SHA256)
    site.data = DATA
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_a_file_cut_off_by_a_server_that_does_not_tell_the_length_is_refused(site, cache):
    site.length, site.faults = False, [{"drop_after": MIB}]
    with pytest.raises(DataError, match=r"expected sha256 \w+, got \w+; what was downloaded is deleted"):
        fetch(site.url(), SHA256)
    assert downloaded(cache) == []


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(site):
    path = fetch(site.url(), SHA256)
    path.write_bytes(b"damaged")
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_the_bytes_are_kept_and_hashed_as_they_were_sent(site):
    site.data, site.headers = gzip.compress(DATA), {"Content-Encoding": "gzip"}
    checksum = f"sha256:{hashlib.sha256(site.data).hexdigest()}"
    assert fetch(site.url(), checksum).read_bytes() == site.data


PAGE = b"\n<!DOCTYPE HTML><html><form>Log in</form></html>"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PAGE, "text/html; charset=utf-8"),
        (PAGE, "application/zip"),
        (b"\xef\xbb\xbf<HTML>", ""),
        (b"<!-- login --><div>Log in</div>", "text/html"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "application/xml"),
    ],
)
@pytest.mark.parametrize("checksum", [None, SHA256])
def test_a_web_page_instead_of_the_file_is_named_and_not_kept(site, waits, cache, body, kind, checksum):
    site.data, site.headers = body, {"Content-Type": kind}
    with pytest.raises(DataError, match=r"a web page instead of the file .* may want a login: .* as file:PATH"):
        fetch(site.url(), checksum)
    assert (downloaded(cache), len(site.asked)) == ([], 1)


@pytest.mark.parametrize(
    ("data", "kind"), [(DATA, "text/html"), (b"image,label\n<b>.jpg,cat\n", "text/csv")], ids=["binary", "a table"]
)
def test_a_file_that_is_no_page_is_kept_whatever_its_type(site, data, kind):
    site.data, site.headers = data, {"Content-Type": kind}
    assert fetch(site.url(), None).read_bytes() == data


def pets(site, **values):
    return list(Parts(Source(urls=(site.url(name="pets.zip"),), **values)).members())


@pytest.mark.parametrize("data", [b"Access denied", b"{}", None], ids=["text", "JSON", "cut off"])
def test_a_download_that_is_no_whole_archive_is_not_kept(site, cache, tmp_path, data):
    """Else all later runs would take it for the archive."""
    whole = write_zip(tmp_path / "pets.zip", {"cat/1.jpg": jpeg(1)}).read_bytes()
    site.data = whole[:-100] if data is None else data
    with pytest.raises(DataError, match="it is not kept: see in a browser what its address gives"):
        pets(site)
    assert downloaded(cache) == []
    site.data = whole
    assert [member.name for _, member in pets(site)] == ["cat/1.jpg"]


def test_an_archive_of_the_right_checksum_is_kept_although_it_is_not_read(site, cache):
    site.data = b"Rar!"
    with pytest.raises(DataError, match="is a RAR archive"):
        pets(site, sha256=hashlib.sha256(site.data).hexdigest())
    assert downloaded(cache) == [b"Rar!"]


# Wrong answers to a request for the rest


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": f"bytes 0-{2 * MIB - 1}/{3 * MIB}"},
        {"Content-Range": f"bytes {MIB + 1}-{3 * MIB}/{3 * MIB}"},
        {"Content-Range": "nonsense"},
        {"ETag": '"2"'},
    ],
    ids=["another part", "a byte further", "no range", "another version"],
)
def test_a_rest_that_does_not_fit_the_kept_part_is_not_appended(site, waits, headers):
    site.faults = [{"drop_after": MIB}, {"headers": headers}]
    assert fetch(site.url(), None).read_bytes() == DATA
    assert site.asked == [None, f"bytes={MIB}-", None]


def test_a_rest_that_ends_too_early_is_continued(site, waits):
    """The server sends at most a MiB at once."""
    site.faults = [{"drop_after": MIB}, {"most": MIB}]
    assert fetch(site.url(), None).read_bytes() == DATA
    assert site.asked == [None, f"bytes={MIB}-", f"bytes={2 * MIB}-"]


def test_a_complete_part_of_another_version_is_not_taken(site, waits, monkeypatch, cache):
    """The new file has as many bytes as the old one."""
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.faults = [{"drop_after": MIB}]
    with pytest.raises(DataError):
        fetch(site.url(), None)
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    site.data = OTHER[:MIB]
    site.faults = [{"status": 416, "headers": {"Content-Range": f"bytes */{MIB}", "ETag": '"2"'}}]
    assert fetch(site.url(), None).read_bytes() == OTHER[:MIB]


def test_a_damaged_note_of_the_version_means_starting_anew(site, waits, monkeypatch, cache):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.faults = [{"drop_after": MIB}]
    with pytest.raises(DataError):
        fetch(site.url(), SHA256)
    [note] = cache.glob("*.etag")
    note.write_bytes(b"\xff\n")
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked == [None, None]


# Several addresses


def archive(*urls: str) -> Path:
    return _archive(Part(urls=urls, sha256=SHA256.removeprefix("sha256:")))


def test_addresses_are_tried_in_order_until_one_has_the_file(site, capsys):
    site.faults = [{"status": 404}]
    path = archive(site.url(name="1.zip"), site.url(name="2.zip"), site.url(name="3.zip"))
    assert path.read_bytes() == DATA
    assert len(site.asked) == 2
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{site.url(name='1.zip')}: HTTP 404 Not Found"
    assert second == f"Trying {site.url(name='2.zip')}"


def test_an_address_with_wrong_bytes_is_passed_over(site, cache):
    site.data = OTHER
    with pytest.raises(DataError) as caught:
        archive(site.url(name="1.zip"), site.url(name="2.zip"))
    assert len(site.asked) == 2
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        site.url(name="1.zip"),
        site.url(name="2.zip"),
    ]


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop_after": 0}], ids=["busy", "breaks off"])
def test_a_host_that_gives_nothing_is_asked_once_where_there_is_another(site, waits, fault):
    site.faults = [fault]
    assert archive(site.url(name="1.zip"), site.url(name="2.zip")).read_bytes() == DATA
    assert (len(site.asked), waits) == (2, [])


def test_a_host_that_has_sent_a_part_is_asked_again_all_the_same(site, waits):
    site.faults = [{"drop_after": MIB}]
    assert archive(site.url(name="1.zip"), site.url(name="2.zip")).read_bytes() == DATA
    assert (site.asked, waits) == ([None, f"bytes={MIB}-"], [1])


@pytest.fixture
def silent():
    """An address to which no connection can be made: its queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        with socket.create_connection(listening.getsockname()):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/photos.zip"


def test_a_host_that_cannot_be_connected_to_is_given_up_soon_where_there_is_another(site, silent, monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    started = time.monotonic()
    assert archive(silent, site.url()).read_bytes() == DATA
    assert 0.5 < time.monotonic() - started < 3
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"{silent}: no answer for 0.2 s; if there is no connection after 0.5 s, {site.url()} is tried",
        f"{silent}: 127.0.0.1 can't be reached, or broke the connection (no connection within 0.5 s)",
        f"Trying {site.url()}",
    ]


def test_a_name_that_is_looked_up_for_long_is_given_up_soon_too(site, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: time.sleep(3) if host == "slow" else None)
    with pytest.raises(DataError, match=r"no connection within 0\.2 s"):
        fetch("http://slow/photos.zip", SHA256, instead="another")


def test_a_host_that_is_the_only_one_is_waited_for_and_that_is_said(site, monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE_S", 0.1)
    site.faults = [{"hang_s": 0.5}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert capsys.readouterr().out == f"{site.url()}: no answer for 0.1 s; still waiting\n"


# Hosts and credentials


def test_a_host_that_is_not_allowed_is_not_asked(site, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "example.org,example.com")
    with pytest.raises(DataError, match=r"127.0.0.1 is not in BOTTLETOP_HOSTS \(example.org,example.com\)"):
        fetch(site.url(), SHA256)
    assert site.asked == []


@pytest.mark.parametrize("allowed", ["127.0.0.1", "example.org,127.0.0.1"])
def test_a_host_that_is_allowed_is_asked(site, monkeypatch, allowed):
    monkeypatch.setenv("BOTTLETOP_HOSTS", allowed)
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_no_host_is_allowed_by_an_empty_list(site, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "")
    with pytest.raises(DataError, match="the only hosts to contact"):
        fetch(site.url(), SHA256)


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(site, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "127.0.0.1")
    site.faults = [{"status": 302, "headers": {"Location": site.url("localhost")}}]
    with pytest.raises(DataError, match=r"localhost is not in BOTTLETOP_HOSTS"):
        fetch(site.url(), SHA256)
    assert len(site.asked) == 1


KAGGLE = "https://www.kaggle.com/api/v1/datasets/download/somebody/photos"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (KAGGLE, True),
        (KAGGLE.replace("https", "http"), False),
        (KAGGLE.replace("kaggle.com", "kaggle.com.example.org"), False),
        (KAGGLE.replace("www.kaggle.com", "storage.kaggle.com"), False),
        ("https://example.org/www.kaggle.com/photos", False),
        ("https://www.kaggle.com@example.org/photos", False),
    ],
)
def test_kaggle_credentials_are_for_kaggle_over_https_alone(monkeypatch, url, sent):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "123")
    assert http_client._credentials(url) == (("somebody", "123") if sent else None)


@pytest.mark.parametrize("given", [{}, {"KAGGLE_USERNAME": "somebody"}, {"KAGGLE_USERNAME": "", "KAGGLE_KEY": "123"}])
def test_without_both_credentials_none_are_sent(monkeypatch, given):
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.delenv("KAGGLE_KEY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert http_client._credentials(KAGGLE) is None


def test_a_redirect_away_from_kaggle_loses_the_credentials(monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "123")
    with requests.Session() as session:
        session.auth = http_client._add_credentials
        first = http_client._prepared(session, KAGGLE, None)
        second = http_client._prepared(session, "https://storage.googleapis.com/photos.zip", None)
    assert [request.headers.get("Authorization") for request in (first, second)] == ["Basic c29tZWJvZHk6MTIz", None]


def test_other_servers_never_see_kaggle_credentials(site, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "123")
    fetch(site.url(), SHA256)
    assert site.received[0]["Authorization"] is None


@pytest.fixture
def listening():
    """A socket on 127.0.0.1 that takes connections."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:{port}\\@www.kaggle.com/photos.zip",
        "https://127.0.0.1:{port}\\.www.kaggle.com/photos.zip",
        "https://me:secret@127.0.0.1:{port}/photos.zip",
        "https://www.kaggle.com@127.0.0.1:{port}/photos.zip",
        "https://127.0.0.1:{port}/my photos.zip",
        "https://127.0.0.1:{port}/photos.zip\r\nX-More: yes",
        "https://127.0.0.1:{port}/\tphotos.zip",
        "https://127.0.0.1:{port}/photos\u2028.zip",
        "https://127.0.0.1:{port}/photos\0.zip",
        "https://[127.0.0.1:{port}/photos.zip",
        "https://127.0.0.1:99999/photos.zip",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_reaches_nobody(listening, waits, monkeypatch, address):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "123")
    with pytest.raises(DataError, match=r"holds|is not a web address") as caught:
        fetch(address.format(port=listening.getsockname()[1]), SHA256)
    assert "secret" not in str(caught.value)
    with pytest.raises(BlockingIOError):
        listening.accept()


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1\\@{host}/", "http://me:secret@{host}/", "file:///etc/passwd", "ftp://{host}/", "http://["],
)
def test_a_redirect_to_an_odd_address_is_not_followed(site, waits, target):
    host = site.url().split("/")[2]
    site.faults = [{"status": 302, "headers": {"Location": target.format(host=host)}}]
    with pytest.raises(DataError, match=r"holds|not a web address"):
        fetch(site.url(), SHA256)
    assert len(site.asked) == 1


def test_a_redirect_with_spaces_and_letters_beyond_ascii_is_followed(site):
    site.faults = [{"status": 302, "headers": {"Location": "/my photos/größe.zip".encode().decode("latin-1")}}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert len(site.asked) == 2


def test_the_list_of_hosts_may_have_spaces_and_capitals(site, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "Example.org, 127.0.0.1")
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_passwords_of_netrc_are_not_sent(site, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(site.url(), SHA256)
    assert site.received[0]["Authorization"] is None


def test_secrets_in_an_address_are_shown_nowhere(site, waits, cache, capsys):
    address = site.url(name="photos.zip?token=s3cret&X-Amz-Signature=s3cret")
    site.faults = [{"drop_after": MIB}, {"status": 503}]
    fetch(address, None)
    site.faults = [{"status": 302, "headers": {"Location": "http://[?token=s3cret"}}]
    with pytest.raises(DataError) as caught:
        fetch(address.replace("photos.zip", "other.zip"), SHA256)
    shown = capsys.readouterr()
    assert "s3cret" not in shown.out + shown.err + str(caught.value) + str(list(cache.iterdir()))
    assert "photos.zip?token=***&X-Amz-Signature=***: no checksum is known" in shown.out


# Servers without end


def test_redirects_without_end_are_given_up(site, waits):
    site.faults = [{"status": 302, "headers": {"Location": "/again?token=secret"}}] * 99
    with pytest.raises(DataError, match=r"again\?token=\*\*\* is the end of 10 redirects and leads on: refused"):
        fetch(site.url(), SHA256)
    assert len(site.asked) == 11


def test_the_bodies_of_redirects_are_not_read(waits):
    with web.serving(web.endless_redirect_body) as address, pytest.raises(DataError, match="10 redirects"):
        fetch(f"{address}/photos.zip", SHA256)


@pytest.mark.parametrize("answer", web.BEFORE_THE_BODY)
def test_headers_that_do_not_end_are_given_up(waits, monkeypatch, answer):
    monkeypatch.setattr(http_client, "HEADERS_S", 0.1)
    with (
        web.serving(answer) as address,
        pytest.raises(DataError, match=r"attempts.*127\.0\.0\.1 does not answer in time"),
    ):
        fetch(f"{address}/photos.zip", SHA256)


@pytest.mark.parametrize("answer", web.IN_THE_BODY)
def test_a_body_that_comes_too_slowly_is_given_up(waits, monkeypatch, answer):
    monkeypatch.setattr(http_client, "HEADERS_S", 0.6)  # the watch looks no earlier
    monkeypatch.setattr(http_client, "BODY_S", 0.1)
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with web.serving(answer) as address, pytest.raises(DataError, match=r"attempts.*127\.0\.0\.1 sends too slowly"):
        fetch(f"{address}/photos.zip", SHA256)


@pytest.mark.slow
def test_a_body_that_comes_steadily_may_take_longer_than_the_limit(monkeypatch):
    monkeypatch.setattr(http_client, "HEADERS_S", 1)
    monkeypatch.setattr(http_client, "BODY_S", 1)
    monkeypatch.setattr(module, "ATTEMPTS", 1)

    def steady(request):
        web.begin(request, Content_Length=str(10 << 16))
        web.drip(request, bytes(1 << 16), pause_s=0.15, times=10)

    with web.serving(steady) as address:
        assert fetch(f"{address}/photos.zip", None).stat().st_size == 10 << 16


@pytest.mark.parametrize("versioned", [True, False], ids=["a byte more each time", "a byte each time"])
def test_attempts_without_real_progress_are_counted(site, waits, versioned):
    site.headers = site.headers if versioned else {}
    site.faults = [{"drop_after": 1}] * 99
    with pytest.raises(DataError, match="gave up after 5 attempts"):
        fetch(site.url(), SHA256)
    assert len(site.asked) == 5


@pytest.mark.slow
def test_a_large_download_takes_little_memory(cache, tmp_path):
    """300 MB; a process that only imports Python's own modules has 10 MB."""

    def large(request):
        web.begin(request)
        for _ in range(300):
            request.wfile.write(bytes(1_000_000))

    code = "import sys; from bottletop.download.fetch import fetch; fetch(sys.argv[1], None)"
    with web.serving(large) as address:
        assert peak_kb(code, f"{address}/photos.zip")[1] < 200_000


# Full disks and several processes


def limit_disk(monkeypatch, cache, size):
    """Makes the cache's disk one of so many bytes, beside the reserve."""

    def usage(_):
        return SimpleNamespace(
            free=module.RESERVE_BYTES + size - sum(path.stat().st_size for path in cache.glob("*.part"))
        )

    monkeypatch.setattr(module.shutil, "disk_usage", usage)


def test_a_disk_that_fills_up_is_noticed_on_the_way_and_the_partial_file_named(site, cache, monkeypatch):
    limit_disk(monkeypatch, cache, MIB)
    site.length = False
    with pytest.raises(
        DataError, match=r"bytes are in \S+photos.zip.part: make room and try again.* or delete that file"
    ):
        fetch(site.url(), SHA256)
    [part] = cache.glob("*.part")
    assert MIB - http_client.CHUNK_BYTES <= part.stat().st_size <= MIB


def test_after_a_full_disk_the_download_goes_on(site, cache, monkeypatch):
    with monkeypatch.context() as patch:
        limit_disk(patch, cache, MIB)
        site.length = False
        with pytest.raises(DataError, match="make room"):
            fetch(site.url(), SHA256)
    assert fetch(site.url(), SHA256).read_bytes() == DATA
    assert site.asked[1].startswith("bytes=")


def test_a_disk_that_is_too_small_is_told_before_the_download(site, cache, monkeypatch):
    limit_disk(monkeypatch, cache, 1000)
    with pytest.raises(DataError, match=rf"needs 3,145,728 more bytes in {cache}, of which 1,000 are free .*make room"):
        fetch(site.url(), SHA256)
    assert downloaded(cache) == []


def test_only_what_is_missing_must_fit_the_disk(site, waits, cache, monkeypatch):
    limit_disk(monkeypatch, cache, 3 * MIB)
    site.faults = [{"drop_after": 2 * MIB}]
    assert fetch(site.url(), SHA256).read_bytes() == DATA


def test_threads_that_want_the_same_file_download_it_once(site):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(site.url(), SHA256), range(4)))
    assert [path.read_bytes() == DATA for path in paths] == [True] * 4
    assert len(site.asked) == 1


def test_processes_that_want_the_same_file_download_it_once(site, cache):
    site.faults = [{"hang_s": 0.5}]
    code = f"from bottletop.download.fetch import fetch; print(fetch('{site.url()}', '{SHA256}'))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(paths) == len(site.asked) == 1
    assert downloaded(cache) == [DATA]


# Local files


def test_a_local_file_of_the_right_checksum_is_accepted(tmp_path):
    (tmp_path / "photos.zip").write_bytes(DATA)
    verify(tmp_path / "photos.zip", SHA256)
    verify(tmp_path / "photos.zip", None)


def test_a_local_file_of_another_checksum_is_refused_with_both(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"other")
    with pytest.raises(DataError) as caught:
        verify(tmp_path / "photos.zip", f"md5:{'0' * 32}")
    assert f"expected md5 {'0' * 32}, got 795f3202b17cb6bc3d4b771d8c6c9eaf" in str(caught.value)


def test_a_missing_local_file_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"photos.zip is missing: put it there, .* a colleague has pushed: dvc repro --pull"
    ):
        verify(tmp_path / "photos.zip", None)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "photos.zip").write_bytes(DATA)
    assert f"sha256:{file_digest(tmp_path / 'photos.zip')}" == SHA256


def test_the_cache_is_in_the_home_folder_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("BOTTLETOP_CACHE")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    assert module.user_cache() == tmp_path / ".cache/bottletop"
