import pytest

from bottletop.download import containers
from bottletop.download.containers import opened
from tests.pictures import png, write_folder, write_tar, write_zip

PETS = {"readme.txt": b"", "cat/1.png": png(1), "dog/2.png": png(2)}


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_a_folder_or_archive_of_images_is_no_container(tmp_path, write):
    assert opened(write(tmp_path / "pets", PETS)) is None


def test_an_archive_of_images_is_left_at_its_first_image(tmp_path, monkeypatch):
    seen = []
    whole = containers.archive_members
    monkeypatch.setattr(containers, "archive_members", lambda path: (seen.append(m.name) or m for m in whole(path)))
    opened(write_tar(tmp_path / "pets.tar.gz", PETS))
    assert seen == ["readme.txt", "cat/1.png"]


def test_nothing_stays_of_the_files_of_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    archive = write_zip(tmp_path / "a.zip", {"test_batch.bin": bytes(3073)})
    found = opened(archive)
    assert next(found).name == "test/0/000001.png"
    assert len(list(tmp_path.iterdir())) == 2
    assert list(found) == []
    assert list(tmp_path.iterdir()) == [archive]


def test_files_that_macos_adds_to_archives_are_not_read(tmp_path):
    files = {"test_batch.bin": bytes(3073), "__MACOSX/._test_batch.bin": b"?"}
    found = {member.name: member.problem for member in opened(write_zip(tmp_path / "a.zip", files))}
    assert found == {"test/0/000001.png": "", "__MACOSX/._test_batch.bin": "hidden"}
