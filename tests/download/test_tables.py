"""Labels, splits and groups from a table, through the real unpacking."""

from pathlib import Path

import pytest

from bottletop.core.catalogue import Source
from bottletop.core.errors import DataError
from bottletop.core.settings import parse
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import ImageRow, read_index
from tests.pictures import jpeg, write_folder

IMAGES = {f"photos/{name}.jpg": jpeg(number) for number, name in enumerate("abcdefgh")}
KINDS = dict(zip("abcdefgh", ["cat", "dog"] * 4, strict=True))
TABLE = {"file": "labels.csv", "image": "id", "label": "kind"}
SEVERAL = TABLE | {"file": ["Train.csv", "holdout.csv"]}


@pytest.fixture
def run(tmp_path):
    """Unpacks the images and a table; returns rows and report."""

    def run(table: str | bytes, files: dict[str, bytes] = IMAGES, labels: dict = TABLE, **values):
        data = table if isinstance(table, bytes) else table.encode()
        folder = write_folder(
            tmp_path / "pets", files | ({labels["file"]: data} if isinstance(labels["file"], str) else {})
        )
        values = {"folder": str(folder), "labels": labels} | values
        report = unpack(
            parse(Source, values, "datasets.pets.source", Path("datasets.yaml")),
            DownloadParams(max_rejected=0),
            tmp_path / "out",
        )
        return read_index(tmp_path / "out/index.csv"), report

    return run


def table(rows: dict[str, str] = KINDS, header: str = "id,kind") -> str:
    return "\n".join([header, *(f"{name},{kind}" for name, kind in rows.items())]) + "\n"


def kinds(rows: list[ImageRow]) -> dict[str, str]:
    return {Path(row.source).stem: row.label for row in rows}


@pytest.mark.parametrize(
    "text",
    [
        table(),
        table({f"{name}.jpg": kind for name, kind in KINDS.items()}),
        table({f"photos/{name}.jpg": kind for name, kind in KINDS.items()}),
        table({f"/data/photos/{name}.png": kind for name, kind in KINDS.items()}),
        table().replace(",", ";"),
        table().replace(",", "\t"),
        table().replace(",", " "),
        table().replace("\n", "\r\n"),
        table().encode("utf-8-sig"),
        table().encode("utf-16"),
        '"kind","note","id"\n' + "".join(f'{kind},"a, b",{name}\n' for name, kind in KINDS.items()),
    ],
    ids=["bare", "ending", "folder", "other", "semicolons", "tabs", "spaces", "Windows", "mark", "UTF-16", "quotes"],
)
def test_a_table_gives_the_class_of_each_image(run, text):
    rows, _ = run(text)
    assert kinds(rows) == KINDS


def test_columns_of_a_table_without_a_header_are_counted_from_1(run):
    rows, _ = run(
        "".join(f"7 {name}.jpg {kind}\n" for name, kind in KINDS.items()), labels=TABLE | {"image": 2, "label": 3}
    )
    assert kinds(rows) == KINDS


def test_display_names_are_given_to_the_classes_of_a_table(run):
    rows, _ = run(table(), names={"dog": "Hund"})
    assert {row.label for row in rows} == {"cat", "Hund"}


def test_a_table_may_have_a_column_for_each_class(run):
    text = "id,cat,dog\n" + "".join(f"{name},{kind == 'cat':d},{kind == 'dog':d}.0\n" for name, kind in KINDS.items())
    assert kinds(run(text, labels={"file": "labels.csv", "image": "id", "one_hot": True})[0]) == KINDS


def test_the_columns_of_the_classes_may_be_named(run):
    text = "id,age,cat,dog\n" + "".join(
        f"{name},31,{kind == 'cat':d},{kind == 'dog':d}\n" for name, kind in KINDS.items()
    )
    labels = {"file": "labels.csv", "image": "id", "one_hot": ["cat", "dog"]}
    assert kinds(run(text, labels=labels)[0]) == KINDS
    with pytest.raises(DataError, match=r"column 'age' holds '31', not 0 or 1: .*one_hot: \[a, b\]"):
        run(text, labels=labels | {"one_hot": True})


def test_a_table_may_give_split_and_group(run):
    text = "id,kind,set,patient\n" + "".join(
        f"{name},{kind},{'Testing' if name in 'ab' else 'Training'},{'cd'.find(name)}\n" for name, kind in KINDS.items()
    )
    rows, report = run(text.replace(",-1", ","), labels=TABLE | {"split": "set", "group": "patient"})
    assert {Path(row.source).stem for row in rows if row.official == "test"} == {"a", "b"}
    assert report["split_names"] == {"Testing": "test", "Training": "train"}
    assert report["own_groups"] == 2


