import bz2
import gc
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zipfile
from itertools import islice
from pathlib import Path

import pytest
from backports import zstd
from backports.zstd import zipfile as zstd_zipfile

from bottletop.core.errors import DataError
from bottletop.download import archives
from bottletop.download.archives import members
from tests.pictures import write_folder, write_tar, write_zip

FILES = {"b/2.jpg": b"two", "a/1.jpg": b"one", "readme.txt": b"", "a/é ü.jpg": b"accents"}
NOT_WHOLE = r"is damaged or cut off \(.*\): delete it, and download it again"
COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}


def contents(path) -> dict[str, bytes]:
    """Reads all members to use, in order."""
    return {member.name: member.read() for member in members(path) if not member.problem}


def problems(path) -> dict[str, str]:
    """What is wrong with each of the others."""
    return {member.name: member.problem for member in members(path) if member.problem}


def packed(write, files) -> bytes:
    """The bytes of an archive, to be put inside another."""
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder, "a.tar"), files).read_bytes()


def zip_with(path, data: bytes, **attributes):
    """A zip of one member with these attributes."""
    info = zipfile.ZipInfo("a/1.jpg")
    for name, value in attributes.items():
        setattr(info, name, value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, data)
    return path


def patched(path, before: bytes, after: bytes):
    """Replaces bytes, wherever they are."""
    assert before in path.read_bytes()
    assert len(before) == len(after)
    path.write_bytes(path.read_bytes().replace(before, after))
    return path


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
        archive.writestr("cat/1.jpg", b"one")
    assert [member.name for member in members(tmp_path / "a.zip")] == ["cat/1.jpg"]
    (tmp_path / "photos/cat").mkdir(parents=True)
    (tmp_path / "photos/cat/1.jpg").write_bytes(b"one")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "photos", ".")
    assert [member.name for member in members(tmp_path / "a.tar")] == ["cat/1.jpg"]


@pytest.mark.parametrize(("stored", "read"), [("./a/1.jpg", "a/1.jpg"), ("a//1.jpg", "a/1.jpg")])
def test_names_are_tidied(tmp_path, stored, read):
    assert contents(tar_with(tmp_path / "a.tar", name=stored)) == {read: b""}


def test_backslashes_of_windows_zips_are_slashes(tmp_path):
    assert contents(tar_with(tmp_path / "a.tar", name="cat\\1.jpg")) == {"cat/1.jpg": b""}


