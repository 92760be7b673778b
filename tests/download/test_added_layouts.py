"""What `bottletop add` writes about replicas of public datasets, unpacked and split by what it wrote."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from bottletop.cli import main
from bottletop.core.catalogue import Source, dataset
from bottletop.core.settings import parse
from bottletop.download.archives import members
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import read_index
from bottletop.split import SPLITS
from tests.download.test_public_layouts import DATASETS, assigned
from tests.pictures import jpeg, write_folder, write_zip
from tests.tiny import ROOT

LISTS = {
    "dtd": {part: f"dtd/labels/{name}1.txt" for part, name in zip(SPLITS, ("train", "val", "test"), strict=True)},
    "oxford-pets": {"train": "annotations/trainval.txt", "test": "annotations/test.txt"},
}
LABELS = {
    "ham10000": {"file": "HAM10000_metadata.csv", "image": "image_id", "label": "dx", "group": "lesion_id"},
    "isic-2019": {
        "file": "ISIC_2019_Training_GroundTruth.csv",
        "image": "image",
        "one_hot": ("MEL", "NV", "BCC", "AK"),  # no image is of UNK
    },
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with this project's settings, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("datasets.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def in_a_folder(make, home: Path) -> None:
    """Writes a replica, and unpacks all of its archives into one folder."""
    (home / "downloads").mkdir()
    make(home / "downloads")
    for path in (home / "downloads").iterdir():
        if path.name.endswith((".csv", "ubyte.gz")):
            write_folder(home / "photos", {path.name: path.read_bytes()})
        else:
            for member in members(path):
                write_folder(home / "photos", {member.name: member.read()} if not member.problem else {})


def add(files: dict[str, bytes], home: Path):
    """Adds a folder; returns its entry's source and the rows that it gives."""
    write_folder(home / "photos", files)
    main(["add", "photos"])
    source = dataset("photos").source
    unpack(source, DownloadParams(max_rejected=0), home / "out")
    return source, read_index(home / "out/index.csv")


def written(labels) -> dict[str, object]:
    return {key: value for key in labels.__struct_fields__ if (value := getattr(labels, key)) not in (None, False)}


@pytest.mark.parametrize(
    "name", ["ham10000", "isic-2019", "dogs-vs-cats", "oxford-pets", "fruits-360", "dtd", "mnist", "cifar-10"]
)
def test_a_public_dataset_in_a_folder_is_split_as_its_authors_did(home, name):
    in_a_folder(DATASETS[name][0], home)
    source, rows = add({}, home)
    assert source.lists == LISTS.get(name, {})
    assert (written(source.labels) if source.labels else None) == LABELS.get(name)
    found = Counter((row.label, row.split) for row in assigned(rows))
    labels = {row.label for row in rows}
    assert len(labels) == 4
    assert {tuple(found[label, split] for split in SPLITS) for label in labels} == {DATASETS[name][1]}


# Tables


def photos(names: str = "{n}.jpg", count: int = 24) -> dict[str, bytes]:
    return {names.format(n=number): jpeg(number) for number in range(count)}


def table(header: str, row) -> bytes:
    return "\n".join([header, *(row(number) for number in range(24))]).strip().encode()


def test_the_column_of_the_split_is_known_by_its_values(home):
    rows = table("path,breed,use", lambda n: f"img/{n}.jpg,{'ab'[n % 2]},{'train' if n < 16 else 'testing'}")
    source, found = add(photos("img/{n}.jpg") | {"list.csv": rows}, home)
    assert written(source.labels) == {"file": "list.csv", "image": "path", "label": "breed", "split": "use"}
    assert Counter(row.official for row in found) == {"train": 16, "test": 8}


def test_a_table_without_a_header_has_numbers_for_its_columns(home):
    source, found = add(photos() | {"a.tsv": table("", lambda n: f"{n}\t{n % 2}")}, home)
    assert written(source.labels) == {"file": "a.tsv", "image": 1, "label": 2}
    assert Counter(row.label for row in found) == {"0": 12, "1": 12}