def test_rows_without_a_split_need_to_be_given_one(run):
    text = table({name: f"{kind},{'test' if name in 'ab' else ''}" for name, kind in KINDS.items()}, "id,kind,set")
    with pytest.raises(DataError, match=r"not clear whether '' is for train, .* such as splits: \{test: \[''\]\}"):
        run(text, labels=TABLE | {"split": "set"})
    rows, _ = run(text, labels=TABLE | {"split": "set"}, splits={"train": ""})
    assert {Path(row.source).stem for row in rows if row.official == "train"} == set("cdefgh")


def test_images_of_one_group_of_a_table_are_joined(run):
    text = "id,kind,patient\n" + "".join(
        f"{name},{kind},{'p' if name in 'ag' else ''}\n" for name, kind in KINDS.items()
    )
    rows, report = run(text, labels=TABLE | {"group": "patient"})
    group_of = {Path(row.source).stem: row.group for row in rows}
    assert group_of["a"] == group_of["g"]
    assert (len(set(group_of.values())), report["own_groups"]) == (7, 1)


def tables(**keys_of: str) -> dict[str, bytes]:
    """A table of some of the images for each name."""
    return {f"{file}.csv": table({key: KINDS[key] for key in keys}).encode() for file, keys in keys_of.items()}


def splits(rows: list[ImageRow]) -> dict[str, str]:
    return {Path(row.source).stem: row.official for row in rows}


def test_several_tables_are_one_and_their_names_tell_the_splits(run):
    rows, _ = run("", IMAGES | tables(Train="abcdef", holdout="gh"), SEVERAL, splits={"test": "holdout"})
    assert kinds(rows) == KINDS
    assert splits(rows) == dict.fromkeys("abcdef", "train") | dict.fromkeys("gh", "test")


def test_the_folder_of_a_table_may_tell_its_split(run):
    labels = TABLE | {"file": ["train/labels.csv", "test/labels.csv"]}
    rows, _ = run("", IMAGES | tables(**{"train/labels": "abcdef", "test/labels": "gh"}), labels)
    assert splits(rows) == dict.fromkeys("abcdef", "train") | dict.fromkeys("gh", "test")


def test_the_name_of_each_table_must_tell_its_split_if_one_does(run):
    with pytest.raises(DataError, match="not clear whether 'holdout' is for train, validation or test"):
        run("", IMAGES | tables(Train="abcdef", holdout="gh"), SEVERAL)


def test_names_of_tables_tell_no_splits_where_none_or_something_else_does(run):
    files = IMAGES | tables(a="abcdef", b="gh")
    assert set(splits(run("", files, SEVERAL | {"file": ["a.csv", "b.csv"]})[0]).values()) == {""}
    files = IMAGES | tables(Train="abcdef", holdout="gh")
    assert splits(run("", files, SEVERAL, images="{split}/*", splits={"train": "photos"})[0]) == dict.fromkeys(
        KINDS, "train"
    )


def test_an_image_in_two_tables_is_an_error(run):
    with pytest.raises(DataError, match=r"photos/b.jpg stands in holdout.csv and in another table"):
        run("", IMAGES | tables(Train="abcdef", holdout="bgh"), SEVERAL)


# What does not fit

MANY = {f"photos/{number:02}.jpg": jpeg(number, (32, 24)) for number in range(40)}
MANY_KINDS = {f"{number:02}": ("cat", "dog")[number % 2] for number in range(40)}


def test_a_few_rows_without_an_image_and_images_without_a_row_are_counted_and_named(run):
    rows, report = run(table(MANY_KINDS | {"lost": "cat"}), files=MANY | {"photos/new.jpg": jpeg(99)})
    assert len(rows) == 40
    assert report["unused_lines"] == {"labels.csv": {"lines": 1, "examples": ["lost"]}}
    assert report["left_out"]["without a class in the table"] == {"files": 1, "examples": ["photos/new.jpg"]}


def test_a_class_whose_images_are_in_the_table_alone_stops_the_run(run):
    with pytest.raises(DataError, match=r"rare has no images \(1 in the table without an image, such as lost\)"):
        run(table(MANY_KINDS | {"lost": "rare"}), files=MANY)
    assert len(run(table(MANY_KINDS | {"lost": "rare"}), files=MANY, incomplete=["rare"])[0]) == 40
    assert len(run(table(MANY_KINDS | {"lost": "rare"}), files=MANY, classes=["cat", "dog"])[0]) == 40