def test_links_in_a_folder_are_followed(tmp_path):
    write_folder(tmp_path / "elsewhere", {"1.jpg": b"one"})
    write_folder(tmp_path / "photos", {"dog/2.jpg": b"two"})
    (tmp_path / "photos/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/dog/1.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    assert contents(tmp_path / "photos") == {"cat/1.jpg": b"one", "dog/1.jpg": b"one", "dog/2.jpg": b"two"}


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


def test_a_member_that_is_encrypted_is_refused_with_what_to_do(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1": b"secret"})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"'a/1' is encrypted: unpack it, and set folder .* or pack it again as a zip"):
        contents(path)


@pytest.mark.parametrize(("method", "name"), [(9, "deflate64"), (98, "method 98")])
def test_a_member_that_is_compressed_in_an_unknown_way_is_refused_with_what_to_do(tmp_path, method, name):
    path = write_zip(tmp_path / "a.zip", {"a/1": b"one", "a/2": b"two"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 8] = data[data.index(b"PK\x01\x02") + 10] = method
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"'a/1' is compressed by {name}, which cannot be read: unpack it"):
        contents(path)
    assert [member.read() for member in members(path) if member.name == "a/2"] == [b"two"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "a web page, perhaps one that asks for a login"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"\xff\xd8\xff\xe0", "a single JPEG image"),
        (b"MZ" + packed(write_zip, FILES), "a Windows program, perhaps an archive that unpacks itself"),
        (gzip.compress(b"image,label\n"), "a single compressed file, with no tar in it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"Not found", "text"),
        (bytes(range(256)) * 8, "of no known kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes of archives hold the time
)
def test_what_is_no_archive_is_refused_as_what_it_looks_like(tmp_path, data, what):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.tar\.gz is {what}.*, but tar, .* and zip are read: unpack it"):
        contents(path)


@pytest.mark.parametrize("data", [b"\x1f\x8b", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"])
def test_no_more_than_the_beginning_of_an_archive_is_refused(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere.zip is missing: put it there, .* a colleague has pushed: dvc repro --pull"
    ):
        contents(tmp_path / "nowhere.zip")


# How an archive ends


def test_a_tar_is_whole_only_with_its_end_mark(tmp_path):
    """Wherever it is cut, at a header or elsewhere, before or in its end mark: no member is lost in silence."""
    whole = packed(write_tar, {"a/1.jpg": bytes(700), "a/2.jpg": b"two"})
    end = 512 + 1024 + 512 + 512
    path = tmp_path / "a.tar"
    for size in {*range(512, end + 1024, 512), 1000, end + 1, end + 600, end + 1025}:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=NOT_WHOLE):
            contents(path)
    for size in (end + 1024, end + 2048):
        path.write_bytes(whole[:size])
        assert list(contents(path)) == ["a/1.jpg", "a/2.jpg"]


def test_a_tar_without_its_end_mark_is_refused_with_the_place(tmp_path):
    path = cut(write_tar(tmp_path / "a.tar", {"a/1.jpg": b"one"}), 1024)
    with pytest.raises(DataError, match="it stops at byte 1,024 without the two blocks of zeros that end a tar"):
        contents(path)


@pytest.mark.parametrize("kind", ["tar", *COMPRESSIONS])
@pytest.mark.parametrize("header", [0, 1024, 2048])
def test_a_tar_with_a_damaged_header_is_refused(tmp_path, kind, header):
    path = damaged(write_tar(tmp_path / "a", {f"a/{number}.jpg": b"one" for number in range(3)}), header + 3)
    path.write_bytes(COMPRESSIONS.get(kind, bytes)(path.read_bytes()))
    with pytest.raises(DataError, match=rf"damaged or cut off \(bad checksum at byte {header:,}\)"):
        contents(path)


def test_a_tar_with_a_header_where_its_end_mark_is_half_done_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "2.jpg": b"two"})
    path.write_bytes(path.read_bytes()[:1024] + bytes(512) + path.read_bytes()[1024:])
    with pytest.raises(DataError, match="a lone block of zeros"):
        contents(path)


@pytest.mark.parametrize("kind", ["tar", *COMPRESSIONS])
def test_tars_one_after_the_other_are_all_read(tmp_path, kind):
    compress = COMPRESSIONS.get(kind, bytes)
    path = tmp_path / "a"
    path.write_bytes(b"".join(compress(packed(write_tar, {f"a/{number}.jpg": b"one"})) for number in range(3)))
    assert list(contents(path)) == ["a/0.jpg", "a/1.jpg", "a/2.jpg"]


@pytest.mark.parametrize("kind", ["tar", *COMPRESSIONS])
@pytest.mark.parametrize("rest", [b"rest", b"\x00\x01" * 300])
def test_other_data_after_the_end_of_a_tar_is_refused(tmp_path, kind, rest):
    path = tmp_path / "a"
    path.write_bytes(COMPRESSIONS.get(kind, bytes)(packed(write_tar, FILES)) + rest)
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(path)


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_damaged_second_stream_is_refused(tmp_path, kind):
    first, second = (COMPRESSIONS[kind](packed(write_tar, {name: b"one"})) for name in ("1.jpg", "2.jpg"))
    path = tmp_path / "a"
    path.write_bytes(first + second)
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(damaged(path, len(first) + 1))


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_compressed_tar_that_was_cut_is_refused(tmp_path, kind):
    whole = COMPRESSIONS[kind](packed(write_tar, {"1.jpg": os.urandom(100_000)}))
    path = tmp_path / "a"
    for size in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=NOT_WHOLE):
            contents(path)


def test_zeros_after_the_end_of_a_compressed_tar_are_padding(tmp_path):
    for kind, compress in COMPRESSIONS.items():
        (tmp_path / kind).write_bytes(compress(packed(write_tar, FILES)) + bytes(1000))
        assert contents(tmp_path / kind) == FILES


def test_attributes_of_one_tar_do_not_hold_in_the_next(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", pax_headers={"path": "global.jpg"}) as archive:
        archive.addfile(tarfile.TarInfo("1.jpg"))
    path = tmp_path / "b.tar"
    path.write_bytes((tmp_path / "a.tar").read_bytes() + packed(write_tar, {"2.jpg": b"two"}))
    assert contents(path) == {"global.jpg": b"", "2.jpg": b"two"}


def test_a_zip_after_another_is_refused(tmp_path):
    """A zip's list of members is at its end, so those of the first would be lost."""
    path = tmp_path / "a.zip"
    path.write_bytes(packed(write_zip, {"1.jpg": b"one"}) + packed(write_zip, {"2.jpg": b"two"}))
    with pytest.raises(DataError, match="another zip, stands before the first member"):
        contents(path)


def test_other_data_after_the_end_of_a_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(packed(write_zip, FILES) + b"rest")
    with pytest.raises(DataError, match="other data stands after its end"):
        contents(path)


def test_a_zip_may_end_with_a_comment(tmp_path):
    path = write_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"photos of 2019"
    assert contents(path) == FILES


def test_a_zip_whose_list_swallows_a_member_is_refused(tmp_path):
    """One damaged length, and zipfile takes the second entry of the list for a comment on the first."""
    path = write_zip(tmp_path / "a.zip", {"1.jpg": b"one", "2.jpg": b"two"})
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    data[first + 32] = data.index(b"PK\x05\x06") - first - 46 - len("1.jpg")
    path.write_bytes(data)
    with pytest.raises(DataError, match="lists 1 members, but counts 2"):
        contents(path)


# Kinds


def test_a_tar_whose_last_bytes_look_like_a_zip_is_a_tar(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one", "notes.zip": packed(write_zip, {"2.jpg": b"two"})})
    path.write_bytes(path.read_bytes()[: 4 * 512] + bytes(1024))
    assert zipfile.is_zipfile(path)
    assert list(contents(path)) == ["1.jpg", "notes/2.jpg"]


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_tars_are_read_in_all_common_compressions(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(COMPRESSIONS[kind](packed(write_tar, FILES)))
    assert contents(path) == FILES


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_bombs_are_refused_in_all_compressions(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 1 << 20)
    path = tmp_path / "a"
    path.write_bytes(COMPRESSIONS[kind](packed(write_tar, {"a/1": bytes(8 << 20)})))
    with pytest.raises(DataError, match="unpacks to over 20 times its size: refused"):
        contents(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 93])
def test_members_of_a_zip_are_read_in_all_common_compressions(tmp_path, method):
    with zstd_zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.jpg", b"one" * 1000)
    assert contents(tmp_path / "a.zip") == {"1.jpg": b"one" * 1000}


def test_members_with_sizes_of_zip64_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("1.jpg", "w", force_zip64=True) as file:
        file.write(b"one")
    assert contents(tmp_path / "a.zip") == {"1.jpg": b"one"}


@pytest.mark.slow
def test_a_zip_of_more_members_than_the_first_zips_could_count_is_read(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"{number}.jpg": b"" for number in range(65_540)})
    assert len(contents(path)) == 65_540


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_makes_older_tarfile_modules_search_for_minutes_is_refused_at_once(tmp_path, kind):
    path = tar_with(tmp_path / "a.tar", type=kind, size=1 << 18)
    path.write_bytes(path.read_bytes()[:512] + b"1" * (1 << 18) + bytes(1024))
    with pytest.raises(DataError, match=NOT_WHOLE):
        contents(path)


def test_a_huge_header_is_refused(tmp_path):
    path = tar_with(tmp_path / "a.tar", type=tarfile.GNUTYPE_LONGNAME, size=2 << 20)
    with pytest.raises(DataError, match="a header of 2,097,152 bytes"):
        contents(path)


def test_attributes_for_all_members_are_bounded(tmp_path):
    """Each member would get a copy of all of them."""
    with tarfile.open(tmp_path / "a.tar", "w", pax_headers={f"key{n}": "" for n in range(101)}) as archive:
        archive.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(DataError, match="more than 100 global attributes"):
        contents(tmp_path / "a.tar")


# Names


def tar_of_names(path, *names: bytes):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name.decode("utf-8", "surrogateescape")))
    return path


