import csv
import hashlib
import io
import os
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from bottletop.core.catalogue import Source, dataset
from bottletop.core.errors import WHERE_ELSE, DataError
from bottletop.core.settings import parse
from bottletop.download import unpacking
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import read_index, read_shard
from tests.pictures import encode, jpeg, photo, png, write_folder, write_tar, write_zip

PETS = {f"{label}/{number}.jpg": jpeg(10 * len(label) + number) for label in ("cat", "horse") for number in range(4)}


def source(path: Path, **values) -> Source:
    place = {"folder": str(path)} if path.is_dir() else {"urls": [f"file:{path}"]}
    return parse(Source, place | values, "datasets.pets.source", Path("datasets.yaml"))


@pytest.fixture
def run(tmp_path):
    """Unpacks files, written as an archive or folder, to tmp_path / "out"; returns rows and report."""

    def run(files: dict[str, bytes], write=write_zip, max_rejected: float = 0.0, name: str = "pets", **values):
        archive = write(tmp_path / name, files)
        report = unpack(source(archive, **values), DownloadParams(max_rejected=max_rejected), tmp_path / "out")
        return read_index(tmp_path / "out/index.csv"), report

    return run


def stored(folder: Path) -> dict[str, bytes]:
    """The bytes of each image, by its source, read from the places that the index tells."""
    return {row.source: next(read_shard(folder / row.shard, [row])) for row in read_index(folder / "index.csv")}


def labels(rows) -> dict[str, str]:
    return {row.source: row.label for row in rows}


