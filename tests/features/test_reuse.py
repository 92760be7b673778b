import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from bottletop.backbones import extractor
from bottletop.features import reuse
from bottletop.features.extraction import extract
from bottletop.images import index
from bottletop.images.index import ImageRow
from tests.tiny import POOLED_FEATURES, extract_params, image_shards, pictures, random_weights

SIDE = 32


class Backbone:
    """Instead of VGG16: features are an image's mean colour, many times; counts the images, may kill the process."""

    def __init__(self) -> None:
        self.computed, self.die_after = 0, None

    def __call__(self, images):
        if self.die_after is not None and self.computed >= self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.computed += len(images)
        means = images.mean((1, 2), dtype=np.float32).astype(np.float16)[:, :1]
        return np.tile(means[:, None, None], (1, 1, 1, 512)), np.tile(means, (1, POOLED_FEATURES))


@pytest.fixture
def vgg16(_at_home, tmp_path, monkeypatch) -> Backbone:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("BOTTLETOP_BATCH_SIZE", "8")
    fake = Backbone()
    monkeypatch.setattr(extractor.Extractor, "__call__", lambda _, images: fake(images))
    return fake


class Dataset:
    """Tars of pictures, whose features can be extracted to a folder."""

    def __init__(self, folder: Path, photos: list[tuple[str, bytes]]) -> None:
        self.folder, self.rows = folder, image_shards(folder, photos)

    def extract(self, target: Path, rows: list[ImageRow] | None = None, **changes) -> dict[str, bytes]:
        """The bytes of each file written."""
        params = extract_params(**{"image_side_px": SIDE, **changes})
        engine = extractor.best_engine(params.backbone, params.precision)
        backbone = extractor.Extractor(params.backbone, random_weights(), params.image_side_px, engine)
        extract(self.rows if rows is None else rows, self.folder, backbone, params, target)
        return {path.name: path.read_bytes() for path in target.iterdir()}

    def killed(self, target: Path, vgg16: Backbone, after: int, **changes) -> None:
        """Extracts in another process, which kill -9 ends once `after` images are computed."""
        pid = os.fork()
        if pid == 0:
            vgg16.die_after = after
            self.extract(target, **changes)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return Dataset(tmp_path / "images", [*pictures("cat", 40), *pictures("dog", 40, seed=1)])


def left(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / ".dvc/tmp/bottletop/features").iterdir())


def test_a_killed_extraction_goes_on_where_it_was(tmp_path, dataset, vgg16, capsys):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    assert not (tmp_path / "features").exists()
    resumed = dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80 - 64
    assert "64 of 80 images were computed before" in capsys.readouterr().err
    assert len(left(tmp_path)) == 1  # the last one's
    assert resumed == dataset.extract(tmp_path / "from scratch")


def test_killed_twice_it_still_computes_nothing_twice(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=24)
    dataset.killed(tmp_path / "features", vgg16, after=40)
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80 - 24 - 40
    assert len(left(tmp_path)) == 1


def test_an_extraction_that_ended_is_found_after_its_output_was_removed(tmp_path, dataset, vgg16):
    """DVC removes a stage's output before it runs the stage, also if it ended just before DVC recorded it."""
    first = dataset.extract(tmp_path / "features")
    for _ in range(2):
        shutil.rmtree(tmp_path / "features")
        assert dataset.extract(tmp_path / "features") == first
    assert vgg16.computed == 80
    assert len(left(tmp_path)) == 1


def test_what_an_ended_extraction_keeps_is_removed_once_dvc_has_recorded_it(tmp_path, dataset, vgg16):
    (tmp_path / "dvc.lock").write_text("before")
    os.utime(tmp_path / "dvc.lock", (0, 0))
    dataset.extract(tmp_path / "features")
    reuse.remove_recorded()
    assert len(left(tmp_path)) == 1
    (tmp_path / "dvc.lock").write_text("after")
    reuse.remove_recorded()
    assert left(tmp_path) == []


