from pathlib import Path

import msgspec
import pytest

from bottletop.core.catalogue import Source, dataset
from bottletop.core.errors import DataError
from bottletop.core.settings import parse
from bottletop.download.layout import (
    ARCHIVE,
    BESIDE,
    HIDDEN,
    NO_MATCH,
    NOT_WANTED,
    TWICE,
    Labelled,
    Layout,
    LeftOut,
    known_split,
)


def source(**values) -> Source:
    return parse(Source, {"folder": "photos"} | values, "datasets.mine.source", Path("datasets.yaml"))


def labelled(entry: Source, member: str) -> tuple[str, str] | None:
    """Class and official split, or None if the member is not taken."""
    placed = Layout(entry).place(member)
    return (placed.label, placed.split) if isinstance(placed, Labelled) else None


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
        ("flowers-17", "jpg/files.txt", None),
    ],
)
def test_members_of_the_public_archives_get_their_class_and_official_split(name, member, expected):
    entry = msgspec.structs.replace(dataset(name).source, test_list=None)  # its list is in the archive
    assert labelled(entry, member) == expected


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
        ("{split}/{label}/*", "valid/cat/1.jpg", ("cat", "validation")),
        ("*-{label}/*", "n02099267-flat-coated_retriever/1.jpg", ("flat-coated_retriever", "")),
        ("{label}_*", "beagle_12_flip.jpg", ("beagle", "")),
        ("{label}_{number}.jpg", "great_pyrenees_12.jpg", ("great_pyrenees", "")),
        ("train/{label}.*.jpg", "train/cat.12.jpg", ("cat", "")),
        ("*.{label}/*", "001.Black_footed_Albatross/1.jpg", ("Black_footed_Albatross", "")),
        ("{label}/{label}/*", "dog/beagle/1.jpg", ("dog/beagle", "")),
        ("**/{label}/*", "some/where/cat/1.jpg", ("cat", "")),
        ("**/{label}/*", "cat/1.jpg", ("cat", "")),
        ("{label}/**", "cat/some/where/1.jpg", ("cat", "")),
        ("{label}/*", "cafe\u0301/1.jpg", ("caf\u00e9", "")),
        ("a+b (1)/{label}/*", "a+b (1)/cat/1.jpg", ("cat", "")),
    ],
)
def test_each_placeholder_takes_as_little_text_as_the_whole_name_allows(images, member, expected):
    assert labelled(source(images=images), member) == expected


def test_names_are_shown_instead_of_folders_where_there_are_any():
    animals = source(names={"cane": "dog"})
    assert [labelled(animals, name) for name in ("cane/1.jpg", "gatto/1.jpg")] == [("dog", ""), ("gatto", "")]


def test_classes_are_chosen_by_their_display_names():
    layout = Layout(source(names={"cane": "dog", "gatto": "cat"}, classes=["dog"]))
    assert [layout.place(name) for name in ("cane/1.jpg", "dog/1.jpg")] == [Labelled("dog"), Labelled("dog")]
    assert layout.place("gatto/1.jpg") == LeftOut(NOT_WANTED)


def test_consecutive_numbers_belong_to_one_class():
    flowers = source(images="{number}.jpg", numbered=["rose", "tulip"], images_per_number=2)
    assert [labelled(flowers, f"{number}.jpg")[0] for number in range(1, 5)] == ["rose", "rose", "tulip", "tulip"]


def test_numbers_may_begin_at_0():
    flowers = source(images="{number}.jpg", numbered=["rose", "tulip"], first_number=0)
    assert [labelled(flowers, f"{number}.jpg")[0] for number in range(2)] == ["rose", "tulip"]


@pytest.mark.parametrize("number", [0, 5])
def test_a_number_that_the_list_does_not_cover_is_an_error(number):
    layout = Layout(source(images="{number}.jpg", numbered=["rose", "tulip"], images_per_number=2))
    with pytest.raises(DataError, match=f"{number}.jpg has the number {number}, and `numbered` covers 1 to 4"):
        layout.place(f"{number}.jpg")


