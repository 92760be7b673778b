"""What comes from outside is printed without moving the terminal's cursor, colouring it or turning text around."""

import sys

import pytest

from bottletop.core.errors import DataError, exit_on_error
from bottletop.core.terminal import say, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\nc\td\0", r"a\x0db\x0ac\x09d\x00"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("cat\u202egnp.exe", r"cat\u202egnp.exe"),
        ("caf\udce9.png", r"caf\udce9.png"),  # how Python reads a name that is not UTF-8
        ("Gänse 花 👩\u200d🌾 $\u00a0", "Gänse 花 👩\u200d🌾 $\u00a0"),
    ],
    ids=["colour", "lines", "one-byte commands", "text from right to left", "not UTF-8", "letters"],
)
def test_control_characters_are_written_out_and_letters_stay(text, shown):
    assert visible(text) == shown


def test_printed_text_keeps_its_lines(capsys):
    say("one\n  two\x1b[2J")
    say("problem\a", file=sys.stderr)
    assert capsys.readouterr() == ("one\n  two\\x1b[2J\n", "problem\\x07\n")


@pytest.mark.parametrize(
    "error", [DataError("no \x1b[31mclass"), FileNotFoundError(2, "missing", "x"), DataError("a\nb")]
)
def test_a_message_that_ends_a_command_holds_no_control_characters(error):
    with pytest.raises(SystemExit) as caught, exit_on_error("add"):
        raise error
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).count("\n") == str(error).count("\n")
