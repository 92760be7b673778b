import pytest
import yaml

from bottletop.cli import main
from bottletop.core.catalogue import dataset, local_path
from bottletop.core.settings import load
from bottletop.download.entry import with_active, with_entry
from bottletop.download.kinds import ARCHIVE_SUFFIXES
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import read_index
from tests.pictures import jpeg, write_folder, write_zip
from tests.tiny import ROOT

PETS = {
    f"{split}/{label}/{n}.jpg": jpeg(n) for split in ("train", "test") for label in ("cat", "dog") for n in range(2)
}
ENTRY = {"title": "Pets", "image_side_px": "auto", "source": {"folder": "pets", "images": "{label}/*"}}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with this project's settings, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("datasets.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def settings(repository) -> list[str]:
    return [(repository / name).read_text() for name in ("datasets.yaml", "params.yaml")]


# The command


def test_a_folder_is_described_and_its_entry_written(repository, capsys):
    write_folder(repository / "pets", PETS | {"readme.txt": b"", "more/1.jpg": jpeg(1), "test/cat/._1.jpg": b"x"})
    main(["add", "pets"])
    assert dataset("pets").source.folder == "pets"
    assert dataset("pets").source.images == "{split}/{label}/*"
    assert capsys.readouterr().out.splitlines() == [
        "pets: 8 images of 2 classes",
        "  class      train    test",
        "  -------  -------  ------",
        "  cat            2       2",
        "  dog            2       2",
        "  images: '{split}/{label}/*'",
        "  splits: train, test",
        "  groups: none are told; dvc repro finds copies too, and keeps each group in one split",
        "  images left out: 1, such as more/1.jpg",
        "  other files left out: 2, such as readme.txt, test/cat/._1.jpg",
        "  contact sheet: data/contact-sheets/pets.png",
        "datasets.yaml now has pets; edit its title, homepage and licence there",
        "to use it, add pets to datasets in params.yaml, and run dvc repro",
    ]
    assert (repository / "data/contact-sheets/pets.png").is_file()


def test_a_folder_of_archives_and_tables_becomes_parts(repository, capsys):
    """As HAM10000 is downloaded."""
    for number, names in enumerate(("abcdef", "ghijkl")):
        (repository / "skin").mkdir(exist_ok=True)
        write_zip(repository / f"skin/part {number}.zip", {f"{name}.jpg": jpeg(ord(name)) for name in names})
    rows = "".join(f"{name},{'xy'[ord(name) % 2]},{ord(name) // 2}\n" for name in "abcdefghijkl")
    write_folder(repository / "skin", {"skin.csv": f"image,dx,lesion_id\n{rows}".encode(), "notes.pdf": b"?"})
    main(["add", "skin"])
    source = dataset("skin").source
    assert [part.urls for part in source.parts] == [
        ("file:skin/part%200.zip",),
        ("file:skin/part%201.zip",),
        ("file:skin/skin.csv",),
    ]
    said = capsys.readouterr().out
    assert "file:skin/part%200.zip" in said
    assert "neither a table nor an archive that is read: skin/notes.pdf" in said
    unpack(source, DownloadParams(max_rejected=0), repository / "out")
    found = {row.source: row.label for row in read_index(repository / "out/index.csv")}
    assert found == {f"{name}.jpg": "xy"[ord(name) % 2] for name in "abcdefghijkl"}


def test_archives_of_equal_names_are_put_under_folders_of_their_own(repository):
    (repository / "pets").mkdir()
    for split in ("train", "test"):
        write_zip(repository / f"pets/{split}.zip", {name[6:]: data for name, data in PETS.items() if "train" in name})
    main(["add", "pets"])
    source = dataset("pets").source
    assert ([part.under for part in source.parts], source.images) == (["test", "train"], "{split}/{label}/*")


@pytest.mark.parametrize("ending", sorted(ARCHIVE_SUFFIXES))
def test_an_archive_of_each_ending_is_taken_in_a_folder_and_gives_the_dataset_its_name(repository, ending):
    """What a file is follows from its bytes, so that a zip stands for all kinds here."""
    (repository / "all").mkdir()
    archive = write_zip(repository / f"all/my pets{ending.upper()}", PETS)
    main(["add", str(archive)])
    assert local_path(dataset("my-pets").source.urls[0]) == archive
    main(["add", "all"])
    assert [local_path(part.urls[0]).name for part in dataset("all").source.parts] == [archive.name]


def test_what_cannot_be_read_is_no_image_and_said(repository, capsys):
    """download stops for a class without images."""
    folder = write_folder(repository / "pets", {name: data for name, data in PETS.items() if name.startswith("test")})
    (folder / "test/owl").mkdir()
    (folder / "test/cat/9.jpg").symlink_to("nowhere.jpg")
    main(["add", "pets"])
    said = capsys.readouterr().out
    assert "4 images of 2 classes" in said
    assert "cannot be taken: 2, such as test/cat/9.jpg (a broken link), test/owl (an empty folder)" in said