def test_names_that_are_not_utf_8_stay_apart(tmp_path):
    path = tar_of_names(tmp_path / "a.tar", b"caf\xe9/1.jpg", b"caf\xe8/1.jpg", "cafü/1.jpg".encode())
    assert list(contents(path)) == ["café/1.jpg", "cafè/1.jpg", "cafü/1.jpg"]


def test_names_that_are_not_utf_8_stay_apart_in_a_folder(tmp_path):
    for name in (b"caf\xe9", b"caf\xe8"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "1.jpg").write_bytes(name)
    assert contents(tmp_path) == {"cafè/1.jpg": b"caf\xe8", "café/1.jpg": b"caf\xe9"}


COMPOSED, DECOMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_a_class_that_is_spelt_in_two_ways_is_one(tmp_path, write):
    path = write(tmp_path / "a", {f"{DECOMPOSED}/1.jpg": b"one", f"{COMPOSED}/2.jpg": b"two"})
    assert contents(path) == {f"{COMPOSED}/1.jpg": b"one", f"{COMPOSED}/2.jpg": b"two"}


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_a_name_that_is_spelt_in_two_ways_stands_twice(tmp_path, write):
    path = write(tmp_path / "a", {f"{DECOMPOSED}/1.jpg": b"one", f"{COMPOSED}/1.jpg": b"two"})
    assert contents(path) == {f"{COMPOSED}/1.jpg": b"one"}
    assert problems(path) == {f"{COMPOSED}/1.jpg": "a second one of this name"}