def test_a_table_in_an_archive_about_the_images_of_one_folder(home):
    """Kaggle's way: the images of the test have no classes, and the names of files do not tell the folder."""
    files = {f"{part}/{n}.png": jpeg(n) for part in ("train", "test") for n in range(24)}
    rows = table("id,label", lambda n: f"{n},{'ab'[n % 2]}")
    write_zip(home / "photos.zip", files | {"sub.csv": table("id,label", lambda n: f"{n},0"), "train.csv": rows})
    main(["add", "photos.zip"])
    source = dataset("photos").source
    assert (source.images, written(source.labels)) == (
        "train/**",
        {"file": "train.csv", "image": "id", "label": "label"},
    )
    unpack(source, DownloadParams(max_rejected=0), home / "out")
    assert {Path(row.source).parent.name for row in read_index(home / "out/index.csv")} == {"train"}


def test_a_column_named_as_a_group_that_cannot_be_divided_is_no_group_and_said(home, capsys):
    rows = table("image,label,camera", lambda n: f"{n},{'ab'[n % 2]},{n % 2}")
    source, _ = add(photos() | {"a.csv": rows}, home)
    assert source.labels.group is None
    assert "not used: the column camera, because a class has fewer than 3 of its values" in capsys.readouterr().out


def test_folders_of_classes_are_kept_beside_a_table_that_tells_no_more(home):
    """As Imagenette's table of wrong labels, or a table of coarser classes."""
    rows = table("path,label", lambda n: f"{n}.jpg,{'pet' if n % 4 < 2 else 'bird'}")
    source, found = add({f"{n % 4}/{n}.jpg": jpeg(n) for n in range(24)} | {"a.csv": rows}, home)
    assert (source.labels, source.images) == (None, "{label}/*")
    assert len({row.label for row in found}) == 4


def test_folders_that_mix_the_classes_of_a_table_are_no_classes(home):
    rows = table("name,dx", lambda n: f"{n},{'ab'[n % 2]}")
    source, found = add({f"part_{n // 12}/{n}.jpg": jpeg(n) for n in range(24)} | {"a.csv": rows}, home)
    assert (source.labels.label, source.images) == ("dx", ())
    assert {row.label for row in found} == {"a", "b"}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("id,sex,place", "{n},{m},{n}", "names the images, but it is not clear which is the class: sex, place"),
        ("id,sex,place", "{n},m{m},x{m}", "it is not clear which is the class: sex, place"),
        ("id,label", "x{n},{m}", "none of its columns names the images: id, label; its first row is x0, 0"),
        ("id,species,breed", "{n},s{m},b{k}", "it is not clear which is the class: species, breed"),
        ("id,kind,indoor,outdoor", "{n},k{k},{m},{w}", "not clear which is the class: kind, indoor, outdoor"),
    ],
)
def test_what_is_unclear_about_a_table_is_said_with_its_columns(home, header, row, message):
    files = photos() | {"a.csv": table(header, lambda n: row.format(n=n, m=n % 2, w=1 - n % 2, k=n % 4))}
    with pytest.raises(SystemExit, match=f"a.csv: .*{message}"):
        add(files, home)


def test_a_class_column_with_empty_cells_is_not_replaced_by_another_column(home):
    rows = table("id,label,sex", lambda n: f"{n},{'ab'[n % 2] if n % 8 else ''},{'mf'[n % 2]}")
    with pytest.raises(SystemExit, match=r"a\.csv: its column label is empty in some rows"):
        add(photos() | {"a.csv": rows}, home)


def test_a_table_in_another_encoding_is_named(home):
    with pytest.raises(SystemExit, match=r"a\.csv, a list or table of the dataset, is not UTF-8 text"):
        add(photos() | {"a.csv": table("id,label", lambda n: f"{n},é{n % 2}").decode().encode("latin-1")}, home)


def test_of_a_number_and_a_name_of_the_class_the_name_is_taken(home):
    rows = table("id,label,label_name", lambda n: f"{n},{n % 2},{'ab'[n % 2]}")
    assert add(photos() | {"a.csv": rows}, home)[0].labels.label == "label_name"


def test_a_column_called_animal_may_be_the_class(home):
    assert (
        add(photos() | {"a.csv": table("id,animal", lambda n: f"{n},{'ab'[n % 2]}")}, home)[0].labels.label == "animal"
    )


@pytest.mark.parametrize(
    ("columns", "group"),
    [("age_group,patient_weight", None), ("lesion_id,patientId", "patientId"), ("Camera No,animal_id", "Camera No")],
)
def test_of_columns_that_tell_groups_the_widest_is_taken_and_other_facts_are_no_groups(home, columns, group):
    rows = table(f"id,label,{columns}", lambda n: f"{n},{'ab'[n % 2]},{n // 4},{n // 4}")
    assert add(photos() | {"a.csv": rows}, home)[0].labels.group == group


