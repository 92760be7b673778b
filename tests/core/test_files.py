import hashlib
import json
import subprocess
import sys

import pytest

from bottletop.core.errors import ArtefactError
from bottletop.core.files import read_json, read_numbers, replacing, sha256_text, write_csv, write_json, write_text


def write_half(folder, error=RuntimeError):
    folder.mkdir()
    (folder / "half").touch()
    raise error


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    with replacing(target) as new:
        new.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"


def test_missing_parent_folders_are_made(tmp_path):
    write_text(tmp_path / "deep/down/a.txt", "text")
    assert (tmp_path / "deep/down/a.txt").read_text() == "text"


def test_the_old_file_stays_when_the_block_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as new:
        write_half(new)
    assert target.read_text() == "old"


def test_the_old_folder_stays_when_the_block_fails(tmp_path):
    target = tmp_path / "images"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), replacing(target) as new:
        write_half(new)
    assert [path.name for path in target.iterdir()] == ["old"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_beside_the_target_when_the_block_fails(tmp_path, error):
    with pytest.raises(error), replacing(tmp_path / "images") as new:
        write_half(new, error)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_beside_the_target_when_the_block_succeeds(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = "import os, sys; from pathlib import Path; from bottletop.core.files import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as new: new.write_text('half'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "a.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_kill_while_a_folder_is_replaced_does_not_lose_the_old_one(tmp_path):
    target = tmp_path / "images"
    target.mkdir()
    (target / "old").touch()
    code = "import os, sys; from pathlib import Path; from bottletop.core.files import replacing\n"
    code += "Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"  # the last step
    code += "with replacing(Path(sys.argv[1])) as new: new.mkdir()"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
    with pytest.raises(RuntimeError), replacing(target) as new:
        write_half(new)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert [path.name for path in target.iterdir()] == ["old"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path):
    target = tmp_path / "images"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileNotFoundError), replacing(target):
        pass  # makes nothing
    assert [path.name for path in target.iterdir()] == ["old"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "images"
    target.mkdir()
    (target / "old").touch()
    with replacing(target) as new:
        new.mkdir()
        (new / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_hard_link_to_the_old_file_keeps_the_old_bytes(tmp_path):
    """DVC's cache may be linked to the outputs: it must never change."""
    cached, output = tmp_path / "cached", tmp_path / "output"
    cached.write_text("old")
    output.hardlink_to(cached)
    write_text(output, "new")
    assert (cached.read_text(), output.read_text()) == ("old", "new")


def test_a_read_only_file_is_replaced(tmp_path):
    """DVC's outputs are read-only when they are links into its cache."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o444)
    write_text(target, "new")
    assert target.read_text() == "new"


def test_text_is_utf_8_with_plain_newlines(tmp_path):
    write_text(tmp_path / "a.txt", "crème\nbrûlée\n")
    assert (tmp_path / "a.txt").read_bytes() == "crème\nbrûlée\n".encode()


def test_json_is_readable_keeps_the_order_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": ["crème"]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": [\n    "crème"\n  ]\n}\n'


def test_json_comes_back_as_it_was(tmp_path):
    values = {"accuracy": 0.1 + 0.2, "classes": ["crème", "thé"], "none": None}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert json.loads((tmp_path / "a.json").read_text()) == 1


def test_csv_has_a_header_plain_newlines_and_quotes_where_needed(tmp_path):
    write_csv(tmp_path / "a.csv", ("name", "count"), [("salt, pepper", 1), ('"x"', 2)])
    assert (tmp_path / "a.csv").read_bytes() == b'name,count\n"salt, pepper",1\n"""x""",2\n'


def test_a_csv_whose_rows_fail_is_not_written(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_csv(tmp_path / "a.csv", ("n",), ([1 / n] for n in (1, 0)))
    assert list(tmp_path.iterdir()) == []


def test_numbers_come_back_from_csv_by_column(tmp_path):
    write_csv(tmp_path / "a.csv", ("epoch", "loss"), [(0, 0.1), (1, 1e-9)])
    assert read_numbers(tmp_path / "a.csv") == [{"epoch": 0.0, "loss": 0.1}, {"epoch": 1.0, "loss": 1e-9}]


def test_the_digest_of_lines_is_that_of_the_text_file(tmp_path):
    assert sha256_text(["crème", "b"]) == hashlib.sha256("crème\nb\n".encode()).hexdigest()


def test_the_digest_of_lines_depends_on_where_they_end():
    assert sha256_text(["ab", "c"]) != sha256_text(["a", "bc"])


@pytest.mark.parametrize("data", [b"<<<<<<< HEAD", b"", b"\xff", b"[" * 100_000], ids=["git", "empty", "bytes", "deep"])
def test_json_that_is_damaged_is_named(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"a\.json is not valid JSON .*: run bottletop doctor"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["epoch,loss\n1,x\n", "epoch,loss\n1\n", "epoch,loss\n1,2,3\n"])
def test_a_table_of_numbers_that_is_damaged_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(ArtefactError, match=r"history\.csv is damaged .*: run bottletop doctor"):
        read_numbers(tmp_path / "history.csv")