def rejected(folder: Path) -> list[list[str]]:
    with (folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# What is written


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_the_index_points_at_the_exact_bytes_of_each_image(run, tmp_path, write):
    run(PETS, write)
    assert stored(tmp_path / "out") == PETS


def test_class_tars_are_ordinary_tars(run, tmp_path):
    run(PETS)
    with tarfile.open(tmp_path / "out/horse-000.tar") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found == {name: data for name, data in PETS.items() if name.startswith("horse/")}


def test_an_index_row_describes_its_image(run):
    grey = encode(photo(1, (40, 30)).convert("L"), "PNG")
    [row], _ = run({"cat/1.png": grey})
    assert (row.id, row.label, row.source) == (hashlib.sha256(grey).hexdigest(), "cat", "cat/1.png")
    assert (row.length, row.width, row.height, row.mode) == (len(grey), 40, 30, "L")
    assert (row.group, row.official, len(row.phash)) == (row.id[:16], "", 16)


def test_rows_come_in_the_order_of_shards_and_offsets(run):
    rows, _ = run(dict(sorted(PETS.items(), key=lambda item: item[0][-5])))
    assert [(row.shard, row.offset) for row in rows] == sorted((row.shard, row.offset) for row in rows)
    assert len(rows) == 8


def test_the_report_counts_what_was_taken(run):
    _, report = run(PETS | {"cat/9.png": png(99, (100, 20))})
    assert report == {
        "files": 9,
        "images": 9,
        "bytes": sum(map(len, PETS.values())) + len(png(99, (100, 20))),
        "images_per_class": {"cat": 5, "horse": 4},
        "official_split": {},
        "width_px": {"min": 64, "median": 64.0, "max": 100},
        "height_px": {"min": 20, "median": 48.0, "max": 48},
        "modes": {"RGB": 9},
        "rejected": {},
        "left_out": {},
        "examples": {"cat/0.jpg": "cat", "horse/0.jpg": "horse"},
        "split_names": {},
        "unused_splits": [],
        "unused_lines": {},
        "without_contrast": {"images": 0, "examples": []},
        "exact_duplicates": 0,
        "near_duplicate_pairs": 0,
        "duplicate_groups": 0,
        "own_groups": 0,
        "groups_of_several_classes": 0,
        "groups_across_official_split": 0,
    }


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_the_same_archive_gives_the_same_bytes(run, tmp_path, write):
    run(PETS, write)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run(PETS, write)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_just_tars_two_tables_and_a_checksum_are_written(run, tmp_path):
    run(PETS)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["SHA256SUMS", "cat-000.tar", "horse-000.tar", "index.csv", "rejected.csv"]


def test_the_output_of_an_earlier_run_is_replaced(run, tmp_path):
    run(PETS)
    run({"dog/1.jpg": jpeg(1)})
    assert stored(tmp_path / "out") == {"dog/1.jpg": jpeg(1)}
    assert not (tmp_path / "out/cat-000.tar").exists()


def test_the_builtin_digits_are_1797_grey_pictures_of_8_by_8_pixels(tmp_path):
    report = unpack(Source(builtin="digits"), DownloadParams(max_rejected=0), tmp_path / "out")
    assert (report["images"], report["modes"], report["near_duplicate_pairs"]) == (1797, {"L": 1797}, 0)
    assert report["width_px"] == report["height_px"] == {"min": 8, "median": 8.0, "max": 8}
    assert report["images_per_class"] == dict(
        zip("0123456789", (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), strict=True)
    )


# Which images, and what they are called


def test_folders_are_called_by_their_display_names(run):
    rows, _ = run({"cane/1.jpg": jpeg(1), "gatto/1.jpg": jpeg(2)}, names={"cane": "dog"})
    assert labels(rows) == {"cane/1.jpg": "dog", "gatto/1.jpg": "gatto"}


def test_numbers_are_classes(run):
    files = {f"jpg/image_{number:04}.jpg": jpeg(number) for number in range(1, 5)}
    rows, _ = run(files, images="jpg/image_{number}.jpg", numbered=["rose", "tulip"], images_per_number=2)
    assert list(labels(rows).values()) == ["rose", "rose", "tulip", "tulip"]


def test_only_the_wanted_classes_are_taken(run):
    rows, report = run(PETS, classes=["horse"])
    assert report["images_per_class"] == {"horse": 4}
    assert {row.shard for row in rows} == {"horse-000.tar"}


def test_members_that_do_not_match_are_not_even_rejected_but_counted(run):
    more = ["readme.txt", "cat/notes.xml", "cat.jpg", "cat/.DS_Store", ".ipynb_checkpoints/1.jpg"]
    _, report = run(PETS | dict.fromkeys(more, b"text"))
    assert (report["files"], report["images"], report["rejected"]) == (13, 8, {})
    assert report["left_out"] == {
        "beside the images": {"files": 2, "examples": ["readme.txt", "cat/notes.xml"]},
        "not of the form of `images`": {"files": 1, "examples": ["cat.jpg"]},
        "hidden": {"files": 2, "examples": ["cat/.DS_Store", ".ipynb_checkpoints/1.jpg"]},
    }


LABELS = ["lily of the valley", "colt's foot", "crème brûlée", "猫", "a,b", 'say "cheese"', "x..", "Cat", "cat", "CAT"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_class_names_are_kept_whatever_characters_they_have(run, tmp_path, write):
    files = {f"{label}/1.jpg": jpeg(number) for number, label in enumerate(LABELS)}
    rows, _ = run(files, write)
    assert {row.label for row in rows} == {name.split("/")[0] for name in files}
    assert len({row.shard.casefold() for row in rows}) == len(files)
    assert stored(tmp_path / "out") == files


def test_a_display_name_may_have_a_slash(run, tmp_path):
    rows, _ = run({"a/1.jpg": jpeg(1)}, names={"a": "hot/cold"})
    assert (rows[0].label, rows[0].shard) == ("hot/cold", "hot_cold-000.tar")
    assert stored(tmp_path / "out") == {"a/1.jpg": jpeg(1)}


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_at_most_so_many_of_each_class_are_taken(run, write):
    _, report = run(PETS | {"dog/1.jpg": jpeg(99)}, write, max_per_class=2)
    assert report["images_per_class"] == {"cat": 2, "dog": 1, "horse": 2}


def test_which_ones_are_taken_depends_on_the_seed_but_not_on_their_order(run):
    files = {f"cat/{number}.jpg": jpeg(number) for number in range(20)}
    chosen = {seed: set(labels(run(files, max_per_class=5, seed=seed)[0])) for seed in (0, 1)}
    assert chosen[0] != chosen[1]
    backwards = dict(reversed(files.items()))
    assert set(labels(run(backwards, max_per_class=5, seed=0)[0])) == chosen[0]


# Official splits


def test_split_folders_are_the_official_split(run):
    files = {
        f"{side}/cat/{number}.jpg": jpeg(number) for number, side in enumerate(["train", "train", "valid", "test"])
    }
    rows, report = run(files, images="{split}/{label}/*")
    assert {row.source: row.official for row in rows} == {
        "train/cat/0.jpg": "train",
        "train/cat/1.jpg": "train",
        "valid/cat/2.jpg": "validation",
        "test/cat/3.jpg": "test",
    }
    assert report["official_split"] == {"test": 1, "train": 2, "validation": 1}
    assert report["split_names"] == {"test": "test", "train": "train", "valid": "validation"}


@pytest.mark.parametrize("first", [True, False], ids=["before the images", "after the images"])
@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_a_list_names_the_official_test_images(run, first, separator):
    images = {
        f"images/{name}.jpg": jpeg(i) for i, name in enumerate(["apple pie/1", "apple pie/2", "steak/3", "steak/4"])
    }
    listed = {"meta/test.txt": f"apple pie/2{separator}steak/3{separator}".encode()}
    files = listed | images if first else images | listed
    rows, report = run(files, write_tar, images="images/{label}/*.jpg", test_list="meta/test.txt")
    assert {row.source for row in rows if row.official == "test"} == {"images/apple pie/2.jpg", "images/steak/3.jpg"}
    assert report["official_split"] == {"test": 2, "train": 2}


def test_a_list_that_is_no_text_is_an_error(run):
    with pytest.raises(DataError, match=r"meta/test.txt, a list or table of the dataset, is not UTF-8 text"):
        run(PETS | {"meta/test.txt": b"\xff\xd8"}, test_list="meta/test.txt")


def test_a_missing_list_is_an_error(run, tmp_path):
    with pytest.raises(DataError, match=r"the dataset has no meta/test.txt, a list or table"):
        run(PETS, test_list="meta/test.txt")
    assert not (tmp_path / "out").exists()


# Duplicates


def test_copies_get_the_group_of_the_smallest_id(run):
    copy, changed = PETS["cat/0.jpg"], encode(photo(30), "JPEG", quality=40)
    rows, report = run(PETS | {"horse/copy.jpg": copy, "cat/changed.jpg": changed})
    ids = {row.source: row.id for row in rows}
    groups = {row.source: row.group for row in rows}
    assert groups["cat/0.jpg"] == groups["horse/copy.jpg"] == groups["cat/changed.jpg"]
    assert groups["cat/0.jpg"] == min(ids["cat/0.jpg"], ids["cat/changed.jpg"])[:16]
    assert len(set(groups.values())) == 8
    assert (report["exact_duplicates"], report["near_duplicate_pairs"]) == (1, 2)
    assert (report["duplicate_groups"], report["groups_of_several_classes"]) == (1, 1)


def test_exact_copies_of_flat_images_are_grouped_too(run):
    black = encode(photo(1).point(lambda _: 0), "PNG")
    rows, report = run(PETS | {"cat/black.png": black, "cat/also black.png": black})
    assert len({row.group for row in rows}) == 9
    assert (report["exact_duplicates"], report["near_duplicate_pairs"], report["duplicate_groups"]) == (1, 0, 1)


def test_copies_across_the_official_split_are_counted(run):
    files = {
        "train/cat/1.jpg": jpeg(1),
        "test/cat/1.jpg": jpeg(1),
        "train/cat/2.jpg": jpeg(2),
        "test/cat/3.jpg": jpeg(3),
    }
    _, report = run(files, images="{split}/{label}/*")
    assert (report["duplicate_groups"], report["groups_across_official_split"]) == (1, 1)


# Unreadable images


BAD = {"cat/empty.jpg": b"", "cat/text.jpg": b"text", "horse/cut.jpg": jpeg(1)[:-200]}


def test_unreadable_images_are_listed_with_the_reason(run, tmp_path):
    rows, report = run(PETS | BAD, max_rejected=0.5, incomplete=["cat", "horse"])
    assert rejected(tmp_path / "out") == [
        ["source", "label", "reason"],
        ["cat/empty.jpg", "cat", "empty file"],
        ["cat/text.jpg", "cat", "not an image"],
        ["horse/cut.jpg", "horse", "truncated or corrupt"],
    ]
    assert report["rejected"] == {"empty file": 1, "not an image": 1, "truncated or corrupt": 1}
    assert (report["images"], set(labels(rows))) == (8, set(PETS))


def test_as_many_as_allowed_may_be_unreadable(run):
    _, report = run(PETS | {"cat/a": b"", "cat/b": b""}, max_rejected=0.2, incomplete=["cat"])
    assert report["images"] == 8


def test_more_unreadable_images_than_allowed_are_an_error(run, tmp_path):
    with pytest.raises(
        DataError, match=r"^3 of 11 images are unreadable, allowed is a fraction of 0.2: cat/empty.jpg \("
    ):
        run(PETS | BAD, max_rejected=0.2)
    assert not (tmp_path / "out").exists()


def test_an_official_split_that_loses_all_its_images_stops_the_run(run):
    files = {f"train/{name}": data for name, data in PETS.items()} | {"test/cat/9.jpg": b"no"}
    with pytest.raises(DataError, match="all images of the official split test are unreadable"):
        run(files, max_rejected=0.5, images="{split}/{label}/*", incomplete=["cat"])


def test_images_of_one_colour_and_dark_ones_of_12_bits_in_16_are_taken_and_named(run):
    blank = encode(Image.new("RGB", (40, 40), "silver"), "PNG")
    dark = encode(Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)), "PNG")
    flat = {f"cat/{name}.png": dark if name == "dark" else blank for name in ("a", "b", "c", "d", "dark")}
    rows, report = run(PETS | flat)
    assert flat.keys() <= {row.source for row in rows}
    assert report["without_contrast"] == {"images": 5, "examples": list(flat)}