@pytest.mark.parametrize(
    ("stored", "read"), [("猫/1.jpg".encode(), "猫/1.jpg"), (b"caf\x82/1.jpg", "café/1.jpg")], ids=["UTF-8", "437"]
)
def test_names_in_a_zip_that_does_not_say_so_are_utf_8_or_else_code_page_437(tmp_path, stored, read):
    path = write_zip(tmp_path / "a.zip", {"x" * len(stored): b"one"})
    assert contents(patched(path, b"x" * len(stored), stored)) == {read: b"one"}


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_control_characters_in_names_are_written_out(tmp_path, write):
    path = write(tmp_path / "a", {"cat\x1b[31m/1\n.jpg": b"one"})
    assert contents(path) == {r"cat\x1b[31m/1\x0a.jpg": b"one"}


# What is there, but not used: named, never lost in silence


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_the_first_of_two_members_of_one_name_is_used(tmp_path, write):
    """As when a tar is updated: the newer copy comes later."""
    path = tmp_path / "a"
    with tarfile.open(path, "w") if write is write_tar else zipfile.ZipFile(path, "w") as archive:
        for data in (b"old", b"new"):
            if write is write_tar:
                info = tarfile.TarInfo("1.jpg")
                info.size = 3
                archive.addfile(info, io.BytesIO(data))
            else:
                archive.writestr("1.jpg", data)
    assert contents(path) == {"1.jpg": b"old"}
    assert problems(path) == {"1.jpg": "a second one of this name"}