def test_the_entry_of_an_archive_gives_the_images_that_were_counted(repository):
    write_zip(repository / "my pets, 100%25.tar.zip", PETS)
    main(["add", "my pets, 100%25.tar.zip", "--activate"])
    source = dataset("my-pets-100-25").source
    assert local_path(source.urls[0]) == repository / "my pets, 100%25.tar.zip"
    unpack(source, DownloadParams(max_rejected=0), repository / "out")
    rows = read_index(repository / "out/index.csv")
    assert sorted((row.official, row.label, row.source) for row in rows) == sorted(
        (*name.split("/")[:2], name) for name in PETS
    )


def test_the_entry_of_files_named_by_class_gives_the_classes_that_were_counted(repository):
    write_folder(
        repository / "pets", {f"{label}_{n}.jpg": jpeg(n) for label in ("cat", "great_pyrenees") for n in "12"}
    )
    main(["add", "pets"])
    unpack(dataset("pets").source, DownloadParams(max_rejected=0), repository / "out")
    assert {row.label for row in read_index(repository / "out/index.csv")} == {"cat", "great_pyrenees"}


def test_a_name_that_is_a_number_stays_text(repository):
    write_folder(repository / "2024", PETS)
    main(["add", "2024", "--activate"])
    assert load(tuple[str, ...], "datasets") == ("digits", "2024")
    assert dataset("2024").source.folder == "2024"


def test_activate_adds_the_name_to_the_active_datasets(repository):
    write_folder(repository / "photos", PETS)
    main(["add", "photos", "--name", "pets", "--activate"])
    assert load(tuple[str, ...], "datasets") == ("digits", "pets")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is missing: give the path"),
        (["https://example.org/pets.zip"], "is missing: download it first"),
        (["photos", "--name", "digits"], r"already has digits: choose another name with --name"),
        (["photos", "--name", "a b"], r"letters, digits, - and _, got 'a b'"),
        (["empty"], r"empty has no images among its 0 files: give the folder that the images are in"),
        (["zips"], r"zips/a\.zip is empty, but tar"),
        (["labels.csv"], r"labels\.csv is no folder or archive of images: give the folder"),
        (["photos/1.jpg"], r"1\.jpg is no folder or archive of images: give the folder"),
    ],
)
def test_what_cannot_be_added_changes_nothing(repository, arguments, message):
    write_folder(repository / "photos", PETS | {"1.jpg": jpeg(1)})
    write_folder(repository, {"labels.csv": b"id,label\n", "zips/a.zip": b""})
    (repository / "empty").mkdir()
    before = settings(repository)
    with pytest.raises(SystemExit, match=message):
        main(["add", *arguments, "--activate"])
    assert settings(repository) == before


# The text of datasets.yaml


def test_all_lines_of_this_projects_catalogue_stay_and_the_entry_stands_at_the_end():
    text = (ROOT / "datasets.yaml").read_text()
    added = with_entry(text, "pets", ENTRY)
    assert added == (
        f"{text}\n  pets:\n    title: Pets\n    image_side_px: auto\n    source:\n      folder: pets\n"
        "      images: '{label}/*'\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "datasets:",
        "datasets:\n    a: 1 # one\n\n",
        "weights:\n  a: null\ndatasets:\n  a: 1\n",
        "datasets:\n  a: 1\n# about\n# weights\nweights:\n",
    ],
)
def test_the_entry_is_added_to_any_other_catalogue(text):
    added = with_entry(text, "pets", ENTRY)
    known = yaml.safe_load(text)
    assert yaml.safe_load(added) == known | {"datasets": (known["datasets"] or {}) | {"pets": ENTRY}}
    assert [line for line in added.splitlines() if line in text.splitlines() and line] == list(
        filter(None, text.splitlines())
    )
    assert ("# about\n# weights\nweights:" in added) == ("weights:\n" in text and "#" in text)


# The text of params.yaml


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("datasets: # active\n- a # the first\n\nb: {}\n", "datasets: # active\n- a # the first\n- pets\n\nb: {}\n"),
        ("datasets:\n  - a\n  - b", "datasets:\n  - a\n  - b\n  - pets\n"),
        ("datasets: [a, b] # two\n", "datasets: [a, b, pets] # two\n"),
        ("datasets: []\n", "datasets: [pets]\n"),
        ("datasets: [pets]\n", "datasets: [pets]\n"),
    ],
)  # fmt: skip
def test_the_name_is_added_to_the_active_datasets_and_nothing_else_changes(before, after):
    assert with_active(before, "pets") == after