def test_at_least_one_image_must_be_readable(run):
    with pytest.raises(DataError, match=r"^3 of 3 images are unreadable"):
        run(BAD, max_rejected=1.0)


def test_a_file_that_is_too_large_for_an_image_is_rejected_unread(run, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_MEMBER_BYTES", 5000)
    _, report = run({"cat/1.jpg": jpeg(1), "cat/2.jpg": bytes(5001)}, max_rejected=0.5, incomplete=["cat"])
    assert (report["images"], sum(report["rejected"].values())) == (1, 1)


# What fails, fails whole


def failing(tmp_path, path, **values):
    """Tries to unpack where an earlier run has been; returns the message, once nothing has changed."""
    write_folder(tmp_path / "out", {"index.csv": b"earlier"})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as caught:
        unpack(source(path, **values), DownloadParams(max_rejected=0), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {"index.csv": b"earlier"}
    return str(caught.value)


def test_nothing_is_written_when_no_file_matches(tmp_path):
    path = write_zip(tmp_path / "pets.zip", PETS)
    message = failing(tmp_path, path, images="photos/{label}/*")
    assert message == (
        "no file matches images: 'photos/{label}/*'; there are 8 images, such as cat/0.jpg, cat/1.jpg, cat/2.jpg: "
        "edit datasets.yaml"
    )


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_nothing_is_written_when_the_archive_is_cut_off(tmp_path, write):
    path = write(tmp_path / "pets.tar.gz", PETS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "is damaged or cut off" in failing(tmp_path, path)


def test_nothing_is_written_when_an_archive_tries_to_escape(tmp_path):
    path = write_tar(tmp_path / "pets.tar", PETS | {"../escaped.jpg": jpeg(1)})
    assert "leaves the archive: refused" in failing(tmp_path, path)


def test_nothing_is_written_when_the_last_member_is_a_link(tmp_path):
    path = write_tar(tmp_path / "pets.tar", PETS)
    link = tarfile.TarInfo("cat/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(path, "a") as archive:
        archive.addfile(link, io.BytesIO())
    assert "cat loses 1 of 5 images (1 a link, such as cat/link.jpg)" in failing(tmp_path, path)


def test_nothing_is_written_when_the_checksum_is_wrong(tmp_path):
    path = write_zip(tmp_path / "pets.zip", PETS)
    message = failing(tmp_path, path, sha256="0" * 64)
    assert f"expected sha256 {'0' * 64}, got {hashlib.sha256(path.read_bytes()).hexdigest()}" in message


def test_a_missing_archive_is_named(tmp_path):
    path = tmp_path / "pest.zip"
    (tmp_path / "pets.zip").touch()
    message = failing(tmp_path, path)
    assert message == f"source.urls names {path}, which is missing; did you mean pets.zip?: {WHERE_ELSE}"


def test_a_missing_folder_is_named_with_what_is_there_instead(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    message = failing(tmp_path, tmp_path / "x/y", urls=[], folder=str(tmp_path / "x/y"))
    assert message.startswith(f"source.folder names {tmp_path}/x/y, which is missing; {tmp_path} has a, b, out: put it")


def test_a_folder_in_place_of_an_archive_is_told_how_it_is_written(tmp_path):
    (tmp_path / "pets").mkdir()
    message = failing(tmp_path, tmp_path / "pets", urls=[f"file:{tmp_path}/pets"], folder=None)
    assert message.endswith(f"write folder: {tmp_path}/pets instead of urls")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("1.jpg", "2.jpg"), "2 images, such as 1.jpg, 2.jpg"),
        (("x/cat/1.jpg", "x/dog/1.jpg"), "2 images, such as x/cat/1.jpg, x/dog/1.jpg"),
        (("cat/readme.txt",), "no images, only other files, such as cat/readme.txt"),
        ((), "no files"),
    ],
)
def test_a_folder_without_class_folders_is_told_what_is_expected_and_what_is_there(tmp_path, files, found):
    write_folder(tmp_path / "pets", {name: jpeg(number) for number, name in enumerate(files)})
    (tmp_path / "pets").mkdir(exist_ok=True)
    message = failing(tmp_path, tmp_path / "pets")
    assert message.startswith(
        f"no file matches images: '{{label}}/*', which means a folder with one subfolder per class; there are {found}: "
    )
    assert "bottletop add FOLDER" in message


def test_the_first_local_file_that_is_there_is_used(tmp_path):
    path = write_zip(tmp_path / "pets.zip", PETS)
    urls = (f"file:{tmp_path / 'nowhere.zip'}", f"file:{path}", "https://example.org/never-asked.zip")
    report = unpack(Source(urls=urls), DownloadParams(max_rejected=0), tmp_path / "out")
    assert report["images"] == 8


# Real photos


SAMPLES = Path(os.environ.get("BOTTLETOP_SAMPLE_DATA") or Path(__file__).parents[3] / "shared/data")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The report and rows of a dataset of the catalogue, from a sample archive in the layout of the public one."""

    def unpacked(name: str, archive: str):
        if not (SAMPLES / archive).exists():
            pytest.skip(f"{SAMPLES / archive} is not there: set BOTTLETOP_SAMPLE_DATA")
        local = msgspec.structs.replace(
            dataset(name).source, urls=(f"file:{SAMPLES / archive}",), sha256=None, md5=None
        )
        folder = tmp_path_factory.mktemp(name) / "out"
        return unpack(local, DownloadParams(max_rejected=0.0), folder), read_index(folder / "index.csv")

    return unpacked


@pytest.mark.slow
@pytest.mark.sample_data
def test_flowers_17_has_80_pictures_of_each_flower_and_about_68_near_duplicates(unpacked):
    report, rows = unpacked("flowers-17", "17flowers.tgz")
    assert report["images"] == 1360
    assert report["images_per_class"] == dict.fromkeys(sorted(dataset("flowers-17").source.numbered), 80)
    assert 58 <= report["near_duplicate_pairs"] <= 78
    groups = {row.source[-8:-4]: row.group for row in rows}
    assert groups["0002"] == groups["0042"] != groups["0014"] == groups["0048"]


@pytest.mark.slow
@pytest.mark.sample_data
def test_of_skin_cancer_the_second_copy_in_the_archive_is_not_taken(unpacked):
    report, _ = unpacked("skin-cancer", "skin-cancer-malignant-vs-benign.zip")
    assert (report["images"], report["official_split"]) == (400, {"test": 80, "train": 320})
    assert set(report["images_per_class"]) == {"benign", "malignant"}


@pytest.mark.slow
@pytest.mark.sample_data
def test_food_101_has_its_official_split(unpacked):
    report, _ = unpacked("food-101", "food-101.tar.gz")
    assert (report["images"], report["official_split"]) == (600, {"test": 150, "train": 450})
    assert len(report["images_per_class"]) == 5


@pytest.mark.slow
@pytest.mark.sample_data
def test_animals_10_is_called_by_english_names(unpacked):
    report, _ = unpacked("animals-10", "animals10.zip")
    assert report["images_per_class"] == {"cat": 250, "dog": 250}
