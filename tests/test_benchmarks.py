"""The benchmarks run; what they find out is for people to read."""

import re
import sys

import pytest

from benchmarks import everyday, growth, memory, overhead, report, samples, training, unpacking
from benchmarks.made_up import features
from bottletop.models.vectors import open_features
from tests.project import set_param

pytestmark = pytest.mark.slow


def test_unpacking_is_compared_with_its_parts(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unpacking", "--images", "20", "--rounds", "1"])
    unpacking.main()
    names = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert names == ["work", "---", "gzip alone", "decoding alone", "unpack"]


@pytest.mark.parametrize("bottleneck", [True, False])
def test_made_up_features_are_those_of_all_classes_and_sides(tmp_path, bottleneck):
    rows = features(tmp_path / "f", 50, 3, bottleneck=bottleneck)
    opened = open_features(tmp_path / "f", rows, "bottleneck" if bottleneck else "pooled", "flatten")
    assert opened.class_names == ("class 000", "class 001", "class 002")
    assert {name: len(opened.positions(name)) for name in ("train", "validation", "test")} == {
        "train": 44, "validation": 3, "test": 3,
    }  # fmt: skip
    assert (opened.read(opened.positions("train")) >= 0).all()


def test_training_from_disk_is_compared_with_training_in_memory(monkeypatch, capsys):
    monkeypatch.setattr("bottletop.models.training.IN_MEMORY_BYTES", None)  # is put back afterwards
    monkeypatch.setattr(sys, "argv", ["training", "--images", "1010", "--epochs", "2", "--rounds", "1"])
    training.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    for three in (rows[2:5], rows[5:8], rows[8:11], rows[11:14]):  # two tops, two batch sizes
        assert [row[2].strip() for row in three] == ["matrix products alone", "in memory", "from disk"]
        assert three[1][-1] == three[2][-1]  # the same accuracy


def test_the_memory_of_extraction_training_and_unpacking_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["memory", "--images", "1010", "--photos", "3"])
    memory.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row[0].strip() for row in rows[2:]] == ["extract", "train", "download"]
    assert all(50 < int(row[3].replace(",", "")) < 2500 for row in rows[2:])


def test_commands_with_nothing_to_do_are_compared_with_a_plain_pipeline(monkeypatch, capsys):
    monkeypatch.setattr("tests.project.CLASSES", {})  # is put back afterwards
    monkeypatch.setattr(sys, "argv", ["overhead", "--classes", "3", "--rounds", "1"])
    overhead.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row[0].strip() for row in rows[2:4]] == ["dvc repro, plain pipeline", "dvc repro, nothing changed"]
    assert len(rows) == 2 + 7


def test_each_stage_is_measured_as_a_dataset_grows(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["growth", "--images", "404", "505"])
    growth.main()
    header, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [name.strip() for name in header] == ["images", "404", "505"]
    assert [row[0].strip() for row in rows] == [
        "download", "split", "extract", "train", "evaluate", "track",
        "dvc commit", "dvc repro, nothing to do", "data/ on disk",
    ]  # fmt: skip
    assert all(" s, " in row[2] and row[2].endswith(" MB ") for row in rows[:6])


def test_the_report_names_the_machine_and_holds_every_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(report, "PARTS", {"reuse": report.Part("Features found again", "--images 202", "--images 303")})
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(sys, "argv", ["report"])
    report.main()
    written = (tmp_path / "RESULTS.md").read_text()
    assert written.startswith("# Results\n\nWritten by `make bench` on 20")
    assert re.search(
        r"\d+ processors, \d+ GB of memory, load [\d.]+ before the start; .*tensorflow [\d.]+\.\n", written
    )
    assert "## Features found again\n" in written
    assert "\n| in the same order | 200 | " in written
    assert re.search(r"\n`python -m benchmarks\.reuse --images 202`, \d+ s\n$", written)


def test_a_benchmark_that_fails_leaves_the_last_report_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PARTS", {"reuse": report.Part("Features found again", "--images none", "")})
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(sys, "argv", ["report"])
    with pytest.raises(
        SystemExit, match=r"benchmarks\.reuse --images none failed with 2, so RESULTS\.md was not written"
    ):
        report.main()
    assert not (tmp_path / "RESULTS.md").exists()


def test_what_one_waits_for_is_listed_by_stage(monkeypatch, capsys, project):
    set_param(project, "evaluate.seed", 1)  # so that something changes in the first run
    monkeypatch.setattr(samples, "copy_project", lambda _: project)  # smaller than digits
    monkeypatch.setattr(sys, "argv", ["everyday", "--rounds", "1"])
    everyday.main()
    names = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    stages = ["sources", "train", "evaluate", "track", "DVC", "all"]
    assert [name for name in names if name != "---"] == [
        "dvc repro", *stages, "dvc exp run --temp", *stages, "bottletop predict PHOTO", "all",
    ]  # fmt: skip
