import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from bottletop.core.errors import DataError
from bottletop.download.containers import opened
from tests.pictures import encode, jpeg, photo, png, write_folder, write_zip

CLASSES = ["cat", "dog"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, images, labels, *, kind=STRUCT, label_type=None, class_names=CLASSES, **names):
    """A Parquet file as Hugging Face writes it; without class names, one as pandas writes it."""
    image, label = names.get("image", "image"), names.get("label", "label")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({image: pa.array(images, kind), label: pa.array(labels, label_type or pa.int64())})
    if class_names:
        features = {image: {"_type": "Image"}, label: {"names": class_names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    return path


def stored(*images: bytes | None) -> list[dict]:
    return [{"bytes": data, "path": None} for data in images]


def contents(path) -> dict[str, bytes]:
    return {member.name: member.read() for member in opened(path) if not member.problem}


# What is read


def test_class_names_are_those_that_the_file_keeps_and_the_bytes_stay_as_they_are(tmp_path):
    images = [png(1), jpeg(2), encode(photo(3), "WEBP")]
    write(tmp_path / "train-00000-of-00001.parquet", stored(*images), [1, 0, 1])
    assert contents(tmp_path) == {
        "train/dog/000001.png": images[0],
        "train/cat/000002.jpg": images[1],
        "train/dog/000003.webp": images[2],
    }


def test_a_single_file_is_read_too_and_known_by_its_bytes(tmp_path):
    path = write(tmp_path / "0f3a-test-00000-of-00001", stored(png(1)), [0])
    assert list(contents(path)) == ["test/cat/000001.png"]


def test_numbers_run_through_all_files_of_a_split(tmp_path):
    for number in range(2):
        write(tmp_path / f"data/train-{number:05}-of-00002.parquet", stored(png(number), png(9)), [0, 1])
    write(tmp_path / "data/test-00000-of-00001.parquet", stored(png(5)), [0])
    assert list(contents(tmp_path)) == [
        "test/cat/000001.png",
        "train/cat/000001.png",
        "train/dog/000002.png",
        "train/cat/000003.png",
        "train/dog/000004.png",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("validation-00000-of-00001.parquet", "validation/cat"),
        ("default/valid/0000.parquet", "validation/cat"),
        ("default/test/0000.parquet", "test/cat"),
        ("contest.parquet", "cat"),
    ],
)
def test_the_split_is_told_by_the_name_of_the_file_or_its_folder(tmp_path, name, first):
    write(tmp_path / name, stored(png(1)), [0])
    assert list(contents(tmp_path)) == [f"{first}/000001.png"]


def test_images_may_be_plain_bytes_and_labels_text(tmp_path):
    labels = pa.array(["owl", "n/a"]).dictionary_encode()
    write(
        tmp_path / "train.parquet", [png(1), png(2)], labels, kind=pa.binary(), label_type=labels.type, class_names=None
    )
    assert list(contents(tmp_path)) == ["train/owl/000001.png", "train/n∕a/000002.png"]


def test_numbers_without_names_are_the_classes(tmp_path):
    write(tmp_path / "train.parquet", stored(png(1)), [7], class_names=None, image="img", label="fine_label")
    assert list(contents(tmp_path)) == ["train/7/000001.png"]


def test_a_column_called_otherwise_is_found_by_its_type(tmp_path):
    write(tmp_path / "train.parquet", stored(png(1)), [1], image="photo", label="animal")
    assert list(contents(tmp_path)) == ["train/dog/000001.png"]


def test_images_that_are_only_paths_are_read_from_beside_the_file(tmp_path):
    write_folder(tmp_path, {"photos/a.png": png(1), "photos/b.png": png(2)})
    images = [{"bytes": None, "path": "photos/a.png"}]
    write(tmp_path / "train.parquet", images, [0])
    write(tmp_path / "test.parquet", ["photos/b.png"], [1], kind=pa.string())
    assert contents(tmp_path) == {"train/cat/000001.png": png(1), "test/dog/000001.png": png(2)}


def test_the_files_of_an_archive_are_read(tmp_path):
    data = write(tmp_path / "train.parquet", stored(png(1)), [0], class_names=["cat"]).read_bytes()
    archive = write_zip(tmp_path / "pets.zip", {"pets/train.parquet": data, "pets/README.md": b""})
    *images, other = opened(archive)
    assert [(image.name, image.read()) for image in images] == [("train/cat/000001.png", png(1))]
    assert (other.name, other.problem) == ("pets/README.md", "beside the images")


def test_other_images_beside_the_file_are_named(tmp_path):
    write(tmp_path / "train.parquet", stored(png(1)), [0], class_names=["cat"])
    write_folder(tmp_path, {"owl/1.png": png(2)})
    found = {member.name: member.problem for member in opened(tmp_path)}
    assert found == {"train/cat/000001.png": "", "owl/1.png": "an image beside files that hold many"}


def test_a_table_without_images_beside_class_folders_is_no_container(tmp_path):
    write_folder(tmp_path, {"cat/1.png": png(1)})
    parquet.write_table(pa.table({"width": [64]}), tmp_path / "sizes.parquet")
    assert opened(tmp_path) is None


# What cannot be used is named


def test_images_without_a_label_are_kept_apart_from_every_class_and_tell_the_label(tmp_path):
    write(tmp_path / "test.parquet", stored(png(1), png(2), png(3)), [-1, 2, None])
    assert list(contents(tmp_path)) == [
        "test/unlabelled/none/000001 (label -1: test.parquet, row 1).png",
        "test/unlabelled/none/000002 (label 2: test.parquet, row 2).png",
        "test/unlabelled/none/000003 (no label: test.parquet, row 3).png",
    ]


def test_a_label_below_zero_is_no_class_where_classes_have_no_names(tmp_path):
    write(tmp_path / "train.parquet", stored(png(1), png(2)), [-1, 0], class_names=None)
    assert list(contents(tmp_path)) == [
        "train/unlabelled/none/000001 (label -1: train.parquet, row 1).png",
        "train/0/000002.png",
    ]


def test_rows_without_an_image_are_empty_files_of_their_class(tmp_path):
    images = [{"bytes": png(1), "path": None}, None, {"bytes": None, "path": "a/b.jpg"}, {"bytes": b"", "path": None}]
    write(tmp_path / "train.parquet", images, [0, 0, 1, 1])
    assert contents(tmp_path) == {
        "train/cat/000001.png": png(1),
        "train/cat/000002 (no image: train.parquet, row 2)": b"",
        "train/dog/000003 (a∕b.jpg is missing: train.parquet, row 3).jpg": b"",
        "train/dog/000004 (no image: train.parquet, row 4)": b"",
    }


# What is refused


@pytest.mark.parametrize("place", ["../secret.png", "/etc/hostname", "link/secret.png", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, place):
    write_folder(tmp_path, {"secret.png": png(1), "set/a.png": png(2)})
    (tmp_path / "set/link").symlink_to(tmp_path)
    write(tmp_path / "set/train.parquet", [place], [0], kind=pa.string())
    with pytest.raises(DataError, match=r"train\.parquet: the path .* leaves the file's folder: refused"):
        contents(tmp_path / "set")


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = write(tmp_path / "train.parquet", stored(png(1)), [0])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train\.parquet is not a whole Parquet file .*: delete it, and download it"):
        contents(tmp_path)


def test_damage_between_the_first_and_the_last_bytes_is_found(tmp_path):
    path = write(tmp_path / "train.parquet", stored(*[png(i) for i in range(20)]), [0] * 20)
    data = bytearray(path.read_bytes())
    data[8:40] = bytes(32)  # the header of the first page
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"train\.parquet is not a whole Parquet file"):
        contents(tmp_path)


def test_a_file_without_labels_names_its_columns(tmp_path):
    parquet.write_table(pa.table({"image": [png(1)], "caption": ["a cat"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"no column of labels, only image, caption: rename the column"):
        contents(tmp_path)


def test_labels_that_are_lists_are_refused(tmp_path):
    write(tmp_path / "train.parquet", stored(png(1)), [[0, 1]], label_type=pa.list_(pa.int64()))
    with pytest.raises(DataError, match=r"column label holds list<.*>, allowed are whole numbers and text"):
        contents(tmp_path)


def test_a_class_that_has_a_name_but_no_image_is_an_empty_folder(tmp_path):
    write(tmp_path / "test.parquet", stored(png(1)), [1], class_names=["cat", "dog", "owl"])
    write(tmp_path / "train.parquet", stored(png(2)), [0], class_names=["cat", "dog", "owl"])
    write(tmp_path / "unlabelled.parquet", stored(png(3)), [-1], class_names=["cat", "dog", "owl"])
    found = {member.name: member.problem for member in opened(tmp_path) if member.problem}
    assert found == {"train/owl": "an empty folder"}


def test_a_file_that_is_missing_in_a_numbered_row_is_named(tmp_path):
    for number in (0, 3):
        write(tmp_path / f"data/train-{number:05}-of-00004.parquet", stored(png(number)), [0])
    with pytest.raises(DataError, match=r"data/train-…-of-00004.parquet: 2 of these files are missing: 00001, 00002"):
        contents(tmp_path)


def test_files_of_two_datasets_in_one_folder_are_refused(tmp_path):
    write(tmp_path / "small/train.parquet", stored(png(1)), [0])
    write(tmp_path / "large/train.parquet", stored(png(1)), [0])
    with pytest.raises(DataError, match=r"they lie in the folders large, small: let source\.folder"):
        contents(tmp_path)
