from collections import Counter

import numpy as np
import pytest
from PIL import Image

from bottletop.core.errors import DataError
from bottletop.download.guess import files_of, look
from bottletop.download.sheet import contact_sheet
from tests.pictures import jpeg, png, write_folder, write_tar, write_zip

IMAGE = jpeg(1)


def files(pattern: str, per_class: int = 3, **names: list[str]) -> dict[str, bytes]:
    """Images whose names follow a pattern such as ``{split}/{label}/{n}.jpg``."""
    return {
        pattern.format(split=split, label=label, n=number): IMAGE
        for split in names.get("split", [""])
        for label in names.get("label", ["cat", "dog"])
        for number in range(per_class)
    }


@pytest.fixture
def guess(tmp_path):
    """The guess about files in a folder."""
    return lambda names: look(write_folder(tmp_path / "photos", names))


# What is understood


@pytest.mark.parametrize(("write", "name"), [(write_folder, "a"), (write_zip, "a.zip"), (write_tar, "a.tar.gz")])
def test_folders_of_classes(tmp_path, write, name):
    found = look(write(tmp_path / name, files("{label}/{n}.jpg")))
    assert found.source["images"] == "{label}/*"
    assert Counter(each[1::-1] for each in found.found.values()) == {("", "cat"): 3, ("", "dog"): 3}
    assert found.left_out == []


@pytest.mark.parametrize(
    ("names", "images"),
    [
        ("{split}/{label}/{n}.jpg", "{split}/{label}/*"),
        ("{label}/{split}/{n}.jpg", "{label}/{split}/*"),
        ("pets-main/data/{split}/images/{label}/{n}.jpg", "pets-main/data/{split}/images/{label}/*"),
        ("seg_{split}/seg_{split}/{label}/{n}.jpg", "{split}/*/{label}/*"),
        ("{split}/{label}/{label} photos/{n}.jpg", "{split}/{label}/*/*"),
        ("{split}/{label}.{n}.jpg", "{split}/{label}.{number}.jpg"),
        ("100% {{new}}/{split}/{label}/{n}.jpg", "*/{split}/{label}/*"),
    ],
)
def test_splits_and_further_folders(guess, names, images):
    found = guess(files(names, split=["train", "validation", "test"]))
    assert found.source["images"] == images
    assert Counter(each[1::-1] for each in found.found.values()) == {
        (split, label): 3 for split in ("train", "validation", "test") for label in ("cat", "dog")
    }


def test_other_names_of_splits_are_told_as_what_they_mean(guess):
    found = guess(files("{split}/{label}/{n}.jpg", split=["Training", "val", "Testing"]))
    assert {each.split for each in found.found.values()} == {"train", "validation", "test"}


def test_a_folder_of_the_training_images_alone_is_no_split(guess):
    assert guess(files("train/{label}/{n}.jpg")).source["images"] == "train/{label}/*"


@pytest.mark.parametrize(
    ("names", "images", "labels"),
    [
        ("{label}.{n}.jpg", "{label}.{number}.jpg", ["cat", "dog"]),
        ("images/{label}_{n}.jpg", "images/{label}_{number}.jpg", ["cat", "great_pyrenees"]),
        ("{label} ({n}).jpg", "{label} *.jpg", ["cat", "dog"]),
    ],
)
def test_file_names_that_begin_with_the_class(guess, names, images, labels):
    found = guess(files(names, label=labels))
    assert found.source["images"] == images
    assert Counter(each.label for each in found.found.values()) == dict.fromkeys(labels, 3)


def test_where_the_images_are_repeated_further_down_the_upper_ones_are_taken(guess):
    images = files("{split}/{label}/{n}.jpg", split=["train", "test"])
    found = guess(images | {f"data/{name}": data for name, data in images.items()})
    assert (found.source["images"], len(found.found), len(found.left_out)) == ("{split}/{label}/*", 12, 12)
    assert found.left_out[0] == "data/test/cat/0.jpg"


def test_other_files_beside_the_images_are_left_out_by_their_ending(guess):
    found = guess(files("{label}/{n}.jpg") | {"cat/Thumbs.db": b"", "readme.txt": b""})
    assert found.source["images"] == "{label}/*.jpg"
    assert sorted(found.left_out) == ["cat/Thumbs.db", "readme.txt"]


def test_images_in_folders_within_those_of_classes_are_taken_and_said(guess):
    found = guess(files("{label}/{n}.jpg") | {"cat/2024/9.jpg": IMAGE})
    assert (found.source["images"], len(found.found)) == ("{label}/**/*", 7)
    assert found.notes == ["1 of these images lie in folders within those of classes, such as cat/2024/9.jpg"]