def test_the_first_pattern_that_fits_counts():
    pets = source(images=["train/{label}/*", "**/{label}.*.jpg"])
    assert [labelled(pets, name)[0] for name in ("train/cat/dog.1.jpg", "more/dog.1.jpg")] == ["cat", "dog"]


def test_what_exclude_fits_is_left_out():
    pets = source(exclude=["*/bad_*", "dog/**"])
    for name, pattern in (("cat/bad_1.jpg", "*/bad_*"), ("dog/1.jpg", "dog/**")):
        assert Layout(pets).place(name) == LeftOut(f"excluded by '{pattern}'", asked=True)
    assert labelled(pets, "cat/1.jpg") == ("cat", "")


def test_a_pattern_of_many_stars_takes_no_time():
    layout = Layout(source(images="{label}/" + 60 * "*a" + "b"))
    assert layout.place("cat/" + 250 * "a") == LeftOut(BESIDE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "train") for name in ("train", "Training", "train_set", "seg_train", "TrainImages", "train2017")),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "val_set", "validset", "seg-val")),
        *((name, "test") for name in ("test", "Testing", "test_set", "seg_test", "TEST", "test-images")),
        *((name, None) for name in ("train_val", "extra", "unlabelled", "contest", "all", "0")),
    ],
)
def test_names_of_splits_are_known_in_any_case_with_words_beside_them(name, expected):
    assert known_split(name) == expected


def test_other_names_of_splits_are_given_by_the_entry():
    imagenette = source(images="{split}/{label}/*", splits={"test": ["val", "late"], "train": "early"})
    for name, split in (("val", "test"), ("late", "test"), ("early", "train"), ("train", "train")):
        assert labelled(imagenette, f"{name}/cat/1.jpg") == ("cat", split)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("readme.txt", LeftOut(BESIDE)),
        ("cat/1.xml", LeftOut(BESIDE)),
        ("cat/Thumbs.db", LeftOut(BESIDE, "cat")),
        ("horses.zip", LeftOut(ARCHIVE)),
        ("horses.7z", LeftOut(ARCHIVE)),
        ("__MACOSX/1.jpg", LeftOut(HIDDEN)),
        ("cat/.1.jpg", LeftOut(HIDDEN, "cat")),
        (".ipynb_checkpoints/1.jpg", LeftOut(HIDDEN)),
        ("1.jpg", LeftOut(NO_MATCH)),
        ("cat/more/1.jpg", LeftOut(NO_MATCH, "cat", lost=True, deeper=True)),
    ],
)
def test_what_is_not_taken_has_a_reason(name, expected):
    assert Layout(source()).place(name) == expected


def test_an_image_of_another_ending_is_lost_to_the_class_of_its_folder():
    assert Layout(source(images="{label}/*.jpg")).place("cat/1.PNG") == LeftOut(NO_MATCH, "cat", lost=True)


@pytest.mark.parametrize(
    ("name", "problem", "expected"),
    [
        ("cat/1.jpg", "a broken link", LeftOut("a broken link", "cat", lost=True)),
        ("cat/1", "a broken link", LeftOut("a broken link", "cat", lost=True)),
        ("cat/1.jpg", TWICE, LeftOut(TWICE, "cat")),
        ("cat/1.txt", "a broken link", LeftOut("a broken link")),
        ("St. Bernard", "an empty folder", LeftOut("an empty folder", "St. Bernard")),
        ("cat", "a broken link", LeftOut("a broken link", "cat")),
        ("cat/.1.jpg", HIDDEN, LeftOut(HIDDEN, "cat")),
    ],
)
def test_what_cannot_be_read_belongs_to_the_class_of_its_folder(name, problem, expected):
    assert Layout(source()).place(name, problem) == expected
