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
        ({"folder": None, "parts": [{}]}, "source.parts[0]: exactly one of urls and folder must be set"),
        ({"folder": None, "builtin": "mnist"}, "source.builtin: invalid enum value 'mnist'"),
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
        ({"splits": {"tset": "Testing"}}, "invalid enum value 'tset'"),
        ({"exclude": "{label}/bad/*"}, "exclude may hold * and **, but no other placeholder"),
        ({"sha256": "abc"}, "source.sha256: expected `str` matching regex '^[0-9a-f]{64}$', got 'abc'"),
        ({"md5": "A" * 32}, "source.md5: expected `str` matching regex"),
        ({"max_per_class": 0}, "source.max_per_class: expected `int` >= 1, got 0"),
        ({"images_per_number": 0}, "source.images_per_number: expected `int` >= 1, got 0"),
        ({"sha265": "0" * 64}, "source: object contains unknown field `sha265`"),
    ],
)
def test_a_wrong_source_is_refused_with_the_reason(values, message):
    with pytest.raises(ParamsError, match=re.escape(message)):
        source(**values)


def test_an_unknown_dataset_is_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"'cats' is not in datasets.yaml, which has digits, food-101, animals-10, "):
        dataset("cats")


@pytest.mark.parametrize("text", ["", "datasets:\n", "weights: {}\n"])
def test_a_catalogue_without_datasets_is_refused(catalogue, text):
    catalogue(text)
    with pytest.raises(ParamsError, match=r"'digits' is not in datasets.yaml"):
        dataset("digits")


def test_a_wrong_entry_is_refused_with_its_place(catalogue):
    catalogue("datasets: {mine: {title: Mine, image_side_px: 16, source: {folder: photos}}}")
    with pytest.raises(
        ParamsError, match=r"datasets.mine.image_side_px: expected `int` >= 32, allowed are auto, got 16"
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
