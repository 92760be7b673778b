"""The HTTP client of downloads: which hosts it contacts, with which credentials, and how long it waits."""

import http
import ipaddress
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from bottletop.core.addresses import masked
from bottletop.core.errors import DataError

CONNECT_S = 10  # longest time to connect to one address of a host
HEADERS_S = 60  # longest time until the body begins, redirects included
BODY_BYTES, BODY_S = 1 << 16, 60  # a body must bring so many bytes in so many seconds
MAX_REDIRECTS = 10
CHUNK_BYTES = 1 << 16
KAGGLE = ("www.kaggle.com", "kaggle.com")


class NoAnswerError(DataError):
    """A host could not be reached, broke the connection or was too slow; another attempt may succeed."""


class Answer:
    """A server's answer, the body of which is still to be read.

    Attributes:
        status: the HTTP status, such as 200.
        headers: the HTTP headers, whose names may be written in any case.
        length: number of bytes of the body as it is sent; None if the server does not tell.
    """

    def __init__(self, response: requests.Response, watch: "_Watch", total_s: float | None) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.length: int | None = response.raw.length_remaining
        self._response, self._watch, self._total_s = response, watch, total_s

    @property
    def phrase(self) -> str:
        """The status in words, such as ``HTTP 404 Not Found``. The server's own words are not shown."""
        known = {one.value: one.phrase for one in http.HTTPStatus}
        return f"HTTP {self.status} {known.get(self.status, '')}".rstrip()

    def chunks(self, *, decoded: bool = False) -> Iterator[bytes]:
        """Yields the body in pieces of at most `CHUNK_BYTES`, as soon as they arrive.

        Args:
            decoded: undo the body's Content-Encoding, such as gzip; otherwise the bytes are yielded as they were sent.

        Raises:
            NoAnswerError: the connection broke, or the body came too slowly.
        """
        host = str(urlsplit(self._response.url).hostname)
        if self._total_s is None:
            self._watch.extend(BODY_S)
        arrived = 0
        while True:
            with _explained(self._watch, f"{host} sends too slowly", host):
                chunk = self._response.raw.read1(CHUNK_BYTES, decode_content=decoded)
            if not chunk:
                return
            arrived += len(chunk)
            if arrived >= BODY_BYTES and self._total_s is None:
                arrived = 0
                self._watch.extend(BODY_S)
            yield chunk


@contextmanager
def get(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    public: bool = False,
    connect_s: float | None = None,
    total_s: float | None = None,
) -> Iterator[Answer]:
    """Asks for a file and follows redirects; the connection ends with the block.

    Args:
        url: an ``http:`` or ``https:`` address.
        headers: additional HTTP headers.
        public: refuse hosts at private, loopback and link-local addresses that BOTTLETOP_HOSTS does not name.
        connect_s: longest time to look a host up and connect to it, in seconds; None: `CONNECT_S` for each address that
            it has, without the time that the look-up takes.
        total_s: longest time for everything, in seconds; None: `HEADERS_S` up to the body, which may then take as long
            as `BODY_BYTES` arrive in every `BODY_S` seconds.

    Raises:
        NoAnswerError: the host cannot be reached, breaks the connection or is too slow.
        DataError: the address is malformed, it or a redirect leads to a host that is not allowed, or there are more
            than `MAX_REDIRECTS` redirects.
    """
    with (
        requests.Session() as session,
        _Watch(total_s or HEADERS_S) as watch,
        closing(_Adapter(watch, public=public, connect_s=connect_s)) as adapter,
    ):
        session.auth = _add_credentials
        for _ in range(MAX_REDIRECTS + 1):
            request = _prepared(session, url, headers)
            _check(str(request.url))
            response = _send(session, adapter, watch, request)
            if not response.is_redirect:
                yield Answer(response, watch, total_s)
                return
            response.close()  # a redirect's body is not read: it could be endless
            url = _target(response)
        raise DataError(f"{masked(url)} is the end of {MAX_REDIRECTS} redirects and leads on: refused")


def responds(url: str, seconds: float) -> bool:
    """Whether a web server answers within `seconds`, whatever it says.

    TLS errors, such as a self-signed certificate, count as answers. BOTTLETOP_HOSTS, which is about downloads, does not
    apply.
    """
    with requests.Session() as session, _Watch(seconds) as watch, closing(_Adapter(watch)) as adapter:
        session.auth = _add_credentials
        try:
            _send(session, adapter, watch, _prepared(session, url, None))
        except DataError as error:
            return isinstance(error.__cause__, requests.exceptions.SSLError) and not watch.expired
        return True


def check_host(url: str) -> None:
    """Checks that ``BOTTLETOP_HOSTS``, a comma-separated list, contains the URL's host; unset, it allows every host.

    Raises:
        DataError: the host is not in the list, or the address is malformed.
    """
    with requests.Session() as session:
        _check(str(_prepared(session, url, None).url))


def _check(url: str) -> None:
    host, allowed = str(urlsplit(url).hostname), _allowed_hosts()
    if allowed is not None and host not in allowed:
        raise DataError(f"{host} is not in BOTTLETOP_HOSTS ({','.join(allowed)}), the only hosts to contact")


def _allowed_hosts() -> list[str] | None:
    listed = os.environ.get("BOTTLETOP_HOSTS")
    return None if listed is None else [host.strip().lower() for host in listed.split(",")]