def test_cifar_has_two_levels_that_could_be_classes_and_both_are_shown(guess):
    record = bytes(3072)
    with pytest.raises(DataError) as error:
        guess(
            {
                "train.bin": b"".join(bytes([fine // 2, fine]) + record for fine in (0, 1, 2, 0, 1, 2)),
                "test.bin": bytes([0, 0]) + record,
                "coarse_label_names.txt": b"fish\nflowers\n",
                "fine_label_names.txt": b"shark\ntrout\ntulip\n",
            }
        )
    assert 'images: "{split}/{label}/*/*" has 2 classes, such as fish, flowers' in str(error.value)
    assert 'images: "{split}/*/{label}/*" has 3 classes, such as shark, trout, tulip' in str(error.value)


# What is only said


@pytest.mark.parametrize(
    ("names", "images"),
    [
        ({"badger/cam{g}_{n}.jpg", "fox/cam{g}_{n}.jpg"}, "{label}/{group}_{number}.*"),
        ({"badger/cam{g}-{n}.jpg", "fox/cam{g}-{n}.jpg", "fox/{g}.txt"}, "{label}/{group}-{number}.jpg"),
    ],
)
def test_groups_in_names_are_suggested_but_not_taken(guess, names, images):
    found = guess({name.format(g=group, n=n): IMAGE for name in names for group in "123" for n in range(3)})
    assert {each.group for each in found.found.values()} == {""}
    assert found.notes == [
        "is each of cam1 and the like, as in badger/cam1"
        f'{images[15]}0.jpg, one animal, camera or patient? then set images: "{images}"'
    ]


@pytest.mark.parametrize("names", ["{label}/IMG_{n}.jpg", "{label}/{label}_{n}.jpg", "{label}/{n}.jpg"])
def test_names_of_a_single_beginning_suggest_no_groups(guess, names):
    assert guess(files(names)).notes == []


def test_a_class_that_has_the_name_of_a_split_is_said(guess):
    assert guess(files("{label}/{n}.jpg", label=["train", "holdout"])).notes == [
        "taken as a class, although it may be a split: train"
    ]


# What is not understood


def test_folders_of_one_image_each_are_no_classes(guess):
    with pytest.raises(DataError, match=r"such as P0/a\.jpg, .* lie in no folders of classes with 2 images or more"):
        guess({f"P{number}/a.jpg": IMAGE for number in range(9)})


def test_texts_about_one_image_each_are_no_tables(guess):
    """As YOLO's, which have a box in each line."""
    boxes = {f"labels/{number}.txt": b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2\n" for number in range(200)}
    with pytest.raises(DataError) as error:
        guess({f"images/{number}.jpg": IMAGE for number in range(20)} | boxes)
    assert str(error.value).count("\n") <= 7


@pytest.mark.parametrize(
    ("splits", "entry"),
    [
        (["train", "holdout"], "{test: [holdout]}"),
        (["train", "test", "late"], "{validation: [late]}"),
    ],
)
def test_a_split_of_an_unknown_name_is_shown_with_what_to_write(guess, splits, entry):
    with pytest.raises(DataError) as error:
        guess(files("data/{split}/{label}/{n}.jpg", split=splits))
    assert f"{splits[-1]} splits, as " in str(error.value)
    assert f'images: "data/{{split}}/{{label}}/*" and splits: {entry}' in str(error.value)


def test_numbered_images_without_folders_are_not_understood_and_tables_are_named(guess):
    with pytest.raises(
        DataError, match=r"(?s)its 20 images are: .*\n  images, such as 0\.jpg, .*\n  train\.csv has no rows"
    ):
        guess({f"{number}.jpg": IMAGE for number in range(20)} | {"train.csv": b"id,label"})


def test_numbered_images_are_shown_with_what_to_write(guess):
    with pytest.raises(DataError, match=r'set images: "jpg/image_{number}\.jpg" and numbered'):
        guess({f"jpg/image_{number:04}.jpg": IMAGE for number in range(20)})


def test_other_files_are_named_where_nothing_tells_the_classes(guess):
    with pytest.raises(
        DataError, match=r"(?s)its 20 images are: .*datasets\.md.*\n  other files: 1, such as labels\.mat"
    ):
        guess({f"{number}.jpg": IMAGE for number in range(20)} | {"labels.mat": b""})


def test_a_place_without_images_tells_what_is_there(guess):
    with pytest.raises(DataError, match=r"has no images among its 1 files, such as notes\.txt"):
        guess({"notes.txt": b""})


# The contact sheet


def test_the_contact_sheet_has_a_row_of_images_for_each_class(tmp_path):
    red, blue = (Image.new("RGB", (300, 300), colour) for colour in ("red", "blue"))
    for label, image in (("cat", red), ("dog", blue)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(9):
            image.save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos/dog/0.png").write_bytes(b"?")
    contact_sheet(files_of(tmp_path / "photos"), look(tmp_path / "photos").found, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.asarray(opened)
    assert sheet.shape == (200, 1000, 3)
    np.testing.assert_array_equal(sheet[50, 250::100], np.tile([255, 0, 0], (8, 1)))
    np.testing.assert_array_equal(sheet[180, 350::100], np.tile([0, 0, 255], (7, 1)))  # the first is unreadable


def test_the_contact_sheet_shows_names_beyond_ascii_and_says_which_it_cannot(tmp_path, capsys):
    names = ("\u0430\u0431", "\u0432\u0433", "\U0010fffd", "\U0010fffc")  # Cyrillic; for private use: no font has them
    write_folder(tmp_path / "photos", {f"{name}/{n}.png": png(n) for name in names for n in range(2)})
    contact_sheet(files_of(tmp_path / "photos"), look(tmp_path / "photos").found, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        first, second, third, fourth = np.asarray(opened)[:, :200].reshape(4, 100, 200, 3)[:, :45]
    assert (first != second).any()
    np.testing.assert_array_equal(third, fourth)
    said = capsys.readouterr().err
    assert f"no font on this machine has all letters of {names[3]}, {names[2]}: the contact sheet shows boxes" in said
