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
from bottletop.download.unpacking import DownloadParams, unpack
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
    "isic-2019": {"file": "ISIC_2019_Training_GroundTruth.csv", "image": "image", "one_hot": True},
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
        ("id,label", "x{n},{m}", "none of its columns names the images: id, label"),
    ],
)
def test_what_is_unclear_about_a_table_is_said_with_its_columns(home, header, row, message):
    files = photos() | {"a.csv": table(header, lambda n: row.format(n=n, m=n % 2))}
    with pytest.raises(SystemExit, match=f"a.csv: .*{message}"):
        add(files, home)


def test_of_several_tables_the_one_whose_column_is_called_a_class_is_taken(home, capsys):
    files = {
        "about.csv": table("image,age,sex", lambda n: f"{n},{20.5 + n},{'male' if n % 3 else 'female'}"),
        "classes.csv": table("image,diagnosis", lambda n: f"{n},{'ab'[n % 2]}"),
    }
    source, _ = add(photos() | files, home)
    assert source.labels.file == "classes.csv"
    assert "not used: about.csv, whose classes would be another" in capsys.readouterr().out


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
