"""Every file is taken, unreadable, or left out with a reason; and what stops the run before an image is decoded."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottletop.core.catalogue import Source
from bottletop.core.errors import DataError
from bottletop.core.settings import parse
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import ImageRow, read_index
from tests.pictures import encode, jpeg, photo, write_folder, write_zip

PETS = {f"{label}/{number}.jpg": jpeg(10 * len(label) + number) for label in ("cat", "horse") for number in range(4)}
FOLDERS = {"images": "{split}/{label}/*"}


@pytest.fixture
def run(tmp_path):
    """Unpacks files from a folder, or from the parts given; returns rows and report."""

    def run(files: dict[str, bytes], max_rejected: float = 0.0, near: str = "group", **values):
        folder = write_folder(tmp_path / "pets", files)
        place = {} if "parts" in values else {"folder": str(folder)}
        source = parse(Source, place | values, "datasets.pets.source", Path("datasets.yaml"))
        params = parse(
            DownloadParams, {"max_rejected": max_rejected, "near_duplicates": near}, "download", Path("params.yaml")
        )
        report = unpack(source, params, tmp_path / "out")
        return read_index(tmp_path / "out/index.csv"), report

    return run


def counts(report) -> dict[str, int]:
    return {reason: left["files"] for reason, left in report["left_out"].items()}


def split_of(rows: list[ImageRow]) -> dict[str, str]:
    return {row.source: row.official for row in rows}


# Each file is counted once


def test_each_file_is_taken_or_unreadable_or_left_out_for_one_reason(run, tmp_path):
    others = {
        "cat/Thumbs.db": b"db",
        "cat/labels.xml": b"<xml>",
        "cat/bad.jpg": b"bad",
        "dog/1.jpg": jpeg(50),
        "mouse/1.jpg": jpeg(51),
        "cat/more/1.jpg": jpeg(52),
        "cat/extra.jpg": jpeg(53),
        "notes.txt": b"notes",
    }
    _, report = run(
        PETS | others,
        max_rejected=0.2,
        exclude="dog/*",
        classes=["cat", "horse"],
        max_per_class=4,
        incomplete=["cat"],
    )
    assert counts(report) == {
        "excluded by 'dog/*'": 1,
        "beside the images": 3,
        "class not in `classes`": 1,
        "not of the form of `images`": 1,
        "beyond `max_per_class`": 2,
    }
    assert report["left_out"]["excluded by 'dog/*'"]["examples"] == ["dog/1.jpg"]
    assert report["files"] == len(PETS | others) == report["images"] + 8 + sum(report["rejected"].values())


def test_a_pattern_that_excludes_nothing_is_counted_too(run):
    _, report = run(PETS, exclude=["dgo/*"])
    assert counts(report) == {"excluded by 'dgo/*'": 0}


def test_the_report_shows_what_a_pattern_gave(run):
    files = {f"beagle_{number}_flip.jpg": jpeg(number) for number in range(4)} | {"pug_1.jpg": jpeg(9)}
    _, report = run(files, images="{label}_*")
    assert report["examples"] == {"beagle_0_flip.jpg": "beagle", "pug_1.jpg": "pug"}


# Classes that are incomplete


def test_a_class_that_loses_more_than_a_tenth_stops_the_run(run):
    files = PETS | {f"horse/{number}.jpg": jpeg(100 + number) for number in range(4, 8)} | {"horse/9.jpg": b"bad"}
    with pytest.raises(
        DataError, match=r"horse loses 1 of 9 images \(1 unreadable, such as horse/9.jpg: not an image\)"
    ):
        run(files, max_rejected=0.5)


def test_a_class_may_lose_a_tenth(run):
    files = PETS | {f"horse/{number}.jpg": jpeg(100 + number) for number in range(4, 9)} | {"horse/9.jpg": b"bad"}
    _, report = run(files, max_rejected=0.5)
    assert report["images_per_class"] == {"cat": 4, "horse": 9}


def test_a_class_that_loses_images_for_another_ending_stops_the_run_before_any_is_decoded(run):
    files = PETS | {f"dog/{number}.JPEG": b"never decoded" for number in range(4)}
    with pytest.raises(
        DataError, match=re.escape("dog has no images (4 not of the form of `images`, such as dog/0.JPEG)")
    ) as caught:
        run(files, images="{label}/*.jpg")
    assert caught.value.fix.endswith("allow it in datasets.yaml: incomplete: [dog]")


def test_a_class_that_loses_images_in_folders_of_its_folder_stops_the_run(run):
    with pytest.raises(
        DataError, match=r"cat loses 1 of 5 images \(1 not of the form of `images`, such as cat/holiday/1.jpg\)"
    ):
        run(PETS | {"cat/holiday/1.jpg": jpeg(60)})


def test_a_second_copy_of_the_dataset_in_a_folder_makes_no_classes(run):
    files = {f"{split}/{name}": data for split in ("train", "test") for name, data in PETS.items()}
    _, report = run(files | {f"data/{name}": data for name, data in files.items()}, **FOLDERS)
    assert counts(report) == {"not of the form of `images`": 16}


def test_a_listed_class_without_images_stops_the_run(run):
    with pytest.raises(DataError, match=r"incomplete:\n  dog has no images"):
        run(PETS, classes=["cat", "dog"])


def test_a_numbered_class_without_images_stops_the_run(run):
    files = {f"{number}.jpg": jpeg(number) for number in range(1, 5)}
    with pytest.raises(DataError, match=r"incomplete:\n  iris has no images"):
        run(files, images="{number}.jpg", numbered=["rose", "tulip", "iris"], images_per_number=2)


def test_a_class_folder_that_is_empty_but_for_what_windows_writes_stops_the_run(run):
    with pytest.raises(DataError, match=r"incomplete:\n  dog has no images"):
        run(PETS | {"dog/desktop.ini": b"[.ShellClassInfo]"})


def test_incomplete_classes_are_allowed_by_name(run):
    files = PETS | {"horse/9.jpg": b"bad", "dog/1.JPEG": jpeg(1)}
    _, report = run(
        files, max_rejected=0.5, images="{label}/*.jpg", classes=["cat", "horse", "dog"], incomplete=["dog", "horse"]
    )
    assert report["images_per_class"] == {"cat": 4, "horse": 4}


def test_a_class_that_has_as_many_images_as_asked_for_has_lost_none(run):
    files = PETS | {f"horse/{number}.png": jpeg(number) for number in range(4)}
    _, report = run(files, images="{label}/*.jpg", max_per_class=4)
    assert report["images_per_class"] == {"cat": 4, "horse": 4}


@pytest.mark.parametrize(
    ("command", "reason"),
    [("mkdir dog", "an empty folder"), ("ln -s nowhere dog", "a broken link")],
)
def test_an_empty_or_missing_class_folder_is_named_and_stops_the_run(run, tmp_path, command, reason):
    write_folder(tmp_path / "pets", PETS)
    subprocess.run(command, shell=True, cwd=tmp_path / "pets", check=True)  # noqa: S602
    with pytest.raises(DataError, match=r"incomplete:\n  dog has no images"):
        run(PETS)
    _, report = run(PETS, incomplete=["dog"])
    assert report["left_out"] == {reason: {"files": 1, "examples": ["dog"]}}


def test_broken_links_to_images_are_lost_images(run, tmp_path):
    (write_folder(tmp_path / "pets", PETS) / "cat/9.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"cat loses 1 of 5 images \(1 a broken link, such as cat/9.jpg\)"):
        run(PETS)


def test_a_linked_class_folder_is_taken_once_and_hidden_folders_never(run, tmp_path):
    root = write_folder(tmp_path / "pets", PETS | {".ipynb_checkpoints/1.jpg": jpeg(1), "cat/.1.jpg": jpeg(1)})
    (root / "zebra").symlink_to("horse")
    _, report = run(PETS, incomplete=["zebra"])
    assert report["images_per_class"] == {"cat": 4, "horse": 4}
    assert report["left_out"]["a folder that is read already, through a link"]["examples"] == ["zebra"]
    assert counts(report)["hidden"] >= 2


# Patterns that do not fit


def test_each_of_several_patterns_must_fit_something(run):
    with pytest.raises(DataError, match=r"no file matches images: 'tset/\*/\{label\}\.jpg'"):
        run(PETS, images=["{label}/*", "tset/*/{label}.jpg"])


# Splits


@pytest.mark.parametrize(
    ("folders", "values"),
    [
        (("Training", "Testing"), {}),
        (("seg_train", "seg_test"), {}),
        (("train_set", "test_set"), {}),
        (("one", "two"), {"splits": {"train": "one", "test": ["two"]}}),
        (("train", "val"), {"splits": {"test": "val"}}),
    ],
)
def test_splits_are_known_by_name_or_by_the_entry(run, folders, values):
    files = {f"{split}/{name}": data for split in folders for name, data in PETS.items()}
    rows, report = run(files, **FOLDERS, **values)
    assert split_of(rows) == {name: "train" if name.startswith(folders[0]) else "test" for name in files}
    assert report["split_names"] == dict(sorted(zip(folders, ("train", "test"), strict=True)))


def test_an_unknown_split_is_an_error_that_lists_what_was_found(run):
    files = {f"{split}/{name}": data for split in ("train", "extra") for name, data in PETS.items()}
    with pytest.raises(DataError, match=r"whether 'extra' is for train, .* the splits found are 'extra', 'train'"):
        run(files, **FOLDERS)


def test_a_split_of_the_entry_that_no_image_is_in_is_an_error(run):
    files = {f"{split}/{name}": data for split in ("train", "test") for name, data in PETS.items()}
    with pytest.raises(DataError, match=r"no image is in the split 'tset'; the splits found are 'test', 'train'"):
        run(files, **FOLDERS, splits={"test": "tset"})


@pytest.mark.parametrize(
    ("images", "unused"), [("*/{label}/*", ["Testing", "train"]), ("{split}/{label}/*", []), ("train/{label}/*", [])]
)
def test_folders_that_look_like_splits_but_are_not_used_are_said(run, images, unused):
    files = {f"{split}/{name}": data for split in ("train", "Testing") for name, data in PETS.items()}
    assert run(files, images=images)[1]["unused_splits"] == unused


# Lists of splits


def test_lists_name_the_images_of_each_split(run):
    lists = {"a.txt": b"cat/0\ncat/1\n", "b.txt": b"cat/2\nhorse/1\n"}
    rows, _ = run(PETS | lists, split_lists={"test": "a.txt", "validation": "b.txt"})
    others = {"cat/0.jpg": "test", "cat/1.jpg": "test", "cat/2.jpg": "validation", "horse/1.jpg": "validation"}
    assert split_of(rows) == dict.fromkeys(PETS, "train") | others


def test_where_the_training_images_are_listed_too_the_others_are_left_out(run):
    lists = {"a.txt": b"cat/0\nhorse/0\n", "b.txt": b"cat/1\ncat/2\nhorse/1\nhorse/2\n"}
    rows, report = run(PETS | lists, split_lists={"test": "a.txt", "train": "b.txt"})
    assert len(rows) == 6
    assert report["left_out"]["in none of the lists of splits"]["examples"] == ["cat/3.jpg", "horse/3.jpg"]


@pytest.mark.parametrize(
    "line",
    ["cat/1.jpg", "cat/1", "/data/pets/cat/1.jpg", "cat\\1.jpg", "cat/1.jpeg", "cat/1 7 1", "7,cat/1.jpg,cat"],
)
def test_a_line_may_lack_the_ending_or_folders_or_have_more_of_them_or_other_columns(run, line):
    rows, _ = run(PETS | {"test.txt": f"# images of the test\n\n{line}\n".encode()}, test_list="test.txt")
    assert [name for name, split in split_of(rows).items() if split == "test"] == ["cat/1.jpg"]


def test_all_lines_have_the_image_in_the_same_column(run):
    """Else the 1 of a line whose image is missing would mean cat/1.jpg."""
    images = {f"cat/{number}.jpg": jpeg(number, (32, 24)) for number in range(30)}
    listed = "".join(f"cat/{number} 1 7\n" for number in range(2, 31))
    rows, report = run(images | {"test.txt": listed.encode()}, test_list="test.txt")
    assert [name for name, split in split_of(rows).items() if split != "test"] == ["cat/0.jpg", "cat/1.jpg"]
    assert report["unused_lines"] == {"test.txt": {"lines": 1, "examples": ["cat/30 1 7"]}}


def test_a_class_number_that_is_the_name_of_an_image_too_is_not_taken_for_the_image(run):
    images = {f"cat/{number}.jpg": jpeg(number, (32, 24)) for number in range(8)}
    listed = "".join(f"{number % 2} cat/{number}.jpg\n" for number in range(4, 8))
    rows, _ = run(images | {"test.txt": listed.encode()}, test_list="test.txt")
    assert [name for name, split in split_of(rows).items() if split == "test"] == [f"cat/{n}.jpg" for n in range(4, 8)]


def test_a_line_that_fits_images_in_two_folders_is_an_error(run):
    with pytest.raises(DataError, match=r"'1' may be cat/1.jpg or horse/1.jpg: give the folders too"):
        run(PETS | {"test.txt": b"1\n"}, test_list="test.txt")


def test_a_list_that_matches_no_image_is_an_error(run):
    with pytest.raises(DataError, match=r"no line of test.txt means an image, such as 'dog/1'"):
        run(PETS | {"test.txt": b"dog/1\n"}, test_list="test.txt")


def test_a_list_that_matches_too_few_images_is_an_error(run):
    with pytest.raises(DataError, match=r"1 of 4 lines of test.txt mean no image, such as 'dog/1'"):
        run(PETS | {"test.txt": b"cat/1\ndog/1\ncat/2\ncat/3\n"}, test_list="test.txt")


def test_an_image_in_the_lists_of_two_splits_is_an_error(run):
    with pytest.raises(DataError, match=r"cat/1.jpg is in the lists of two splits, test and validation"):
        run(
            PETS | {"a.txt": b"cat/1\n", "b.txt": b"cat/1\n"},
            split_lists={"test": "a.txt", "validation": "b.txt"},
        )


# Several parts


def test_parts_are_read_as_one(run, tmp_path):
    first, second = ({name: data for name, data in PETS.items() if label in name} for label in ("cat", "horse"))
    parts = [
        {"urls": [f"file:{write_zip(tmp_path / 'first.zip', first)}"]},
        {"folder": str(write_folder(tmp_path / "second", second))},
        {"urls": [f"file:{write_folder(tmp_path, {'test.txt': b'cat/1'}) / 'test.txt'}"]},
    ]
    rows, report = run({}, parts=parts, test_list="test.txt")
    assert {row.source for row in rows} == set(PETS)
    assert report["official_split"] == {"test": 1, "train": 7}


def test_parts_with_equal_names_need_folders_of_their_own(run, tmp_path):
    readme = {"readme.txt": b"both have one"}
    train = write_zip(tmp_path / "train.zip", PETS | readme)
    test = write_zip(tmp_path / "test.zip", {name: jpeg(500 + n) for n, name in enumerate(PETS)} | readme)
    parts = [{"urls": [f"file:{train}"]}, {"urls": [f"file:{test}"]}]
    with pytest.raises(DataError, match=r"two parts have an image called cat/0.jpg: .*under: part2"):
        run({}, parts=parts)
    parts = [{**part, "under": name} for part, name in zip(parts, ("train", "test"), strict=True)]
    _, report = run({}, parts=parts, images="{split}/{label}/*")
    assert report["official_split"] == {"test": 8, "train": 8}


# Groups


def groups(rows: list[ImageRow]) -> list[set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.group, set()).add(row.source)
    return [group for group in found.values() if len(group) > 1]


def test_groups_in_names_are_joined_with_those_of_duplicates(run):
    names = ("cat/p1_a.jpg", "cat/p1_b.jpg", "cat/p2_a.jpg", "cat/p2_b.jpg", "cat/p3_a.jpg")
    files = {name: jpeg(number) for number, name in enumerate(names)}
    rows, report = run(files | {"cat/p3_b.jpg": files["cat/p2_b.jpg"]}, images="{label}/{group}_*.jpg")
    assert groups(rows) == [
        {"cat/p1_a.jpg", "cat/p1_b.jpg"},
        {name for name in [*files, "cat/p3_b.jpg"] if "p1" not in name},
    ]
    assert (report["own_groups"], report["duplicate_groups"], report["exact_duplicates"]) == (3, 1, 1)


def test_a_group_keeps_to_one_name_whatever_the_order_of_its_images(run):
    rows, _ = run({f"cat/p_{number}.jpg": jpeg(number) for number in range(5)}, images="{label}/{group}_*.jpg")
    assert {row.group for row in rows} == {min(row.id for row in rows)[:16]}


# Near duplicates


def fixed_camera() -> dict[str, bytes]:
    """Two scenes, photographed three times each by the same camera."""
    return {
        f"{label}/{n}.jpg": jpeg(5, (640 + 8 * n + k, 480))
        for k, label in enumerate(("day", "night"))
        for n in range(3)
    }


def test_near_duplicates_are_grouped_by_default(run):
    rows, report = run(fixed_camera())
    assert groups(rows) == [set(fixed_camera())]
    assert report["near_duplicate_pairs"] == 15


def test_near_duplicates_may_be_ignored(run):
    rows, report = run(fixed_camera(), near="ignore")
    assert groups(rows) == []
    assert (report["images"], report["near_duplicate_pairs"]) == (6, 0)


def test_of_near_duplicates_of_a_class_all_but_one_may_be_dropped(run):
    rows, report = run(fixed_camera(), near="drop")
    assert [row.label for row in rows] == ["day", "night"]
    assert counts(report) == {"near duplicate of another image": 4}


def test_images_that_were_alike_through_a_dropped_one_alone_are_no_group(run):
    """As from a fixed camera, before which something passes: each image is like the next one."""
    scene, files = np.asarray(photo(5)), {}
    for n in range(12):
        files[f"cat/{n}.png"] = scene.copy()
        files[f"cat/{n}.png"][10:14, 5 + n : 9 + n] = 255
    rows, report = run({name: encode(Image.fromarray(each), "PNG") for name, each in files.items()}, near="drop")
    assert (1 < len(rows) < 12, groups(rows), report["duplicate_groups"]) == (True, [], 0)


@pytest.mark.parametrize("label", ["</script><b>", "</SCRIPT >", "<script>", "<!-- cat"])
def test_a_class_name_that_would_be_a_script_in_dvcs_page_is_refused(run, tmp_path, label):
    with pytest.raises(DataError, match=r"would end or begin a script in web pages.*: give the class another name"):
        run(PETS, names={"cat": label})
    assert not (tmp_path / "out").exists()


def test_a_class_name_with_other_signs_of_html_is_taken(run):
    rows, _ = run(PETS, names={"cat": "<5 & >3 </b>"})
    assert {row.label for row in rows} == {"<5 & >3 </b>", "horse"}


def test_what_is_unreadable_is_listed_without_formulas(run, tmp_path):
    run(
        PETS | {"cat/=1+1.jpg": b"junk"}, max_rejected=1, images="{label}/*", names={"cat": "=cat"}, incomplete=["=cat"]
    )
    lines = (tmp_path / "out/rejected.csv").read_text().splitlines()
    assert lines[1:] == ["cat/=1+1.jpg,'=cat,not an image"]
    assert ",=cat," in (tmp_path / "out/index.csv").read_text()
