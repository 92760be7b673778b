import gc
import importlib.metadata
from collections import Counter

import numpy as np
import pytest

from bottletop.backbones import extractor
from bottletop.backbones.weights import digest
from bottletop.core.errors import ArtefactError, ParamsError
from bottletop.core.files import sha256_text
from bottletop.features.extraction import extract
from bottletop.features.manifest import read_manifest
from bottletop.images import index
from bottletop.images.decoding import decode, square
from bottletop.images.index import ImageRow, Index, read_shard, write_index
from tests.tiny import POOLED_FEATURES, extract_params, image_shards, pictures, random_weights

SIDE = 32


@pytest.fixture(autouse=True)
def _own_repository(_at_home, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("BOTTLETOP_BATCH_SIZE", "8")


@pytest.fixture
def fake_backbone(monkeypatch):
    """Instead of VGG16: an image's features are its mean colour, many times; keeps the sizes of the batches."""
    sizes = []

    def compute(images):
        sizes.append(len(images))
        means = images.mean((1, 2), dtype=np.float32).astype(np.float16)
        return np.tile(means[:, None, None, :1], (1, 1, 1, 512)), np.tile(means[:, :1], (1, POOLED_FEATURES))

    monkeypatch.setattr(extractor.Extractor, "__call__", lambda _, images: compute(images))
    return sizes


def run(tmp_path, rows, **changes):
    params = extract_params(**changes)
    engine = extractor.best_engine(params.backbone, params.precision)
    backbone = extractor.Extractor(params.backbone, random_weights(), SIDE, engine)
    extract(rows, tmp_path / "images", backbone, params, tmp_path / "features")
    return {path.name: np.load(path) for path in (tmp_path / "features").glob("*.npy")}


def test_features_are_the_backbones_row_for_row_in_index_order(tmp_path):
    rows = image_shards(tmp_path / "images", [*pictures("dog", 11), *pictures("cat", 3, seed=1)])
    found = run(tmp_path, rows)
    compute = extractor.Extractor("vgg16", random_weights(), SIDE, extractor.NCNN)
    for label in ("dog", "cat"):
        of_label = [row for row in rows if row.label == label]
        images = [square(decode(data), SIDE) for data in read_shard(tmp_path / f"images/{label}-000.tar", of_label)]
        alone = [compute(image[None]) for image in images]
        np.testing.assert_array_equal(found[f"{label}-000.npy"], np.concatenate([each[0] for each in alone]))
        np.testing.assert_array_equal(found[f"{label}-000.pooled.npy"], np.concatenate([each[1] for each in alone]))


def test_features_do_not_depend_on_neighbours_or_order(tmp_path):
    photos = pictures("dog", 19)
    straight = run(tmp_path / "straight", image_shards(tmp_path / "straight/images", photos))
    turned = run(tmp_path / "turned", image_shards(tmp_path / "turned/images", photos[::-1]))
    assert set(straight) == {"dog-000.npy", "dog-000.pooled.npy"}
    for name, values in straight.items():
        np.testing.assert_array_equal(values, turned[name][::-1])


def test_each_shard_has_its_files_and_its_entry_in_the_manifest(tmp_path, fake_backbone):
    rows = image_shards(tmp_path / "images", [*pictures("a b", 9), *pictures("cat", 2, seed=1)], shard_bytes=20_000)
    found = run(tmp_path, rows)
    counts = Counter(row.shard for row in rows)
    assert len(counts) > 2
    assert set(found) == {shard.replace(".tar", end) for shard in counts for end in (".npy", ".pooled.npy")}
    for shard, entry in read_manifest(tmp_path / "features").shards.items():
        here = [row for row in rows if row.shard == f"{shard}.tar"]
        assert (entry.label, entry.rows) == (here[0].label, len(here))
        assert entry.ids_sha256 == sha256_text([row.id for row in here])
        assert len(found[f"{shard}.npy"]) == len(found[f"{shard}.pooled.npy"]) == len(here)


def test_the_manifest_says_what_the_features_are(tmp_path, fake_backbone):
    rows = image_shards(tmp_path / "images", pictures("dog", 3))
    run(tmp_path, rows)
    manifest = read_manifest(tmp_path / "features")
    assert manifest.contract() == {
        "backbone": "vgg16",
        "weights_digest": digest(random_weights()),
        "preprocessing": "rgb-exif-bilinear-caffe-2",
        "image_side_px": SIDE,
        "engine": "ncnn",
        "precision": "float32",
    }
    assert (manifest.precision, manifest.dtype, manifest.rows) == ("float32", "float16", 3)
    assert (manifest.pooled_shape, manifest.bottleneck_shape) == ((2560,), (1, 1, 512))
    assert manifest.ids_sha256 == sha256_text([row.id for row in rows])
    assert manifest.versions["pillow"] == importlib.metadata.version("pillow")


def test_without_the_bottleneck_its_files_are_left_out(tmp_path, fake_backbone):
    found = run(tmp_path, image_shards(tmp_path / "images", pictures("dog", 3)), bottleneck=False)
    assert list(found) == ["dog-000.pooled.npy"]
    assert read_manifest(tmp_path / "features").bottleneck_shape is None


def test_batches_are_full_across_shards_but_the_last(tmp_path, fake_backbone):
    run(tmp_path, image_shards(tmp_path / "images", [*pictures("dog", 19), *pictures("cat", 8, seed=1)]))
    assert fake_backbone == [8, 8, 8, 3]  # the cats, then the dogs


def test_the_same_images_give_the_same_bytes(tmp_path, fake_backbone):
    for name in ("one", "two"):
        run(tmp_path / name, image_shards(tmp_path / name / "images", pictures("dog", 5)))
    for path in (tmp_path / "one/features").iterdir():
        assert path.read_bytes() == (tmp_path / "two/features" / path.name).read_bytes()


def test_an_interrupted_run_keeps_the_old_features_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    rows = image_shards(tmp_path / "images", pictures("dog", 20))
    (tmp_path / "features").mkdir()
    (tmp_path / "features/old").write_text("old")
    calls = []

    def interrupted(images):
        calls.append(images)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return np.zeros((len(images), 1, 1, 512)), np.zeros((len(images), 2560))

    monkeypatch.setattr(extractor.Extractor, "__call__", lambda _, images: interrupted(images))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, rows)
    assert {path.name for path in tmp_path.iterdir()} == {"features", "images", ".dvc"}
    assert (tmp_path / "features/old").read_text() == "old"


