import gc
import gzip
import io
import os
import tarfile
import zipfile
from itertools import islice

import pytest

from bottletop.core.errors import DataError
from bottletop.download import archives
from bottletop.download.archives import members
from tests.pictures import write_folder, write_tar, write_zip

FILES = {"b/2.jpg": b"two", "a/1.jpg": b"one", "readme.txt": b"", "a/é ü.jpg": b"accents"}
NOT_WHOLE = r"is not a whole tar, tar\.gz or zip \(.*\): delete it, and download it again"


def contents(path) -> dict[str, bytes]:
    """Reads all members, in order."""
    return {member.name: member.read() for member in members(path)}


def tar_with(path, **attributes):
    """A tar of one member with these attributes."""
    info = tarfile.TarInfo("a/1.jpg")
    for name, value in attributes.items():
        setattr(info, name, value)
    with tarfile.open(path, "w") as archive:
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def damaged(path, where: int):
    """Flips the bits of one byte."""
    data = bytearray(path.read_bytes())
    data[where] ^= 0xFF
    path.write_bytes(data)
    return path


def cut(path, size: int):
    path.write_bytes(path.read_bytes()[:size])
    return path


# What is read


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.tar"), (write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_members_of_an_archive_come_in_its_order_with_their_bytes(tmp_path, write, name):
    path = write(tmp_path / name, FILES)
    assert list(contents(path).items()) == list(FILES.items())


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.zip"), (write_zip, "a.tar.gz"), (write_tar, "a")])
def test_the_kind_of_an_archive_is_seen_in_its_bytes_not_its_name(tmp_path, write, name):
    assert contents(write(tmp_path / name, FILES)) == FILES


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_sizes_are_announced(tmp_path, write):
    path = write(tmp_path / "a", FILES)
    assert {member.name: member.size for member in members(path)} == {n: len(data) for n, data in FILES.items()}


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_members_that_are_not_wanted_need_not_be_read(tmp_path, write):
    path = write(tmp_path / "a", FILES)
    assert [member.read() for member in members(path) if member.name == "a/1.jpg"] == [b"one"]


def test_members_that_were_passed_are_not_kept(tmp_path):
    opened = members(write_tar(tmp_path / "a.tar", {f"{number}.jpg": b"" for number in range(100)}))
    assert len(list(islice(opened, 99))) == 99
    gc.collect()
    assert sum(isinstance(each, tarfile.TarInfo) for each in gc.get_objects()) < 5


def test_members_of_a_folder_are_sorted(tmp_path):
    path = write_folder(tmp_path / "photos", FILES)
    assert list(contents(path)) == ["readme.txt", "a/1.jpg", "a/é ü.jpg", "b/2.jpg"]


def test_folders_in_an_archive_are_no_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("cat")
    assert contents(tmp_path / "a.zip") == {}
    assert contents(tar_with(tmp_path / "a.tar", type=tarfile.DIRTYPE)) == {}


@pytest.mark.parametrize(("stored", "read"), [("./a/1.jpg", "a/1.jpg"), ("a//1.jpg", "a/1.jpg")])
def test_names_are_tidied(tmp_path, stored, read):
    assert contents(tar_with(tmp_path / "a.tar", name=stored)) == {read: b""}


def test_backslashes_of_windows_zips_are_slashes(tmp_path):
    assert contents(tar_with(tmp_path / "a.tar", name="cat\\1.jpg")) == {"cat/1.jpg": b""}


def test_hidden_files_and_folders_are_left_out_of_a_folder(tmp_path):
    path = write_folder(tmp_path, {".git/config": b"", "cat/.DS_Store": b"", "cat/1.jpg": b"one"})
    assert contents(path) == {"cat/1.jpg": b"one"}


