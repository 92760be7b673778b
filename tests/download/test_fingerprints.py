import os

import pytest

from bottletop.core.errors import DataError
from bottletop.download.fingerprints import fingerprint
from tests.pictures import write_folder, write_zip


@pytest.fixture
def photos(tmp_path):
    return write_folder(tmp_path / "photos", {"cat/1.jpg": b"one", "dog/2.jpg": b"two"})


def test_the_fingerprint_of_a_folder_stays_when_nothing_changes(photos):
    assert fingerprint(photos) == fingerprint(photos)


@pytest.mark.parametrize(
    "change",
    [
        lambda photos: (photos / "cat/3.jpg").write_bytes(b"three"),
        lambda photos: (photos / "cat/1.jpg").unlink(),
        lambda photos: (photos / "cat/1.jpg").rename(photos / "dog/1.jpg"),
        lambda photos: os.utime(photos / "cat/1.jpg", ns=(1, 1)),
    ],
    ids=["added", "removed", "moved to another class", "touched"],
)
def test_the_fingerprint_of_a_folder_changes_with_its_files(photos, change):
    before = fingerprint(photos)
    change(photos)
    assert fingerprint(photos) != before


def test_the_fingerprint_of_a_folder_changes_with_a_size(photos):
    """Even where the time of writing is put back."""
    file = photos / "cat/1.jpg"
    before, times = fingerprint(photos), file.stat()
    file.write_bytes(b"longer")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(photos) != before


def test_the_fingerprint_of_a_folder_does_not_change_with_hidden_files(photos):
    before = fingerprint(photos)
    (photos / "cat/.DS_Store").touch()
    assert fingerprint(photos) == before


def test_the_fingerprint_of_an_archive_changes_when_it_is_written_to(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1.jpg": b"one"})
    before = fingerprint(path)
    assert fingerprint(path) == before
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) != before


def test_the_fingerprint_of_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nowhere is missing"):
        fingerprint(tmp_path / "nowhere")
