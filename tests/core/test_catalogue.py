import re
from pathlib import Path

import pytest
import yaml

from bottletop.core.catalogue import Source, dataset, local_path
from bottletop.core.errors import ParamsError
from bottletop.core.settings import parse

NAMES = list(yaml.safe_load((Path(__file__).parents[2] / "datasets.yaml").read_text())["datasets"])

TABLE = {"file": "a.csv", "image": "id", "label": "kind"}


def source(**values) -> Source:
    return parse(Source, {"folder": "photos"} | values, "datasets.mine.source", Path("datasets.yaml"))


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Writes a datasets.yaml into an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return Path("datasets.yaml").write_text


def test_the_repository_comes_with_five_datasets():
    assert NAMES == ["digits", "food-101", "animals-10", "skin-cancer", "flowers-17"]


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_of_the_repository_is_valid(name):
    assert dataset(name).title


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"builtin": "digits"}, "exactly one of urls, folder, parts and builtin must be set"),
        ({"folder": None}, "exactly one of urls, folder, parts and builtin must be set"),
        ({"folder": None, "parts": [{}]}, "source.parts[0] is wrong: exactly one of urls and folder must be set"),
        ({"folder": None, "builtin": "mnist"}, "source.builtin must be digits, or null; got mnist"),
        ({"folder": None, "urls": ["ftp://example.org/a.zip"]}, "must begin with https://, http:// or file:, got 'ftp"),
        ({"images": "photos/*"}, "images must hold {label}, or {number} with numbered"),
        ({"images": ["{label}/*", "photos/*"]}, "images must hold {label}, or {number} with numbered"),
        ({"images": "{split}/{split}/{label}/*"}, "may hold {split} at most once"),
        ({"images": "{label}*.jpg"}, "'{label}*.jpg' needs some text between {label} and *"),
        ({"images": "**/**/{label}/*"}, "may hold ** once"),
        ({"images": "{number}.jpg"}, "images must hold {label}, or {number} with numbered"),
        ({"numbered": ["rose"]}, "numbered needs {number} in images, and no {label}"),
        ({"labels": {"file": "a.csv", "image": "id"}}, "exactly one of label and one_hot must be set"),
        ({"labels": TABLE, "images": "{label}/*"}, "with labels in a table, images holds no {label}"),
        ({"labels": {"file": "a.mat", "label": "l"}}, "a table without labels.image needs {number} in images"),
        ({"images": "{split}/{label}/*", "test_list": "test.txt"}, "set only one of them"),
        ({"labels": TABLE | {"split": "set"}, "images": "{split}/*"}, "set only one of them"),
        ({"test_list": "a.txt", "split_lists": {"test": "b.txt"}}, "test_list and split_lists.test mean the same"),
        ({"splits": {"tset": "Testing"}}, "did you mean test?"),
        ({"exclude": "{label}/bad/*"}, "exclude may hold * and **, but no other placeholder"),
        ({"sha256": "abc"}, "source.sha256 must be text that matches ^[0-9a-f]{64}$, or null; got abc"),
        ({"md5": "A" * 32}, "source.md5 must be text that matches"),
        ({"max_per_class": 0}, "source.max_per_class must be a whole number from 1 on, or null; got 0"),
        ({"images_per_number": 0}, "source.images_per_number must be a whole number from 1 on; got 0"),
        ({"sha265": "0" * 64}, "source.sha265 is unknown: did you mean sha256?"),
    ],
)
def test_a_wrong_source_is_refused_with_the_reason(values, message):
    with pytest.raises(ParamsError, match=re.escape(message)):
        source(**values)


def test_an_unknown_dataset_is_refused_with_the_known_ones_and_the_line_that_names_it():
    message = (
        r"^params.yaml, line \d+: dataset 'cats' is not in datasets.yaml: there are digits, food-101, animals-10, "
    )
    with pytest.raises(ParamsError, match=message):
        dataset("cats")


def test_a_dataset_of_a_similar_name_is_suggested():
    with pytest.raises(ParamsError, match=r"did you mean animals-10\?"):
        dataset("animals10")


ENTRY = "{title: Mine, image_side_px: 96, source: {folder: photos}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"datasets: {{}}\nmine: {ENTRY}\n", "line 2: mine is not below datasets: indent the entry by two spaces"),
        (f"datasets:\nmine: {ENTRY}\n", "line 2: mine is not below datasets: indent the entry by two spaces"),
        (
            f"datasets:\n  other:\n    title: O\n    image_side_px: 96\n    source: {{folder: a}}\n    mine: {ENTRY}\n",
            "line 6: datasets.other.mine is unknown",
        ),
        ("datasets:\n- mine\n", "line 1: datasets must be names, each with a value; got [mine]"),
        ("- mine\n", "datasets.yaml has no section datasets"),
        ("datasets: {}\nweights:\n  vgg16: 1\n", "line 2: weights are in weights.yaml now: move entries of your own"),
    ],
    ids=["beside", "not indented", "within another", "a list", "all a list", "weights of an earlier version"],
)
def test_an_entry_in_the_wrong_place_is_named_with_its_line(catalogue, text, message):
    catalogue(text)
    with pytest.raises(ParamsError, match=re.escape(message)):
        dataset("mine")


@pytest.mark.parametrize("text", ["", "datasets:\n"])
def test_a_catalogue_without_datasets_is_refused(catalogue, text):
    catalogue(text)
    with pytest.raises(ParamsError, match=r"'digits' is not in datasets.yaml"):
        dataset("digits")


def test_a_wrong_entry_is_refused_with_its_place(catalogue):
    catalogue("datasets: {mine: {title: Mine, image_side_px: 16, source: {folder: photos}}}")
    with pytest.raises(
        ParamsError, match=r"datasets.mine.image_side_px must be a whole number from 32 to 1024, or auto; got 16"
    ):
        dataset("mine")


def test_one_wrong_entry_does_not_harm_the_others(catalogue):
    catalogue("datasets: {bad: 1, good: {title: Good, image_side_px: 32, source: {folder: photos}}}")
    assert dataset("good").source.folder == "photos"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"folder": "photos"}, ["photos"]),
        ({"folder": None, "urls": ["https://example.org/a.zip", "file:a.zip"]}, ["file:a.zip"]),
        (
            {"folder": None, "parts": [{"folder": "photos"}, {"urls": ["file:labels.csv"]}]},
            ["photos", "file:labels.csv"],
        ),
        ({"folder": None, "builtin": "digits"}, []),
    ],
)
def test_its_local_places_are_folders_and_files(values, expected):
    assert source(**values).local == expected


@pytest.mark.parametrize("path", ["photos", "file:photos", "file://photos"])
def test_relative_paths_start_at_the_repository(tmp_path, monkeypatch, path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert local_path(path) == tmp_path / "photos"


@pytest.mark.parametrize("path", ["/data/photos", "file:/data/photos", "file:///data/photos"])
def test_absolute_paths_are_kept(tmp_path, monkeypatch, path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert local_path(path) == Path("/data/photos")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/photos") == tmp_path / "photos"