def test_an_image_that_was_changed_is_named(tmp_path, fake_backbone):
    rows = image_shards(tmp_path / "images", pictures("dog", 5))
    with (tmp_path / "images/dog-000.tar").open("r+b") as shard:
        shard.seek(rows[2].offset + 100)
        shard.write(b"\xff" * (rows[2].length - 100))
    with pytest.raises(ArtefactError, match=r"dog-000\.tar: photos/dog/002\.png is no longer the image"):
        run(tmp_path, rows)
    assert not (tmp_path / "features").exists()


def test_a_shard_that_ends_early_is_refused(tmp_path, fake_backbone):
    rows = image_shards(tmp_path / "images", pictures("dog", 5))
    with (tmp_path / "images/dog-000.tar").open("r+b") as shard:
        shard.truncate(rows[-1].offset + 10)
    with pytest.raises(ArtefactError, match=r"dog-000\.tar: photos/dog/004\.png is no longer the image"):
        run(tmp_path, rows)
    assert not (tmp_path / "features").exists()


def test_only_a_few_images_are_decoded_ahead(tmp_path, monkeypatch):
    decoded, ahead = [], []

    def count(data, side_px):
        decoded.append(data)
        return decode(data, side_px)

    def compute(images):
        ahead.append(len(decoded) - sum(sizes))
        sizes.append(len(images))
        return np.zeros((len(images), 1, 1, 512)), np.zeros((len(images), 2560))

    sizes = []
    monkeypatch.setattr(index, "decode", count)
    monkeypatch.setattr(extractor.Extractor, "__call__", lambda _, images: compute(images))
    run(tmp_path, image_shards(tmp_path / "images", pictures("dog", 150)))
    assert sum(sizes) == len(decoded) == 150
    assert max(ahead) <= 5 * 8


def test_of_the_index_only_the_rows_at_hand_are_in_memory(tmp_path, monkeypatch):
    def rows():
        return sum(isinstance(each, ImageRow) for each in gc.get_objects())

    def compute(images):
        held.append(rows())
        return np.zeros((len(images), 1, 1, 512)), np.zeros((len(images), 2560))

    held = []
    monkeypatch.setattr(extractor.Extractor, "__call__", lambda _, images: compute(images))
    labels = [f"class {number:02}" for number in range(20)]
    photos = [(label, data) for label in labels for _, data in pictures(label, 20, seed=int(label[-2:]))]
    write_index(tmp_path / "index.csv", image_shards(tmp_path / "images", photos))
    gc.freeze()  # what is there already is not looked through
    try:
        run(tmp_path, Index(tmp_path / "index.csv"))
    finally:
        gc.unfreeze()
    assert len(held) == 20 * 20 / 8
    assert max(held) <= 4 * 20 + 5 * 8  # four shards, and what is decoded ahead


def test_an_index_that_is_replaced_meanwhile_is_noticed(tmp_path, fake_backbone):
    """By position alone, features would be taken for those of other images, now and whenever they are found again."""

    class Replaced:
        def __init__(self, rows):
            self.rows = rows

        def __iter__(self):
            yield from self.rows
            self.rows = self.rows[::-1]

    rows = image_shards(tmp_path / "images", pictures("dog", 20))
    with pytest.raises(ArtefactError, match="the index of the images changed while this ran"):
        run(tmp_path, Replaced(rows))
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_side_px": 31}, "image_side_px"),
        ({"image_side_px": 2000}, "image_side_px"),
        ({"image_side_px": "big"}, "image_side_px"),
        ({"precision": "float16"}, "precision"),
        ({"bottleneck": "yes"}, "bottleneck"),
        ({"flip": 1}, "flip"),
        ({"side": 32}, "side"),
    ],
)
def test_params_out_of_bounds_are_refused_by_name(changes, named):
    with pytest.raises(ParamsError, match=named):
        extract_params(**changes)


def test_the_manifest_says_how_many_images_and_threads_there_were_at_once(tmp_path, fake_backbone, monkeypatch):
    monkeypatch.setenv("BOTTLETOP_THREADS", "3")
    run(tmp_path, image_shards(tmp_path / "images", pictures("dog", 3)))
    assert read_manifest(tmp_path / "features").at_once == {"images": 8, "threads": 3}