def test_what_a_killed_extraction_has_left_is_not_removed(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    (tmp_path / "dvc.lock").write_text("after")
    reuse.remove_recorded()
    assert len(left(tmp_path)) == 1


def test_many_kills_leave_two_folders_at_most(tmp_path, dataset, vgg16):
    for after in (24, 0, 16, 0, 8):
        dataset.killed(tmp_path / "features", vgg16, after=after)
    assert len(left(tmp_path)) <= 2  # the last one's, and what it went on from
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80 - 24 - 16 - 8


def test_a_kill_with_another_recipe_leaves_what_was_there(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    dataset.killed(tmp_path / "features", vgg16, after=8, precision="bfloat16")
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80 - 64


def test_a_shard_of_the_same_images_is_linked_and_others_are_not(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=72)
    [folder] = left(tmp_path)
    before = {path.name: path.stat().st_ino for path in (folder / "features").iterdir()}
    found = dataset.extract(tmp_path / "features")
    same = {path.name for path in (tmp_path / "features").iterdir() if path.stat().st_ino == before.get(path.name)}
    assert same == {"cat-000.npy", "cat-000.pooled.npy"}
    assert found == dataset.extract(tmp_path / "from scratch")


def test_a_shard_that_holds_an_image_twice_is_linked_too(tmp_path, vgg16):
    cats, dogs = pictures("cat", 7), pictures("dog", 9, seed=1)
    twice = Dataset(tmp_path / "images", [*cats, cats[3], *dogs, ("dog", cats[0][1])])
    twice.killed(tmp_path / "features", vgg16, after=16)  # of 18: the dogs' last batch is missing
    [folder] = left(tmp_path)
    before = (folder / "features/cat-000.npy").stat().st_ino
    found = twice.extract(tmp_path / "features")
    assert (tmp_path / "features/cat-000.npy").stat().st_ino == before
    assert found == twice.extract(tmp_path / "from scratch")


def test_where_files_cannot_be_linked_they_are_copied(tmp_path, dataset, vgg16, monkeypatch):
    def refuse(*_):
        raise OSError

    dataset.killed(tmp_path / "features", vgg16, after=72)
    monkeypatch.setattr(os, "link", refuse)
    assert dataset.extract(tmp_path / "features") == dataset.extract(tmp_path / "from scratch")


@pytest.mark.parametrize("damaged", ["cat-000.npy", "cat-000.pooled.npy"])
def test_a_shard_with_a_damaged_row_is_not_linked(tmp_path, dataset, vgg16, damaged):
    dataset.killed(tmp_path / "features", vgg16, after=72)
    [folder] = left(tmp_path)
    data = bytearray((folder / "features" / damaged).read_bytes())
    data[-1] ^= 1
    (folder / "features" / damaged).write_bytes(data)
    found = dataset.extract(tmp_path / "features")
    assert vgg16.computed == 8 + 1
    assert found == dataset.extract(tmp_path / "from scratch")


def test_a_shard_whose_first_images_alone_are_wanted_is_not_linked(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=72)
    some = dataset.rows[:30]
    assert dataset.extract(tmp_path / "features", rows=some) == dataset.extract(tmp_path / "from scratch", rows=some)


@pytest.mark.parametrize("other", ["others", "features-101"])
def test_what_another_dataset_left_is_not_touched(tmp_path, dataset, vgg16, other):
    dataset.killed(tmp_path / other, vgg16, after=24)
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80
    assert {path.name.rpartition("-")[0] for path in left(tmp_path)} == {other, "features"}


def test_changed_images_are_computed_and_removed_ones_left_out(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=72)
    photos = [*pictures("cat", 36), *pictures("cat", 2, seed=5), *pictures("dog", 32, seed=1)]
    other = Dataset(tmp_path / "other images", photos)
    found = other.extract(tmp_path / "features")
    assert vgg16.computed == 2
    assert found == other.extract(tmp_path / "from scratch")


@pytest.mark.parametrize("changes", [{"image_side_px": 64}, {"precision": "bfloat16"}])
def test_another_recipe_is_computed_anew(tmp_path, dataset, vgg16, changes):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    dataset.extract(tmp_path / "features", rows=dataset.rows[:40], **changes)
    assert vgg16.computed == 40


def test_another_preprocessing_is_computed_anew(tmp_path, dataset, vgg16, monkeypatch):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    monkeypatch.setattr(extractor, "REVISION", extractor.REVISION + 1)
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80


def test_of_another_decoding_of_deep_images_only_these_are_computed_anew(tmp_path, dataset, vgg16, monkeypatch):
    modes = ["I;16", "F", "I", *("RGB" for _ in dataset.rows[3:])]
    dataset.rows = [row._replace(mode=mode) for row, mode in zip(dataset.rows, modes, strict=True)]
    dataset.killed(tmp_path / "features", vgg16, after=64)
    monkeypatch.setattr(index, "DEEP_REVISION", index.DEEP_REVISION + 1)
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 16 + 3


def test_features_of_8_bit_images_are_registered_by_the_images_id(tmp_path, dataset, vgg16):
    """As they were before deep images had a revision of their own: caches stay valid."""
    found = dataset.extract(tmp_path / "features")["rows.csv"].decode().splitlines()
    assert [line.split(",")[0] for line in found[1:]] == [row.id for row in dataset.rows]


def test_pooled_features_are_found_where_the_bottleneck_is_no_longer_wanted(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    found = dataset.extract(tmp_path / "features", bottleneck=False)
    assert vgg16.computed == 16
    assert set(found) == {"cat-000.pooled.npy", "dog-000.pooled.npy", "manifest.json", "rows.csv", "SHA256SUMS"}


def test_all_is_computed_where_the_bottleneck_is_wanted_and_was_not(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=64, bottleneck=False)
    dataset.extract(tmp_path / "features")
    assert vgg16.computed == 80


def test_a_damaged_row_is_computed_anew(tmp_path, dataset, vgg16):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    [folder] = left(tmp_path)
    path = folder / "features/cat-000.npy"
    data = bytearray(path.read_bytes())
    data[128 + 7 * 1024] ^= 1  # of the eighth image
    path.write_bytes(data)
    found = dataset.extract(tmp_path / "features")
    assert vgg16.computed == 16 + 1
    assert found == dataset.extract(tmp_path / "from scratch")


@pytest.mark.parametrize("name", ["cat-000.npy", "rows.csv", "manifest.json"])
@pytest.mark.parametrize("kept", [None, 0, 100, 5000])
def test_a_file_that_is_cut_off_or_missing_is_read_as_far_as_it_goes(tmp_path, dataset, vgg16, name, kept):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    [folder] = left(tmp_path)
    path = folder / "features" / name
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept])
    found = dataset.extract(tmp_path / "features")
    assert found == dataset.extract(tmp_path / "from scratch")


def test_an_extraction_at_work_is_left_alone(tmp_path, dataset, vgg16, monkeypatch):
    during = []

    def busy(_, images):
        if not during:
            during.append(None)
            dataset.extract(tmp_path / "features")  # meanwhile, another one
            during.append(vgg16.computed)
        return vgg16(images)

    monkeypatch.setattr(extractor.Extractor, "__call__", busy)
    dataset.extract(tmp_path / "features")
    assert during == [None, 80]
    assert len(left(tmp_path)) == 2  # one for each


def test_the_backbone_is_not_even_built_where_everything_is_there(tmp_path, dataset, vgg16, monkeypatch):
    dataset.killed(tmp_path / "features", vgg16, after=64)
    rows = [row for row in dataset.rows if row.label == "cat"]

    monkeypatch.setattr(extractor.Extractor, "_forward", None)  # what builds it
    monkeypatch.setattr(extractor.Extractor, "__call__", None)
    dataset.extract(tmp_path / "features", rows=rows)