def test_what_has_a_problem_cannot_be_read(tmp_path):
    (hidden,) = members(write_tar(tmp_path / "a.tar", {".1.jpg": b"one"}))
    with pytest.raises(DataError, match=r"a\.tar: '\.1\.jpg' is hidden, so it cannot be used"):
        hidden.read()


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_hidden_files_are_named(tmp_path, write):
    path = write(tmp_path / "a", {"cat/.DS_Store": b"", "cat/._1.jpg": b"", "cat/1.jpg": b"one"})
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {"cat/.DS_Store": "hidden", "cat/._1.jpg": "hidden"}


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_files_in_hidden_folders_of_an_archive_are_named(tmp_path, write):
    files = {".ipynb_checkpoints/1.jpg": b"one", "__MACOSX/cat/2.jpg": b"two", "cat/1.jpg": b"one"}
    path = write(tmp_path / "a", files)
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {".ipynb_checkpoints/1.jpg": "hidden", "__MACOSX/cat/2.jpg": "hidden"}


def test_hidden_folders_are_named_but_not_looked_into(tmp_path):
    path = write_folder(tmp_path, {".git/config": b"", "__MACOSX/1.jpg": b"", "cat/1.jpg": b"one"})
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {".git": "hidden", "__MACOSX": "hidden"}


def test_empty_folders_are_named(tmp_path):
    path = write_folder(tmp_path / "photos", {"dog/1.jpg": b"one"})
    (path / "cat").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(path, "photos")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("photos")
        archive.writestr("photos/dog/1.jpg", b"one")
        archive.mkdir("photos/cat")
    assert problems(path) == {"cat": "an empty folder"}
    assert problems(tmp_path / "a.tar") == problems(tmp_path / "a.zip") == {"photos/cat": "an empty folder"}


def test_a_folder_that_links_to_itself_is_read_once(tmp_path):
    path = write_folder(tmp_path / "photos", {"cat/1.jpg": b"one"})
    (path / "cat/again").symlink_to(path)
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {"cat/again": "a folder that is read already, through a link"}


def test_broken_links_and_pipes_in_a_folder_are_named(tmp_path):
    path = write_folder(tmp_path / "photos", {"cat/1.jpg": b"one"})
    (path / "cat/2.jpg").symlink_to("nowhere")
    (path / "dog").symlink_to("dog")
    os.mkfifo(path / "cat/3.jpg")
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {
        "cat/2.jpg": "a broken link",
        "cat/3.jpg": "a pipe, socket or device",
        "dog": "a broken link",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_that_may_not_be_read_are_named(tmp_path):
    path = write_folder(tmp_path, {"cat/1.jpg": b"one", "cat/2.jpg": b"two", "dog/1.jpg": b"one", "fox/1.jpg": b"one"})
    (path / "cat/2.jpg").chmod(0)
    (path / "dog").chmod(0)
    (path / "fox").chmod(0o444)
    assert contents(path) == {"cat/1.jpg": b"one"}
    assert problems(path) == {
        "cat/2.jpg": "a file that you may not read",
        "fox/1.jpg": "a file that you may not read",
        "dog": "a folder that cannot be read (Permission denied)",
    }


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device, pipe or sparse file"),
        (tarfile.BLKTYPE, "a device, pipe or sparse file"),
        (tarfile.FIFOTYPE, "a device, pipe or sparse file"),
    ],
    ids=["symlink", "hard link", "character device", "block device", "pipe"],
)
def test_links_and_devices_of_a_tar_are_named_and_never_followed(tmp_path, kind, problem):
    path = tar_with(tmp_path / "a.tar", type=kind, linkname="/etc/passwd")
    assert problems(path) == {"a/1.jpg": problem}
    with pytest.raises(DataError, match="cannot be used"):
        [member.read() for member in members(path)]


def test_links_of_a_zip_are_named_and_never_followed(tmp_path):
    path = zip_with(tmp_path / "a.zip", b"/etc/passwd", external_attr=0o120777 << 16)
    assert problems(path) == {"a/1.jpg": "a link"}


def test_sparse_files_of_a_tar_are_not_read(tmp_path):
    """Their holes take no bytes of the archive, so the bound on what comes out would not see them."""
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,0"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a/1.jpg")
        info.pax_headers = pax
        archive.addfile(info)
    assert problems(tmp_path / "a.tar") == {"a/1.jpg": "a device, pipe or sparse file"}


