"""Replicas of public datasets: 4 classes of 12 images each, in files named as in the real ones.

Each is described as on the page on datasets, unpacked, and split as its authors did.
"""

import gzip
import io
import json
import re
import struct
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from scipy.io import savemat

from benchmarks import samples
from bottletop.core.catalogue import Dataset
from bottletop.core.settings import parse
from bottletop.download.params import DownloadParams
from bottletop.download.unpacking import unpack
from bottletop.images.index import ImageRow, read_index
from bottletop.split import SPLITS, SplitParams, SplitRow, assign_splits
from tests.pictures import jpeg, photo, write_folder, write_tar, write_zip

PER_CLASS = 12
Files = dict[str, bytes]


def pictures(name_of: Callable[[str, int], str], labels: tuple[str, ...]) -> Files:
    """48 different images; `name_of` gives the name of image 0 to 11 of a class."""
    return {
        name_of(label, number): jpeg(100 * position + number, (32, 24))
        for position, label in enumerate(labels)
        for number in range(PER_CLASS)
    }


def mat(**arrays: object) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays)
    return file.getvalue()


def lines(*each: str) -> bytes:
    return "".join(f"{line}\n" for line in each).encode()


def ham10000(folder: Path) -> None:
    kinds = ("akiec", "bcc", "bkl", "df")
    images = pictures(lambda kind, n: f"ISIC_{0 + 24306 + 100 * kinds.index(kind) + n:07}", kinds)
    first, second = dict(list(images.items())[:24]), dict(list(images.items())[24:])
    write_zip(folder / "HAM10000_images_part_1.zip", {f"{name}.jpg": data for name, data in first.items()})
    write_zip(folder / "HAM10000_images_part_2.zip", {f"{name}.jpg": data for name, data in second.items()})
    rows = [
        f"HAM_{number // 2:07},{name},{kinds[number // 12]},histo,80.0,male,scalp,vidir_modern"
        for number, name in enumerate(images)
    ]
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    write_folder(folder, {"HAM10000_metadata.csv": lines(header, *rows)})


def isic_2019(folder: Path) -> None:
    kinds = ("MEL", "NV", "BCC", "AK")
    images = pictures(lambda kind, n: f"ISIC_{100 * kinds.index(kind) + n:07}_downsampled", kinds)
    inputs = {f"ISIC_2019_Training_Input/{name}.jpg": data for name, data in images.items()}
    write_zip(folder / "ISIC_2019_Training_Input.zip", inputs | {"ISIC_2019_Training_Input/LICENSE.txt": b"CC-BY-NC"})
    rows = [
        f"{name},{','.join(str(float(number // 12 == column)) for column in range(4))},0.0"
        for number, name in enumerate(images)
    ]
    write_folder(folder, {"ISIC_2019_Training_GroundTruth.csv": lines("image,MEL,NV,BCC,AK,UNK", *rows)})


def dogs_vs_cats(folder: Path) -> None:
    """Kaggle's set has two classes; its second archive has no labels."""
    kinds = ("cat", "dog", "fox", "owl")
    write_zip(folder / "train.zip", pictures(lambda kind, n: f"train/{kind}.{n}.jpg", kinds))


def oxford_iiit_pet(folder: Path) -> None:
    kinds = ("Abyssinian", "great_pyrenees", "Egyptian_Mau", "pug")
    images = pictures(lambda kind, n: f"images/{kind}_{n + 1}.jpg", kinds)
    write_tar(folder / "images.tar.gz", images | {"images/Abyssinian_1.mat": b"MATLAB"})
    names = [Path(name).stem for name in images]
    trimaps = {f"annotations/trimaps/{name}.png": b"not an image to take" for name in names}
    lists = {
        "annotations/list.txt": lines("#Image CLASS-ID SPECIES BREED ID", *(f"{name} 1 1 1" for name in names)),
        "annotations/trainval.txt": lines(*(f"{name} 1 1 1" for name in names if int(name.split("_")[-1]) <= 6)),
        "annotations/test.txt": lines(*(f"{name} 1 1 1" for name in names if int(name.split("_")[-1]) > 6)),
    }
    write_tar(folder / "annotations.tar.gz", lists | trimaps)


def oxford_102(folder: Path) -> None:
    kinds = ("1", "2", "3", "4")
    images = pictures(lambda kind, n: f"jpg/image_{12 * (int(kind) - 1) + n + 1:05}.jpg", kinds)
    write_tar(folder / "102flowers.tgz", images)
    numbers = np.arange(1, 49)
    position = (numbers - 1) % 12
    sets = {
        "trnid": numbers[position < 4],
        "valid": numbers[(position >= 4) & (position < 6)],
        "tstid": numbers[position >= 6],
    }
    labels = np.repeat([1, 2, 3, 4], 12).astype(np.uint8)
    write_folder(folder, {"imagelabels.mat": mat(labels=labels), "setid.mat": mat(**sets)})