def test_a_class_that_has_a_tenth_more_rows_than_images_stops_the_run(run):
    few = {name: "cat" if number < 32 else "dog" for number, name in enumerate(MANY_KINDS)}
    with pytest.raises(DataError, match=r"dog loses 1 of 9 images \(1 in the table without an image, such as lost\)"):
        run(table(few | {"lost": "dog"}), files=MANY)


def test_rows_about_images_that_are_excluded_do_not_count(run):
    rows, report = run(table(KINDS), exclude="photos/h.jpg")
    assert (len(rows), report["unused_lines"]) == (7, {})


def test_a_split_whose_images_are_in_the_table_alone_stops_the_run(run):
    text = table({name: f"{kind},train" for name, kind in MANY_KINDS.items()} | {"lost": "cat,test"}, "id,kind,set")
    with pytest.raises(DataError, match=r"no image is in the split 'test' of the table, such as 'lost'"):
        run(text, files=MANY, labels=TABLE | {"split": "set"})


def test_a_row_without_image_and_split_is_a_row_without_an_image(run):
    text = table({name: f"{kind},train" for name, kind in MANY_KINDS.items()} | {"lost": "cat,"}, "id,kind,set")
    assert run(text, files=MANY, labels=TABLE | {"split": "set"})[1]["unused_lines"]["labels.csv"]["lines"] == 1


def test_a_column_of_a_class_without_any_image_stops_the_run(run):
    text = "id,cat,dog,fox\n" + "".join(
        f"{name},{kind == 'cat':d},{kind == 'dog':d},0\n" for name, kind in KINDS.items()
    )
    labels = {"file": "labels.csv", "image": "id", "one_hot": True}
    with pytest.raises(DataError, match=r"fox has no images: .* allow it in datasets.yaml: incomplete: \[fox\]"):
        run(text, labels=labels)
    assert kinds(run(text, labels=labels, incomplete=["fox"])[0]) == KINDS
    assert kinds(run(text, labels=labels | {"one_hot": ["cat", "dog"]})[0]) == KINDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(KINDS | {"x": "cat"}), "1 of 9 lines of labels.csv mean no image, such as 'x'"),
        (
            table({name: kind for name, kind in KINDS.items() if name != "h"}),
            "1 of 8 images have no class in labels.csv",
        ),
        (table(KINDS | {"h": ""}), "1 of 8 images have no class in labels.csv, such as photos/h.jpg"),
        (table() + "a,dog\n", "photos/a.jpg stands twice in labels.csv, as cat and dog"),
        (table(header="id,class"), "labels.csv has no column 'kind', only id, class: edit labels in datasets.yaml"),
        ("", "labels.csv has no column 'id', only"),
        (table(header="id,kind,kind"), "labels.csv has 2 columns 'kind': rename all but one"),
        (b"\xff\xfe\x00", "labels.csv, a list or table of the dataset, is not UTF-8 text"),
    ],
)
def test_a_table_that_does_not_fit_the_images_is_an_error(run, text, message):
    with pytest.raises(DataError) as caught:
        run(text)
    assert message in str(caught.value)


def test_equal_rows_for_an_image_are_one(run):
    assert kinds(run(table() + "a,cat\n")[0]) == KINDS


def test_a_name_that_is_in_two_folders_must_be_given_with_its_folder(run):
    with pytest.raises(DataError, match=r"'a' may be (copy/a.jpg or photos/a.jpg)"):
        run(table(), files=IMAGES | {"copy/a.jpg": jpeg(50)})
    assert kinds(run(table(), files=IMAGES | {"copy/a.jpg": jpeg(50)}, images="photos/*")[0]) == KINDS


def test_a_table_that_is_missing_is_an_error(run):
    with pytest.raises(DataError, match=r"the dataset has no other.csv, a list or table in its entry"):
        run(table(), files=IMAGES, labels={"file": "labels.csv"} | TABLE, split_lists={"test": "other.csv"})


def test_a_matlab_file_that_is_none_is_an_error(run):
    labels = {"file": "labels.mat", "label": "labels"}
    with pytest.raises(DataError, match=r"labels.mat is not a MATLAB file up to version 7.2"):
        run(b"MATLAB, they said", labels=labels, images="photos/*{number}.jpg", files=MANY)


@pytest.mark.parametrize("sign", ["\r", "\n", "\x1b", "\0"])
def test_a_control_character_in_a_class_name_is_written_out(run, sign):
    text = table({name: f'"{kind}{sign}x"' for name, kind in KINDS.items()})
    rows, _ = run(text.encode())
    assert set(kinds(rows).values()) == {f"{kind}\\x{ord(sign):02x}x" for kind in ("cat", "dog")}