# Archives in archives


@pytest.mark.parametrize("outer", [write_tar, write_zip])
@pytest.mark.parametrize(("inner", "ending"), [(write_tar, ".tar"), (write_tar, ".TAR.gz"), (write_zip, ".zip")])
def test_an_archive_in_an_archive_is_read_as_a_folder(tmp_path, outer, inner, ending):
    data = packed(inner, {"cat/1.jpg": b"one", "dog/2.jpg": b"two"})
    data = gzip.compress(data) if ending.endswith("gz") else data
    path = outer(tmp_path / "a", {"readme.txt": b"text", f"parts/train{ending}": data, "z.jpg": b"last"})
    assert list(contents(path).items()) == [
        ("readme.txt", b"text"),
        ("parts/train/cat/1.jpg", b"one"),
        ("parts/train/dog/2.jpg", b"two"),
        ("z.jpg", b"last"),
    ]


def test_the_folder_is_not_doubled_where_the_inner_archive_has_it_too(tmp_path):
    """As in Caltech-101."""
    inner = gzip.compress(packed(write_tar, {"101_ObjectCategories/ant/1.jpg": b"one"}))
    path = write_zip(tmp_path / "a.zip", {"caltech-101/101_ObjectCategories.tar.gz": inner})
    assert contents(path) == {"caltech-101/101_ObjectCategories/ant/1.jpg": b"one"}


def test_a_tar_of_one_tar_per_class_keeps_the_classes(tmp_path):
    """As in ImageNet."""
    inner = {f"{name}.tar": packed(write_tar, {f"{name}_1.JPEG": name.encode()}) for name in ("n01", "n02")}
    path = write_tar(tmp_path / "a.tar", inner)
    assert contents(path) == {"n01/n01_1.JPEG": b"n01", "n02/n02_1.JPEG": b"n02"}


def test_archives_are_read_one_level_deep(tmp_path):
    deepest = packed(write_zip, {"1.jpg": b"one"})
    path = write_zip(tmp_path / "a.zip", {"b.zip": packed(write_zip, {"c.zip": deepest})})
    assert contents(path) == {"b/c.zip": deepest}


def test_archives_in_a_folder_are_files(tmp_path):
    inner = packed(write_zip, {"1.jpg": b"one"})
    assert contents(write_folder(tmp_path, {"b.zip": inner})) == {"b.zip": inner}


def test_what_is_called_an_archive_but_is_none_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"labels.zip": b"version https://git-lfs", "1.jpg": b"one"})
    assert contents(path) == {"1.jpg": b"one"}
    assert problems(path) == {"labels.zip": "no archive, despite its name"}


@pytest.mark.parametrize("outer", [write_tar, write_zip])
@pytest.mark.parametrize("inner", [write_tar, write_zip])
def test_a_damaged_archive_in_an_archive_is_refused(tmp_path, outer, inner):
    data = packed(inner, {"1.jpg": os.urandom(1000), "2.jpg": os.urandom(1000)})
    path = outer(tmp_path / "a", {"b.tar": data[:1800]})
    with pytest.raises(DataError, match=r"a: 'b\.tar' is damaged or cut off"):
        contents(path)


@pytest.mark.parametrize("inner", [write_tar, write_zip])
def test_a_bomb_in_an_archive_is_refused(tmp_path, monkeypatch, inner):
    monkeypatch.setattr(archives, "FREE_EXPANSION_BYTES", 1 << 20)
    path = write_zip(tmp_path / "a.zip", {"b.tar": packed(inner, {f"{n}.jpg": bytes(1 << 20) for n in range(8)})})
    with pytest.raises(DataError, match="unpacks to over 20 times its size: refused"):
        contents(path)


def test_names_in_an_inner_archive_cannot_leave_it(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"b.zip": packed(write_zip, {"../1.jpg": b""})})
    with pytest.raises(DataError, match=r"'b\.zip': the member name '../1.jpg' leaves the archive: refused"):
        contents(path)
