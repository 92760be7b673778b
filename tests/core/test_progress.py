import fcntl
import os
import re
import struct
import sys
import termios
import time
from contextlib import suppress

import pytest

from bottletop.core import progress
from bottletop.core.progress import bar


def on_a_terminal(seconds: float, images: int, size: tuple[int, int] = (24, 100)) -> str:
    """What a terminal is sent."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with pytest.MonkeyPatch.context() as patch, os.fdopen(writer, "w") as stderr:
        patch.setattr(sys, "stderr", stderr)
        unpack(seconds, images)
    sent = b""
    with os.fdopen(reader, "rb", buffering=0) as terminal, suppress(OSError):  # how a terminal ends
        while part := terminal.read(1 << 16):
            sent += part
    return sent.decode()


def unpack(seconds: float, images: int) -> None:
    with bar("unpack", " images", images) as shown:
        for _ in range(images):
            time.sleep(seconds / images)
            shown.update()


def test_a_terminal_shows_a_bar_with_the_time_left(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_S", 0.1)
    lines = re.split(r"[\r\n]+", on_a_terminal(0.5, 4).strip())
    assert re.fullmatch(
        r"unpack: 50 % █+\S? *2 of 4 images in 00:0\d, 00:0\d left, +\d+\.\d\d images/s", lines[2].strip()
    )


def test_a_terminal_that_does_not_tell_its_size_shows_a_bar(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_S", 0.1)
    assert "unpack: 50 % █" in on_a_terminal(0.5, 4, size=(0, 0))


def test_a_terminal_is_redrawn_once_a_second_at_most():
    started = time.monotonic()
    redrawn = on_a_terminal(1.3, 100).count("unpack")
    assert 3 <= redrawn <= 2 + (time.monotonic() - started)  # also at the start and at the end


def test_a_log_gets_whole_lines_and_few_of_them(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_S", 1)
    unpack(1.3, 100)
    start, middle, *_, end = capsys.readouterr().err.splitlines()
    assert start == "unpack: 0 % 0 of 100 images in 00:00, ? left, ? images/s"
    assert re.fullmatch(r"unpack: \d+ % \d+ of 100 images in 00:0\d, 00:0\d left, +\d+\.\d\d images/s", middle)
    assert re.match(r"unpack: 100 % 100 of 100 images in 00:0\d, 00:00 left, ", end)


def test_a_bar_that_is_not_to_stay_or_not_to_be_shown_leaves_no_last_line(capsys):
    with bar("hash", "B", 2, leave=False), bar("predict", " images", 2, disable=True):
        pass
    assert capsys.readouterr().err.splitlines() == ["hash: 0 % 0 of 2B in 00:00, ? left, ?B/s"]


@pytest.mark.parametrize("total", [None, 9])
def test_a_slow_rate_is_still_one_per_second(capsys, total):
    with bar("extract", " images", total) as shown:
        shown.start_t -= 3
        shown.update(2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r",  0\.[3-6]\d images/s$", last)
    assert (re.search(r"00:1\d left", last) is not None) == (total is not None)