def _prepared(session: requests.Session, url: str, headers: Mapping[str, str] | None) -> requests.PreparedRequest:
    """Returns the request with its address in the one form that is checked and connected to.

    Raises:
        DataError: the address is malformed, or holds what programs read in different ways.
    """
    shown = masked(url)
    if not url.isprintable() or re.search(r"[\s\\]", url):
        raise DataError(
            f"the address {shown!r} holds white space, a control character or a backslash",
            "write %20 for a space and %5C for a backslash",
        )
    try:
        request = session.prepare_request(
            requests.Request("GET", url, {"Accept-Encoding": "identity", **(headers or {})})
        )
        parts = urlsplit(str(request.url))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except (requests.RequestException, ValueError) as error:
        raise DataError(f"{shown!r} is not a web address ({masked(str(error))})") from error
    if not usable:
        raise DataError(f"{shown!r} is not a web address", "it must begin with https:// or http://, then the host")
    if "@" in parts.netloc:
        raise DataError(
            f"the address {shown} holds a user name or password, which are refused",
            "take them out, or download the file yourself",
        )
    return request


def _target(response: requests.Response) -> str:
    """Returns the address that a redirect leads to."""
    location = response.headers["Location"].encode("latin-1").decode("utf-8", "replace").strip().replace(" ", "%20")
    try:
        return urljoin(response.url, location)
    except ValueError as error:
        raise DataError(f"{masked(response.url)} leads to {masked(location)!r}, which is not a web address") from error


def _add_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Adds Kaggle's user name and key from the environment, for Kaggle's hosts only; called for each redirect."""
    credentials = _credentials(str(request.url))
    return requests.auth.HTTPBasicAuth(*credentials)(request) if credentials else request


def _credentials(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    return (user, key) if user and key and parts.scheme == "https" and parts.hostname in KAGGLE else None


def _send(
    session: requests.Session, adapter: "_Adapter", watch: "_Watch", request: requests.PreparedRequest
) -> requests.Response:
    """Sends one request and reads the answer's headers. `Session.send` is not used: it reads the bodies of redirects.

    Raises:
        NoAnswerError: as `get` does.
    """
    host, left = str(urlsplit(str(request.url)).hostname), watch.left()
    settings: Any = session.merge_environment_settings(str(request.url), {}, True, None, None)  # proxies, certificates
    with _explained(watch, f"{host} does not answer in time", host):
        response = adapter.send(request, timeout=(min(CONNECT_S, left), left), **settings)
    session.cookies.update(response.cookies)
    return response


@contextmanager
def _explained(watch: "_Watch", too_slow: str, host: str) -> Iterator[None]:
    """Turns the errors of requests, urllib3 and sockets, and an expired watch, into NoAnswerError."""
    try:
        yield
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        if watch.expired or isinstance(error, requests.Timeout | ReadTimeoutError):
            raise NoAnswerError(too_slow) from error
        raise NoAnswerError(f"{host} can't be reached, or broke the connection ({_reason(error)})") from error
    if watch.expired:  # the headers or the body only seem to be complete
        raise NoAnswerError(too_slow)


def _reason(error: BaseException) -> str:
    """Returns the message of the first cause, such as "Connection refused"."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return masked(getattr(error, "strerror", None) or str(error))


class _Adapter(HTTPAdapter):
    """Makes connections that a watch can break off, and that are refused at private addresses if `public` is set."""

    def __init__(self, watch: "_Watch", *, public: bool = False, connect_s: float | None = None) -> None:
        self._watch, self._public, self._connect_s = watch, public, connect_s
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        watch, public, connect_s = self._watch, self._public, self._connect_s

        class Watched(pool.ConnectionCls):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                connected = _in_time(super()._new_conn, connect_s)
                watch.hold(connected)
                if public and self.proxy is None:
                    try:
                        _check_public(self.host, connected.getpeername()[0])
                    except DataError:
                        connected.close()
                        raise
                return connected

        pool.ConnectionCls = Watched
        return pool


def _in_time(connect: Callable[[], socket.socket], seconds: float | None) -> socket.socket:
    """Returns the connection that `connect` makes, in a thread, because looking a host up has no time limit of its own.

    Raises:
        TimeoutError: it takes longer than `seconds`.
    """
    if seconds is None:
        return connect()
    outcome: queue.SimpleQueue[socket.socket | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(connect())
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = outcome.get(timeout=seconds)
    except queue.Empty:
        found = TimeoutError(f"no connection within {seconds} s")
    if isinstance(found, Exception):
        raise found
    return found


def _check_public(host: str, address: str) -> None:
    """Checks the address that a connection has, since a second look-up of the host's name could give another one.

    Raises:
        DataError: the address is private, and BOTTLETOP_HOSTS does not name the host.
    """
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    if not found.is_global and host not in (_allowed_hosts() or ()):
        raise DataError(
            f"{host} is at {found}, an address of this machine or of a private network: refused",
            f"export BOTTLETOP_HOSTS={host} # if you want it contacted",
        )


class _Watch:
    """Breaks connections off when time is up.

    The time limit of a socket holds for a single read, so a server that sends a byte now and then never exceeds it.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.extend(seconds)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()
        for held in self._sockets:
            held.close()

    def extend(self, seconds: float) -> None:
        """Lets the time end so many seconds from now; it must not end earlier than before."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds left, at least a tenth."""
        return max(0.1, self._end - time.monotonic())

    def hold(self, connected: socket.socket) -> None:
        """Adds a connection. A second handle of it is kept, because TLS takes over the first one."""
        self._sockets.append(connected.dup())
        if self.expired:
            self._break()

    def _run(self) -> None:
        while not self._finished.wait(max(0.0, self._end - time.monotonic())):
            if time.monotonic() >= self._end:
                self.expired = True
                self._break()
                return

    def _break(self) -> None:
        for held in list(self._sockets):
            with suppress(OSError):  # the other end has closed it
                held.shutdown(socket.SHUT_RDWR)