def gtsrb(folder: Path) -> None:
    kinds = ("0", "1", "2", "3")
    images = pictures(
        lambda kind, n: (
            f"Test/{4 * n + int(kind):05}.png" if n < 4 else f"Train/{kind}/0000{kind}_{n // 2:05}_{n % 2:05}.png"
        ),
        kinds,
    )
    header = "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"
    rows = [f"32,24,1,1,31,23,{kinds[number // 12]},{name}" for number, name in enumerate(images)]
    tables = {f"{name}.csv": lines(header, *(row for row in rows if f",{name}/" in row)) for name in ("Train", "Test")}
    signs = {f"Meta/{kind}.png": jpeg(900 + int(kind)) for kind in kinds} | {"Meta.csv": b"Path,ClassId\n"}
    write_zip(folder / "gtsrb.zip", images | tables | signs)


def imagenette(folder: Path) -> None:
    kinds = ("n01440764", "n02102040", "n02979186", "n03000684")
    images = pictures(lambda kind, n: f"imagenette2/{'val' if n < 4 else 'train'}/{kind}/ILSVRC2012_{n:08}.JPEG", kinds)
    more = {"imagenette2/noisy_imagenette.csv": b"path,noisy\n", "imagenette2/train/.DS_Store": b"Bud1"}
    write_tar(folder / "imagenette2.tgz", images | more)


def fruits_360(folder: Path) -> None:
    kinds = ("Apple Braeburn 1", "Cherry 2", "Maçã", "Tomato Cherry Red 1")
    images = pictures(lambda kind, n: f"fruits-360/{'Test' if n < 4 else 'Training'}/{kind}/r_{n}_100.jpg", kinds)
    several = {"fruits-360/test-multiple_images/apples1.jpg": jpeg(999), "fruits-360/LICENSE": b"CC BY-SA 4.0"}
    write_zip(folder / "fruits.zip", images | several)


def dtd(folder: Path) -> None:
    kinds = ("banded", "blotchy", "braided", "bubbly")
    images = pictures(lambda kind, n: f"dtd/images/{kind}/{kind}_{n:04}.jpg", kinds)
    parts: dict[str, list[str]] = {"train1": [], "val1": [], "test1": []}
    for number, name in enumerate(images):
        parts[("train1", "val1", "test1")[number % 3]].append(name.removeprefix("dtd/images/"))
    lists = {f"dtd/labels/{part}.txt": lines(*names) for part, names in parts.items()}
    write_tar(folder / "dtd-r1.0.1.tar.gz", images | lists | {"dtd/imdb/imdb.mat": b"MATLAB"})


def caltech_101(folder: Path) -> None:
    """A zip with a tar inside."""
    kinds = ("Faces", "Motorbikes", "accordion", "airplanes")
    images = pictures(lambda kind, n: f"101_ObjectCategories/{kind}/image_{n + 1:04}.jpg", kinds)
    clutter = {f"101_ObjectCategories/BACKGROUND_Google/image_{n:04}.jpg": jpeg(900 + n) for n in range(3)}
    inner = write_tar(folder / "101_ObjectCategories.tar.gz", images | clutter)
    mac = {"__MACOSX/caltech-101/101_ObjectCategories/Faces/x.jpg": b"Mac OS X"}
    write_zip(folder / "caltech-101.zip", {"caltech-101/101_ObjectCategories.tar.gz": inner.read_bytes(), **mac})
    inner.unlink()


def small_pixels(kind: int, number: int, side: int) -> np.ndarray:
    return np.asarray(photo(100 * kind + number, (side, side)))


def mnist(folder: Path) -> None:
    def idx(values: np.ndarray) -> bytes:
        sizes = struct.pack(f">{values.ndim}I", *values.shape)
        return gzip.compress(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())

    for name, numbers in (("train", range(8)), ("t10k", range(8, PER_CLASS))):
        pairs = [(small_pixels(kind, number, 28)[..., 0], kind) for number in numbers for kind in range(4)]
        images, labels = (np.array(values) for values in zip(*pairs, strict=True))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels))


def cifar_10(folder: Path) -> None:
    def batch(numbers: range) -> bytes:
        pairs = [(kind, small_pixels(kind, number, 32)) for number in numbers for kind in range(4)]
        return b"".join(bytes([kind]) + pixels.transpose(2, 0, 1).tobytes() for kind, pixels in pairs)

    root = "cifar-10-batches-bin"
    files = {f"{root}/data_batch_1.bin": batch(range(4)), f"{root}/data_batch_2.bin": batch(range(4, 8))}
    names = {f"{root}/batches.meta.txt": lines("airplane", "automobile", "bird", "cat")}
    tests = {f"{root}/test_batch.bin": batch(range(8, PER_CLASS))}
    write_tar(folder / "cifar-10-binary.tar.gz", files | names | tests)


