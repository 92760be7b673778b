import re
from pathlib import Path

import pytest
import yaml

from bottletop.core.catalogue import Source, dataset, local_path
from bottletop.core.errors import ParamsError
from bottletop.core.settings import parse

NAMES = list(yaml.safe_load((Path(__file__).parents[2] / "datasets.yaml").read_text())["datasets"])


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
    ("name", "member", "expected"),
    [
        ("digits", "7/0042.png", ("7", "")),
        ("food-101", "food-101/images/apple_pie/1005649.jpg", ("apple_pie", "")),
        ("food-101", "food-101/meta/test.txt", None),
        ("food-101", "food-101/images/apple_pie/._1005649.jpg", None),
        ("animals-10", "raw-img/cane/dogs_00001.jpeg", ("dog", "")),
        ("animals-10", "raw-img/gatto/1.jpeg", ("cat", "")),
        ("animals-10", "raw-img/scoiattolo/e030b20a20e9.png", ("squirrel", "")),
        ("animals-10", "translate.py", None),
        ("skin-cancer", "train/benign/1.jpg", ("benign", "train")),
        ("skin-cancer", "test/malignant/40.jpg", ("malignant", "test")),
        ("skin-cancer", "data/train/benign/1.jpg", None),
        ("flowers-17", "jpg/image_0001.jpg", ("daffodil", "")),
        ("flowers-17", "jpg/image_0080.jpg", ("daffodil", "")),
        ("flowers-17", "jpg/image_0081.jpg", ("snowdrop", "")),
        ("flowers-17", "jpg/image_1360.jpg", ("pansy", "")),
        ("flowers-17", "jpg/image_1361.jpg", None),
        ("flowers-17", "jpg/image_0000.jpg", None),
        ("flowers-17", "jpg/files.txt", None),
    ],
)
def test_members_of_the_public_archives_get_their_class_and_official_side(name, member, expected):
    assert dataset(name).source.label(member) == expected


@pytest.mark.parametrize(
    ("images", "member", "expected"),
    [
        ("{label}/*", "lily of the valley/1.jpg", ("lily of the valley", "")),
        ("{label}/*", "crème brûlée/été.jpg", ("crème brûlée", "")),
        ("{label}/*", "1.jpg", None),
        ("{label}/*", "cat/more/1.jpg", None),
        ("{label}/*", "cat/.DS_Store", None),
        ("{label}/*.jpg", "cat/1.png", None),
        ("{label}/*.jpg", "cat/1xjpg", None),
        ("*/{label}/*", "anything/cat/1.jpg", ("cat", "")),
        ("{label}_*.jpg", "cat_1.jpg", ("cat", "")),
        ("{split}/{label}/*", "test/cat/1.jpg", ("cat", "test")),
        ("{split}/{label}/*", "train/cat/1.jpg", ("cat", "train")),
        ("{split}/{label}/*", "valid/cat/1.jpg", ("cat", "train")),
        ("a+b (1)/{label}/*", "a+b (1)/cat/1.jpg", ("cat", "")),
    ],
)
def test_placeholders_stand_for_one_part_of_the_path(images, member, expected):
    assert source(images=images).label(member) == expected


def test_names_are_shown_instead_of_folders_where_there_are_any():
    animals = source(names={"cane": "dog"})
    assert [animals.label(member) for member in ("cane/1", "gatto/1")] == [("dog", ""), ("gatto", "")]


def test_classes_are_chosen_by_their_display_names():
    animals = source(names={"cane": "dog", "gatto": "cat"}, classes=["dog"])
    assert [animals.label(member) for member in ("cane/1", "gatto/1", "dog/1")] == [("dog", ""), None, ("dog", "")]


def test_consecutive_numbers_belong_to_one_class():
    flowers = source(images="{number}.jpg", numbered=["rose", "tulip"], images_per_number=2)
    labels = [flowers.label(f"{number}.jpg") for number in range(6)]
    assert labels == [None, ("rose", ""), ("rose", ""), ("tulip", ""), ("tulip", ""), None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"builtin": "digits"}, "exactly one of urls, folder and builtin must be set"),
        ({"folder": None}, "exactly one of urls, folder and builtin must be set"),
        ({"folder": None, "builtin": "mnist"}, "source.builtin: invalid enum value 'mnist'"),
        ({"folder": None, "urls": ["ftp://example.org/a.zip"]}, "must begin with https://, http:// or file:, got 'ftp"),
        ({"images": "photos/*"}, "images must hold {label} or {number} once"),
        ({"images": "{label}/{label}/*"}, "images must hold {label} or {number} once"),
        ({"images": "{split}/{split}/{label}/*"}, "{split} at most once"),
        ({"images": "{number}.jpg"}, "numbered and a {number} in images go together"),
        ({"numbered": ["rose"]}, "numbered and a {number} in images go together"),
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