def test_a_table_may_have_several_rows_about_an_image(home):
    rows = table("id,label,box", lambda n: f"{n},{'ab'[n % 2]},1\n{n},{'ab'[n % 2]},2")
    assert len(add(photos() | {"a.csv": rows}, home)[1]) == 24


def test_a_text_of_names_and_classes_is_a_table_and_not_also_the_list_of_a_split(home):
    rows = table("", lambda n: f"val/{n}.jpg {n % 2}")
    source, found = add(photos("val/{n}.jpg") | {"val.txt": rows, "readme.txt": b"about val/1.jpg\n"}, home)
    assert written(source.labels) == {"file": "val.txt", "image": 1, "label": 2}
    assert Counter((row.label, row.official) for row in found) == {("0", ""): 12, ("1", ""): 12}


def test_folders_of_splits_stay_splits_if_a_table_tells_the_classes(home):
    files = {f"{'test' if n % 4 == 3 else 'train'}/{n}.jpg": jpeg(n) for n in range(24)}
    source, found = add(files | {"a.csv": table("id,label", lambda n: f"{n},{'ab'[n // 12]}")}, home)
    assert (source.images, source.labels.label) == ("{split}/*", "label")
    assert Counter(row.official for row in found) == {"train": 18, "test": 6}


def test_a_column_that_may_tell_the_split_is_said(home, capsys):
    add(photos() | {"a.csv": table("id,label,is_test", lambda n: f"{n},{'ab'[n % 2]},{int(n > 19)}")}, home)
    assert "not used: the column is_test; if it tells the split, write train" in capsys.readouterr().out


def test_a_table_about_other_images_is_said(home, capsys):
    tables = {
        f"{part}.csv": table(f"id,label,{part}", lambda n, part=part: f"{part}/{n},{'ab'[n % 2]},x")
        for part in ("train", "test")
    }
    source, _ = add(photos("train/{n}.jpg") | photos("test/{n}.png") | tables, home)
    assert source.labels.file == "train.csv"
    assert "not used: test.csv, which is about other images" in capsys.readouterr().out


def test_tables_of_the_same_columns_are_taken_as_one_and_their_names_tell_the_splits(home):
    """As of the German traffic signs, where only the training images are in folders of classes."""
    rows = {"Train": [f"Train/{n % 2}/{n}.png" for n in range(16)], "Test": [f"Test/{n}.png" for n in range(8)]}
    names = [name for each in rows.values() for name in each]
    files = {name: jpeg(number) for number, name in enumerate(names)}
    tables = {
        f"{part}.csv": "\n".join(["ClassId,Path", *(f"{n % 2},{name}" for n, name in enumerate(each))]).encode()
        for part, each in rows.items()
    }
    source, found = add(files | tables, home)
    assert written(source.labels) == {"file": ("Test.csv", "Train.csv"), "image": "Path", "label": "ClassId"}
    assert Counter((row.label, row.official) for row in found) == {
        ("0", "train"): 8,
        ("1", "train"): 8,
        ("0", "test"): 4,
        ("1", "test"): 4,
    }


def test_tables_that_contradict_folders_of_classes_are_not_taken_as_one(home):
    tables = {f"{part}.csv": table("id,label", lambda n, part=part: f"{part}{n},{'ab'[n // 12]}") for part in "pq"}
    files = {f"{'xy'[n % 2]}/p{n}.jpg": jpeg(n) for n in range(24)} | {
        f"more/q/q{n}.jpg": jpeg(50 + n) for n in range(24)
    }
    assert add(files | tables, home)[0].labels is None


# Tables beside folders of classes


def classes() -> dict[str, bytes]:
    return {f"{'ab'[n % 2]}/{n}.jpg": jpeg(n) for n in range(24)}