def test_links_in_a_folder_are_followed(tmp_path):
    write_folder(tmp_path / "elsewhere", {"1.jpg": b"one"})
    write_folder(tmp_path / "photos", {"dog/2.jpg": b"two"})
    (tmp_path / "photos/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/dog/1.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    assert contents(tmp_path / "photos") == {"cat/1.jpg": b"one", "dog/1.jpg": b"one", "dog/2.jpg": b"two"}


def test_a_folder_that_links_to_itself_is_read_once(tmp_path):
    path = write_folder(tmp_path / "photos", {"cat/1.jpg": b"one"})
    (path / "cat/again").symlink_to(path)
    assert contents(path) == {"cat/1.jpg": b"one"}


def test_broken_links_and_pipes_in_a_folder_are_left_out(tmp_path):
    path = write_folder(tmp_path / "photos", {"cat/1.jpg": b"one"})
    (path / "cat/2.jpg").symlink_to("nowhere")
    os.mkfifo(path / "cat/3.jpg")
    assert contents(path) == {"cat/1.jpg": b"one"}


def test_nothing_is_unpacked_to_disk(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", FILES)
    contents(path)
    assert list(tmp_path.iterdir()) == [path]


# What is refused


@pytest.mark.parametrize("name", ["/etc/passwd", "../1.jpg", "cat/../../1.jpg", "..\\1.jpg", "C:\\1.jpg", "C:1.jpg"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    paths = [tar_with(tmp_path / "a.tar", name=name), write_zip(tmp_path / "a.zip", {name: b""})]
    for path in paths:
        with pytest.raises(DataError, match="leaves the archive: refused"):
            contents(path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=["symlink", "hard link", "character device", "block device", "pipe"],
)
def test_a_tar_with_anything_but_files_is_refused(tmp_path, kind):
    path = tar_with(tmp_path / "a.tar", type=kind, linkname="/etc/passwd")
    with pytest.raises(DataError, match=r"a\.tar: 'a/1.jpg' is a link, device or sparse file: refused"):
        contents(path)


def test_a_zip_with_a_link_is_refused(tmp_path):
    info = zipfile.ZipInfo("a/1.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r"a\.zip: 'a/1.jpg' is a link or device: refused"):
        contents(tmp_path / "a.zip")


def test_a_tar_with_a_sparse_file_is_refused(tmp_path):
    """Its holes take no bytes of the archive, so the bound on what comes out would not see them."""
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,0"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a/1.jpg")
        info.pax_headers = pax
        archive.addfile(info)
    with pytest.raises(DataError, match="is a link, device or sparse file: refused"):
        contents(tmp_path / "a.tar")


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, write, name):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 1 << 20)
    path = write(tmp_path / name, {f"a/{n}": bytes(1 << 20) for n in range(8)})
    with pytest.raises(DataError, match="unpacks to over 20 times its size: refused"):
        contents(path)


def test_a_bomb_of_members_that_are_not_wanted_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 1 << 20)
    path = write_tar(tmp_path / "a.tar.gz", {"not wanted": bytes(8 << 20), "a/1.jpg": b"one"})
    with pytest.raises(DataError, match="unpacks to over 20 times its size: refused"):
        list(members(path))


def test_a_gzip_file_that_never_gets_to_be_a_tar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 1 << 10)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(DataError, match="unpacks to over 20 times its size: refused"):
        contents(path)


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.tar.gz"), (write_zip, "a.zip")])
def test_a_small_archive_of_text_may_compress_well(tmp_path, write, name):
    path = write(tmp_path / name, {"a/1": bytes(1 << 20)})
    assert len(contents(path)["a/1"]) == 1 << 20


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    path = write_tar(tmp_path / "a.tar", FILES)
    with pytest.raises(DataError, match="has more than 3 members"):
        contents(path)


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.tar"), (write_tar, "a.tar.gz"), (write_zip, "a.zip")])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("read", [contents, lambda path: list(members(path))], ids=["read", "listed"])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, write, name, share, read):
    path = write(tmp_path / name, {f"a/{n}": os.urandom(100_000) for n in range(3)})
    cut(path, int(share * path.stat().st_size))
    with pytest.raises(DataError, match=NOT_WHOLE):
        read(path)


def test_a_damaged_member_of_a_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1": os.urandom(1000)})
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(damaged(path, 500))


def test_a_damaged_gzip_stream_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", {"a/1": os.urandom(100_000)})
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(damaged(path, 50_000))


@pytest.mark.parametrize("size", [1000, 5 * (1 << 20) - 1536], ids=["small", "a tar of 5 MiB"])
def test_a_gzip_file_without_its_last_bytes_is_refused(tmp_path, size):
    """The tar within is whole, but the sum that vouches for it is missing; also if whole MiB have been read by then."""
    path = write_tar(tmp_path / "a.tar.gz", {"a/1": os.urandom(size)})
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(cut(path, path.stat().st_size - 4))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1": b"secret"})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        contents(path)


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", bytes(range(256)) * 8, b"\x1f\x8b", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(tmp_path, data):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere.zip is missing: put it there, .* a colleague has pushed: dvc repro --pull"
    ):
        contents(tmp_path / "nowhere.zip")