def beans(folder: Path) -> None:
    names = ["angular_leaf_spot", "bean_rust", "healthy", "other"]
    features = {"image": {"_type": "Image"}, "labels": {"names": names, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, numbers in (("train", range(4)), ("validation", range(4, 6)), ("test", range(6, PER_CLASS))):
        pairs = [(kind, number) for number in numbers for kind in range(4)]
        images = [{"bytes": jpeg(100 * kind + number, (32, 24)), "path": None} for kind, number in pairs]
        columns = {"image": pa.array(images, image), "labels": pa.array([kind for kind, _ in pairs], pa.int64())}
        table = pa.table(columns).replace_schema_metadata(about)
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


# What makes each, and how many images of each class are in train, validation and test.
DATASETS = {
    "ham10000": (ham10000, (8, 2, 2)),
    "isic-2019": (isic_2019, (8, 2, 2)),
    "dogs-vs-cats": (dogs_vs_cats, (8, 2, 2)),
    "oxford-pets": (oxford_iiit_pet, (5, 1, 6)),
    "oxford-102": (oxford_102, (4, 2, 6)),
    "gtsrb": (gtsrb, (6, 2, 4)),
    "imagenette": (imagenette, (6, 2, 4)),
    "fruits-360": (fruits_360, (6, 2, 4)),
    "dtd": (dtd, (4, 4, 4)),
    "caltech-101": (caltech_101, (8, 2, 2)),
    "mnist": (mnist, (6, 2, 4)),
    "cifar-10": (cifar_10, (6, 2, 4)),
    "beans": (beans, (4, 2, 6)),
}
PAGE = (samples.ROOT / "docs/datasets.md").read_text()
ENTRIES = {name: text for text in re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL) for name in yaml.safe_load(text)}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The rows and the report of a dataset."""

    @cache
    def unpacked(name: str):
        folder = tmp_path_factory.mktemp("home")
        (folder / "Downloads").mkdir()
        DATASETS[name][0](folder / "Downloads")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(folder))
            report = unpack(entry(name).source, DownloadParams(max_rejected=0), folder / "out")
        return read_index(folder / "out/index.csv"), report

    return unpacked


def entry(name: str) -> Dataset:
    return parse(Dataset, yaml.safe_load(ENTRIES[name])[name], name, Path("docs/datasets.md"))


def assigned(rows: list[ImageRow]) -> list[SplitRow]:
    return assign_splits(rows, SplitParams(validation=0.2, test=0.2, official_test=True, seed=0))


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_of_the_page_is_valid_and_at_most_eight_lines_below_source(name):
    assert entry(name).title
    assert len(ENTRIES[name].partition("    source:\n")[2].splitlines()) <= 8


@pytest.mark.parametrize("name", DATASETS)
def test_all_images_of_its_four_classes_are_taken_and_all_other_files_counted(unpacked, name):
    rows, report = unpacked(name)
    assert list(report["images_per_class"].values()) == [PER_CLASS] * 4
    assert report["files"] == len(rows) + sum(left["files"] for left in report["left_out"].values())
    assert report["unused_lines"] == {}


@pytest.mark.parametrize("name", DATASETS)
def test_it_is_split_as_its_authors_did_and_otherwise_by_the_fractions(unpacked, name):
    rows, _ = unpacked(name)
    found = Counter((row.label, row.split) for row in assigned(rows))
    for label in {row.label for row in rows}:
        assert tuple(found[label, split] for split in SPLITS) == DATASETS[name][1]


def test_the_pictures_of_one_traffic_sign_are_a_group_and_the_tables_tell_the_split(unpacked):
    rows, report = unpacked("gtsrb")
    assert report["own_groups"] == 16
    train = [row.source for row in rows if row.official == "train"]
    assert len({row.group for row in rows if row.official == "train"}) == 16 == len(train) / 2
    assert report["split_names"] == {"Test": "test", "Train": "train"}


def test_the_images_of_a_lesion_of_ham10000_are_in_one_split(unpacked):
    rows, report = unpacked("ham10000")
    assert report["own_groups"] == 24
    split_of = {Path(row.source).stem: row.split for row in assigned(rows)}
    names = sorted(split_of)
    assert all(split_of[left] == split_of[right] for left, right in zip(names[::2], names[1::2], strict=True))


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("oxford-pets", {"Abyssinian", "great_pyrenees", "Egyptian_Mau", "pug"}),
        ("dogs-vs-cats", {"cat", "dog", "fox", "owl"}),
        ("isic-2019", {"MEL", "NV", "BCC", "AK"}),
        ("oxford-102", {"1", "2", "3", "4"}),
        ("imagenette", {"tench", "English springer", "cassette player", "chain saw"}),
    ],
)
def test_its_classes_have_the_names_that_its_files_tables_or_entry_give(unpacked, name, labels):
    assert {row.label for row in unpacked(name)[0]} == labels