def test_a_table_that_adds_the_split_or_groups_to_folders_of_classes_is_taken(home):
    rows = table("id,label,part,patient", lambda n: f"{n},{'ab'[n % 2]},{'train' if n < 16 else 'test'},{n // 4}")
    source, found = add(classes() | {"a.csv": rows}, home)
    assert written(source.labels) == {
        "file": "a.csv",
        "image": "id",
        "label": "label",
        "split": "part",
        "group": "patient",
    }
    assert Counter(row.official for row in found) == {"train": 16, "test": 8}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "id,label",
            "{n},{w}",
            r"a.csv contradicts the names: it says b of a/\d+.jpg; to believe it, set labels: {file:",
        ),
        ("id,label", "x{n},{w}", "a.csv: none of its columns names the images"),
        ("id,label,fold", "{n},{v},{n}", "a.csv tells no more than the names; not used: the column fold; if it tells"),
        ("id,patient", "{n},{p}", "a.csv has no column of classes, only id, patient"),
    ],
)
def test_folders_of_classes_are_kept_and_it_is_said_why(home, capsys, header, row, message):
    rows = table(header, lambda n: row.format(n=n, v="ab"[n % 2], w="aabb"[n % 4], p=n // 2))
    source, found = add(classes() | {"a.csv": rows}, home)
    assert source.labels is None
    assert all(row.label == row.source[0] for row in found)
    assert re.search(f"not used: {message}", capsys.readouterr().out)


def test_a_table_whose_names_are_not_clear_is_named(home, capsys):
    files = {f"{label}/{n}.jpg": jpeg(n + 99 * (label == "a")) for label in "ab" for n in range(12)}
    add(files | {"a.csv": table("id,label", lambda n: f"{n % 12},{'ab'[n // 12]}")}, home)
    assert re.search(r"not used: a\.csv: '0' may be a/0\.jpg or b/0\.jpg", capsys.readouterr().out)


def test_a_split_in_a_table_of_coarser_classes_is_said(home, capsys):
    rows = table("id,label,part", lambda n: f"{n},{'pet' if n % 4 < 2 else 'bird'},{'train' if n < 16 else 'test'}")
    add({f"{n % 4}/{n}.jpg": jpeg(n) for n in range(24)} | {"a.csv": rows}, home)
    assert "a.csv has fewer classes than the names; to use its part, write the classes of" in capsys.readouterr().out


# Lists of splits


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"test.txt": range(16, 30)}, "6 of 14 lines of test.txt mean no image"),
        ({"train.txt": range(18), "test.txt": range(16, 24)}, "is in the lists of two splits, train and test"),
        ({"train.txt": range(18)}, "train.txt, as there is no list for the test or validation"),
        ({"test.txt": range(24)}, "test.txt, which would leave no images for training"),
    ],
)
def test_a_list_of_a_split_that_does_not_fit_is_said(home, capsys, lists, message):
    texts = {name: "\n".join(f"{'ab'[n % 2]}/{n}" for n in numbers).encode() for name, numbers in lists.items()}
    source, found = add(classes() | texts, home)
    assert (source.lists, {row.official for row in found}) == ({}, {""})
    assert re.search(f"not used: .*{message}", capsys.readouterr().out)


# Several tables


def test_of_several_tables_the_one_whose_column_is_called_a_class_is_taken(home, capsys):
    files = {
        "about.csv": table("image,age,sex", lambda n: f"{n},{20.5 + n},{'male' if n % 3 else 'female'}"),
        "classes.csv": table("image,diagnosis", lambda n: f"{n},{'ab'[n % 2]}"),
    }
    source, _ = add(photos() | files, home)
    assert source.labels.file == "classes.csv"
    assert "not used: about.csv, by which the classes would be female, male" in capsys.readouterr().out


# What is suggested


@pytest.mark.parametrize(
    ("names", "suggested"),
    [
        ("{label}/cam{place}_{n}.jpg", r'images: "(?P<images>.*)"'),
        ("{place}/{label}/{n}.jpg", r'images: "(?P<images>[^"]*)" and splits: (?P<splits>\{.*\})'),
    ],
)
def test_the_suggested_lines_can_be_written_into_the_entry(home, capsys, names, suggested):
    places = ("train", "holdout", "holdout2")
    write_folder(
        home / "photos",
        {
            names.format(label=label, place=place, n=n): jpeg(10 * len(place) + n + (label == "a"))
            for label in "ab"
            for place in places
            for n in range(4)
        },
    )
    try:
        main(["add", "photos"])
        said = capsys.readouterr().out
    except SystemExit as error:
        said = str(error)
    lines = re.search(suggested, said).groupdict()
    source = {key: yaml.safe_load(value) if key == "splits" else value for key, value in lines.items()}
    unpack(
        parse(Source, {"folder": "photos", **source}, "source", Path("x")), DownloadParams(max_rejected=0), home / "out"
    )
    rows = read_index(home / "out/index.csv")
    assert (len(rows), {row.label for row in rows}) == (24, {"a", "b"})
