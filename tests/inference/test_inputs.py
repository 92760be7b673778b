import gzip
import io
import os
import socket
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from benchmarks.samples import answering
from bottletop.core.errors import DataError
from bottletop.images.decoding import decode
from bottletop.inference import inputs
from tests import web
from tests.memory import peak_kb
from tests.pictures import png, write_folder

PICTURE = png(1)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    names = ["b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", ".git/c.jpg", "more/z.webp", "more/even more/y.gif"]
    write_folder(tmp_path / "photos", dict.fromkeys(names, PICTURE))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def server(answers):
    """The address of a server that answers a path as its function does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answers[self.path](self)

        def log_message(self, *_):
            pass

    with answering(Handler) as address:
        yield address


def send(data, status=200, **headers):
    def answer(request):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def test_a_folder_stands_for_its_images_and_those_of_its_subfolders(photos):
    assert list(inputs.find(["photos"])) == [
        "photos/a.PNG", "photos/b.jpg", "photos/more/z.webp", "photos/more/even more/y.gif",
    ]  # fmt: skip


def test_files_of_a_folder_that_are_not_images_are_counted_and_named(photos, capsys):
    write_folder(photos / "photos", {"more/labels.csv": b"", "more/labels2.csv": b"", "LICENSE": b""})
    list(inputs.find(["photos"]))
    assert capsys.readouterr().err == (
        "bottletop: photos: files that are not images were left out: "
        "2 with .csv (labels.csv), 1 with .txt (notes.txt), 1 with no ending (LICENSE)\n"
    )


def test_nothing_is_said_of_a_folder_of_images(photos, capsys):
    (photos / "photos/notes.txt").unlink()
    list(inputs.find(["photos"]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.HEIC", "a.avif", "a.jp2", "a.pgm"])
def test_phone_photos_and_other_formats_are_images_of_a_folder(tmp_path, name):
    write_folder(tmp_path, {name: PICTURE})
    assert list(inputs.find([str(tmp_path)])) == [str(tmp_path / name)]


def test_an_image_of_a_format_that_is_not_read_is_found_so_that_its_error_names_it(tmp_path):
    write_folder(tmp_path, {"scan.dcm": bytes(128) + b"DICM"})
    [name] = inputs.find([str(tmp_path)])
    with pytest.raises(DataError, match=r"^a DICOM file: not read; convert it to PNG first$"):
        decode(inputs.read(name))


def test_patterns_are_resolved_where_the_shell_has_not(photos):
    assert list(inputs.find(["photos/*.jpg", "photos/**/*.gif"])) == ["photos/b.jpg", "photos/more/even more/y.gif"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos):
    (photos / "cat [1].jpg").write_bytes(PICTURE)
    assert list(inputs.find(["cat [1].jpg"])) == ["cat [1].jpg"]


def test_a_file_that_is_named_is_taken_whatever_its_ending(photos):
    assert list(inputs.find(["photos/notes.txt"])) == ["photos/notes.txt"]
    assert inputs.read("photos/notes.txt") == PICTURE


def test_the_order_is_that_of_the_arguments(photos):
    address = "http://127.0.0.1/x.jpg"
    assert list(inputs.find(["-", address, "photos/b.jpg"])) == ["-", address, "photos/b.jpg"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nope.jpg", "^no such file$"),
        ("nope*.jpg", "^no such file$"),
        ("empty", "^a folder without images"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "null byte|embedded null"),
        ("http://[", "is not a web address"),
    ],
)
def test_what_is_not_there_is_named_and_says_so(photos, name, reason):
    assert list(inputs.find([name])) == [name]
    with pytest.raises(DataError, match=reason):
        inputs.read(name)


def test_a_file_without_end_is_refused_before_memory_is_full(monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        inputs.read("/dev/zero")


def test_standard_input_is_one_image(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PICTURE)))
    assert inputs.read("-") == PICTURE


def test_an_image_is_read_from_a_web_address():
    with server({"/a.png?x=1": send(PICTURE)}) as address:
        assert inputs.read(f"{address}/a.png?x=1") == PICTURE


def test_a_redirect_is_followed():
    with server({"/a": send(b"", 302, Location="/b"), "/b": send(PICTURE)}) as address:
        assert inputs.read(f"{address}/a") == PICTURE


def test_an_error_page_is_no_image():
    with server({"/a.png": send(b"gone", 404)}) as address, pytest.raises(DataError, match=r"^HTTP 404 Not Found$"):
        inputs.read(f"{address}/a.png")


def test_an_address_that_sends_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(inputs, "MAX_DOWNLOAD_BYTES", 100_000)
    with server({"/a": send(bytes(1_000_000))}) as address, pytest.raises(DataError, match="more than 100,000 bytes"):
        inputs.read(f"{address}/a")


@pytest.mark.parametrize(
    "answer", [*web.BEFORE_THE_BODY, *web.IN_THE_BODY, lambda _: time.sleep(1)], ids=lambda answer: answer.__name__
)
def test_an_address_that_never_ends_is_given_up(monkeypatch, answer):
    monkeypatch.setattr(inputs, "MAX_DOWNLOAD_S", 0.3)
    slow = pytest.raises(DataError, match=r"^127\.0\.0\.1 (does not answer in time|sends too slowly)$")
    with web.serving(answer) as address, slow:
        inputs.read(f"{address}/a")


def test_the_bodies_of_redirects_are_not_read():
    with web.serving(web.endless_redirect_body) as address, pytest.raises(DataError, match="10 redirects"):
        inputs.read(f"{address}/a")


def test_a_compressed_image_is_decompressed():
    with server({"/a.png": send(gzip.compress(PICTURE), Content_Encoding="gzip")}) as address:
        assert inputs.read(f"{address}/a.png") == PICTURE


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_a_download_takes_little_memory_however_much_is_sent(compressed):
    """A gigabyte of zeros; compressed, it is sent as a megabyte."""

    def flood(request):
        web.begin(request, **({"Content_Encoding": "gzip"} if compressed else {}))
        shrink = zlib.compressobj(wbits=31)
        for _ in range(1000):
            data = bytes(1_000_000)
            request.wfile.write(shrink.compress(data) if compressed else data)

    code = "import sys; from bottletop.inference import inputs\n"
    code += "try: inputs.read(sys.argv[1])\nexcept Exception as error: print(error)"
    with web.serving(flood) as address:
        said, peak = peak_kb(code, f"{address}/a.png")
    assert said == "more than 100,000,000 bytes"
    assert peak < 200_000


def test_a_broken_connection_is_no_image():
    def stop(request):
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"half")

    with server({"/a": stop}) as address, pytest.raises(DataError, match=r"broke the connection \(IncompleteRead"):
        inputs.read(f"{address}/a")


def test_nobody_listening_is_said_in_few_words():
    with pytest.raises(
        DataError, match=r"^127\.0\.0\.1 can't be reached, or broke the connection \(Connection refused\)$"
    ):
        inputs.read("http://127.0.0.1:9/a.png")


@pytest.mark.parametrize("path", ["/a", "http://192.0.2.1/a.png"], ids=["redirect", "address"])
def test_only_the_hosts_allowed_are_contacted(path):
    answers = {"/a": send(b"", 302, Location="http://192.0.2.1/a.png")}
    refused = pytest.raises(DataError, match=r"192\.0\.2\.1 is not in BOTTLETOP_HOSTS")
    with server(answers) as address, refused:
        inputs.read(address + path if path.startswith("/") else path)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0", "[::ffff:127.0.0.1]"]
)
def test_private_addresses_are_not_contacted_whatever_they_are_called(monkeypatch, host):
    monkeypatch.delenv("BOTTLETOP_HOSTS")
    asked = []
    refused = pytest.raises(DataError, match=r"is at [\d.]+, .* private network: refused: export BOTTLETOP_HOSTS=")
    with web.serving(asked.append) as address, refused:
        inputs.read(address.replace("127.0.0.1", host))
    assert asked == []


def test_the_address_that_is_connected_to_counts_not_what_the_name_meant_before(monkeypatch):
    """The name server gives a public address first, and one of this machine from then on."""
    monkeypatch.delenv("BOTTLETOP_HOSTS")
    asked, real, answers = [], socket.getaddrinfo, ["93.184.216.34"]

    def look_up(host, *rest, **options):
        return real(answers.pop() if answers else "127.0.0.1", *rest, **options)

    with web.serving(asked.append) as address:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        socket.getaddrinfo("photos.example", 80)
        with pytest.raises(DataError, match=r"photos\.example is at 127\.0\.0\.1"):
            inputs.read(address.replace("127.0.0.1", "photos.example"))
    assert asked == []


def test_a_private_address_that_is_named_is_contacted(monkeypatch):
    monkeypatch.setenv("BOTTLETOP_HOSTS", "example.org,localhost")
    with server({"/a.png": send(PICTURE)}) as address:
        assert inputs.read(f"{address.replace('127.0.0.1', 'localhost')}/a.png") == PICTURE


def test_a_proxy_on_this_machine_may_be_used(monkeypatch):
    """The proxy looks up the host's name; only its own address is known here."""
    monkeypatch.delenv("BOTTLETOP_HOSTS")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with server({"http://photos.example/a.png": send(PICTURE)}) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert inputs.read("http://photos.example/a.png") == PICTURE


@pytest.mark.parametrize("address", ["http://127.0.0.1\\@example.org/a.png", "http://me:secret@127.0.0.1/a.png"])
def test_an_address_that_could_be_read_in_two_ways_is_refused(address):
    with pytest.raises(DataError, match="holds") as caught:
        inputs.read(address)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_says_so(photos):
    (photos / "photos/b.jpg").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        inputs.read("photos/b.jpg")
