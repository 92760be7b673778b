import tarfile

import pytest

from bottletop.download.shards import BLOCK_BYTES, ShardWriter


def write(folder, images, **options) -> list[tuple[str, int]]:
    """Shard and offset of each (label, name, data)."""
    folder.mkdir(exist_ok=True)
    writer = ShardWriter(folder, **options)
    places = [writer.add(*image) for image in images]
    writer.finish()
    return places


def contents(path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


IMAGES = [("cat", "cat/1.jpg", b"one"), ("dog", "dog/1.jpg", b"two"), ("cat", "cat/2.jpg", b"3" * 1000)]


def test_each_class_has_its_own_tar(tmp_path):
    write(tmp_path, IMAGES)
    assert contents(tmp_path / "cat-000.tar") == {"cat/1.jpg": b"one", "cat/2.jpg": b"3" * 1000}
    assert contents(tmp_path / "dog-000.tar") == {"dog/1.jpg": b"two"}


def test_the_bytes_of_an_image_are_at_the_offset_that_is_returned(tmp_path):
    for (shard, offset), (_, _, data) in zip(write(tmp_path, IMAGES), IMAGES, strict=True):
        assert (tmp_path / shard).read_bytes()[offset : offset + len(data)] == data


def test_classes_by_turns_are_written_with_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr("bottletop.download.shards.MAX_OPEN", 2)
    images = [(label, f"{label}/{number}", label.encode()) for number in range(3) for label in "abcde"]
    write(tmp_path, images)
    for label in "abcde":
        assert contents(tmp_path / f"{label}-000.tar") == {f"{label}/{number}": label.encode() for number in range(3)}


def test_offsets_agree_with_those_of_tarfile(tmp_path):
    places = write(tmp_path, IMAGES)
    with tarfile.open(tmp_path / "cat-000.tar") as archive:
        assert [("cat-000.tar", member.offset_data) for member in archive] == [places[0], places[2]]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024])
def test_images_of_any_size_end_at_a_block(tmp_path, size):
    images = [("cat", "1", bytes(size)), ("cat", "2", b"next")]
    places = write(tmp_path, images)
    assert all(offset % BLOCK_BYTES == 0 for _, offset in places)
    assert contents(tmp_path / "cat-000.tar") == {"1": bytes(size), "2": b"next"}


def test_long_and_accented_names_are_kept(tmp_path):
    name = "crème brûlée/" + "é" * 120 + ".jpg"
    [(shard, offset)] = write(tmp_path, [("cat", name, b"one")])
    assert contents(tmp_path / shard) == {name: b"one"}
    assert (tmp_path / shard).read_bytes()[offset : offset + 3] == b"one"


def test_a_tar_ends_with_two_empty_blocks(tmp_path):
    write(tmp_path, [("cat", "1", b"one")])
    assert (tmp_path / "cat-000.tar").stat().st_size == 4 * BLOCK_BYTES
    assert (tmp_path / "cat-000.tar").read_bytes()[-2 * BLOCK_BYTES :] == bytes(2 * BLOCK_BYTES)


def test_a_new_shard_begins_before_one_grows_too_large(tmp_path):
    images = [("cat", str(n), bytes([n]) * 600) for n in range(5)]
    places = write(tmp_path, images, shard_bytes=3500)
    assert [shard for shard, _ in places] == ["cat-000.tar"] * 2 + ["cat-001.tar"] * 2 + ["cat-002.tar"]
    assert contents(tmp_path / "cat-001.tar") == {"2": bytes([2]) * 600, "3": bytes([3]) * 600}


def test_an_image_that_is_larger_than_a_shard_gets_its_own(tmp_path):
    places = write(tmp_path, [("cat", "1", b"one"), ("cat", "2", bytes(9000)), ("cat", "3", b"3")], shard_bytes=2000)
    assert [shard for shard, _ in places] == ["cat-000.tar", "cat-001.tar", "cat-002.tar"]
    assert contents(tmp_path / "cat-001.tar") == {"2": bytes(9000)}


def test_the_bytes_of_a_tar_depend_on_the_images_alone(tmp_path):
    write(tmp_path / "a", IMAGES)
    write(tmp_path / "b", IMAGES)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names(tmp_path / "a")
    )


@pytest.mark.parametrize(
    ("label", "stem"),
    [
        ("lily of the valley", "lily_of_the_valley"),
        ("colt's foot", "colt_s_foot"),
        ("crème brûlée", "crème_brûlée"),
        ("猫", "猫"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        (".hidden", "hidden"),
        ("..", "_"),
        ("v1.5-beta", "v1.5-beta"),
        ("*?:|<>\n\0", "_"),
    ],
)
def test_file_names_are_safe_whatever_the_class_is_called(tmp_path, label, stem):
    write(tmp_path, [(label, "1", b"one")])
    assert names(tmp_path) == [f"{stem}-000.tar"]


def test_classes_that_differ_in_case_alone_get_different_files_on_any_file_system(tmp_path):
    places = write(tmp_path, [(label, "1", label.encode()) for label in ("Cat", "cat", "CAT", "Cat")])
    assert [shard for shard, _ in places] == ["Cat-000.tar", "cat~2-000.tar", "CAT~3-000.tar", "Cat-000.tar"]


def test_classes_whose_safe_names_are_the_same_get_different_files(tmp_path):
    places = write(tmp_path, [(label, "1", b"") for label in ("a b", "a_b", "a/b")])
    assert [shard for shard, _ in places] == ["a_b-000.tar", "a_b~2-000.tar", "a_b~3-000.tar"]


def test_there_may_be_more_classes_than_open_files(tmp_path):
    write(tmp_path, [(f"{n}", "1", b"one") for n in range(1500)])
    assert len(names(tmp_path)) == 1500


def test_nothing_is_written_without_images(tmp_path):
    write(tmp_path, [])
    assert names(tmp_path) == []
