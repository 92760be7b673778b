"""Web servers on 127.0.0.1 that misbehave as a test tells them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

from benchmarks.samples import answering


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server whose function writes each answer, until the client ends the connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as address:
        yield address


def begin(request: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> None:
    """Sends status and headers; an underscore in a header's name stands for a hyphen."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def drip(request: BaseHTTPRequestHandler, data: bytes = b"x", pause_s: float = 0.02, times: int = 1000) -> None:
    """Sends the data again and again, with a pause after each time."""
    for _ in range(times):
        request.wfile.write(data)
        request.wfile.flush()
        time.sleep(pause_s)


def dripped_status(request: BaseHTTPRequestHandler) -> None:
    drip(request, b"H")


def dripped_headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(request)


def endless_continue(request: BaseHTTPRequestHandler) -> None:
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_redirect_body(request: BaseHTTPRequestHandler) -> None:
    begin(request, 302, Location="/")
    while True:
        request.wfile.write(bytes(1 << 16))


def dripped_body(request: BaseHTTPRequestHandler) -> None:
    begin(request)
    drip(request)


def dripped_chunk_size(request: BaseHTTPRequestHandler) -> None:
    request.protocol_version = "HTTP/1.1"
    begin(request, Transfer_Encoding="chunked")
    drip(request, b"0")


def endless_trailer(request: BaseHTTPRequestHandler) -> None:
    request.protocol_version = "HTTP/1.1"
    begin(request, Transfer_Encoding="chunked")
    request.wfile.write(b"1\r\nx\r\n0\r\n")
    while True:
        request.wfile.write(b"X-More: yes\r\n")


BEFORE_THE_BODY = [dripped_status, dripped_headers, endless_continue]
IN_THE_BODY = [dripped_body, dripped_chunk_size, endless_trailer]
