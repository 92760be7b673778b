import numpy as np
import psutil
import pytest

from bottletop.core.errors import ArtefactError
from bottletop.core.files import SUMS
from bottletop.features.manifest import feature_file
from bottletop.models.vectors import open_features
from tests.tiny import split_rows, write_features


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def rows():
    rows = split_rows(["dog"] * 5 + ["ant"] * 7 + ["cat"] * 3)
    return [row._replace(shard="ant-001.tar") if 8 <= i < 12 else row for i, row in enumerate(rows)]


@pytest.fixture
def bottleneck(random, rows):
    return random.uniform(0, 100, (len(rows), 3, 2, 4)).astype(np.float16)


@pytest.fixture
def pooled(random, rows):
    return random.uniform(0, 100, (len(rows), 6)).astype(np.float16)


@pytest.fixture
def folder(tmp_path, rows, bottleneck, pooled):
    write_features(tmp_path / "animals", rows, bottleneck, pooled)
    return tmp_path / "animals"


def test_labels_are_positions_among_the_sorted_class_names(folder, rows):
    features = open_features(folder, rows, "pooled", "flatten")
    assert features.class_names == ("ant", "cat", "dog")
    assert features.labels.tolist() == [2] * 5 + [0] * 7 + [1] * 3


def test_rows_are_read_in_the_order_asked_for_across_shards(folder, rows, pooled, random):
    features = open_features(folder, rows, "pooled", "flatten")
    order = random.permutation(len(rows))
    np.testing.assert_array_equal(features.read(order), pooled[order])


def test_features_that_were_changed_are_refused_with_the_image(folder, rows):
    path = feature_file(folder, "cat-000.tar", "pooled")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the last bit of the last row
    path.write_bytes(data)
    features = open_features(folder, rows, "pooled", "flatten")
    features.read(np.arange(14))
    with pytest.raises(ArtefactError, match=rf"features of {rows[14].source} in .* no longer .*: run bottletop doctor"):
        features.read(np.array([14]))


def test_a_row_may_be_read_twice_and_none_at_all(folder, rows, pooled):
    features = open_features(folder, rows, "pooled", "flatten")
    np.testing.assert_array_equal(features.read(np.array([14, 0, 14])), pooled[[14, 0, 14]])
    assert features.read(np.array([], np.intp)).shape == (0, 6)


@pytest.mark.parametrize(
    ("pooling", "width", "expected"),
    [
        ("flatten", 24, lambda values: values.reshape(len(values), -1)),
        ("avg", 4, lambda values: values.astype(np.float64).mean((1, 2)).astype(np.float16)),
        ("max", 4, lambda values: values.max((1, 2))),
    ],
)
def test_bottleneck_is_pooled_as_numpy_would(folder, rows, bottleneck, pooling, width, expected):
    features = open_features(folder, rows, "bottleneck", pooling)
    read = features.read(np.arange(len(rows)))
    assert (features.width, read.shape, read.dtype) == (width, (len(rows), width), np.float16)
    np.testing.assert_allclose(read, expected(bottleneck), rtol=1e-3)  # a float16's step


def test_averages_of_large_values_do_not_overflow_float16(tmp_path, rows, pooled):
    write_features(tmp_path / "large", rows, np.full((len(rows), 7, 7, 4), 60_000), pooled)
    features = open_features(tmp_path / "large", rows, "bottleneck", "avg")
    assert (features.read(np.arange(3)) == np.float16(60_000)).all()


@pytest.mark.parametrize("pooling", ["flatten", "avg", "max"])
def test_pooled_features_are_left_as_they_are(folder, rows, pooled, pooling):
    features = open_features(folder, rows, "pooled", pooling)
    assert features.width == 6
    np.testing.assert_array_equal(features.read(np.arange(len(rows))), pooled)


def test_a_side_is_the_positions_of_its_images(folder, rows):
    features = open_features(folder, rows, "pooled", "flatten")
    assert features.positions("validation").tolist() == [3, 8, 13]
    assert features.positions("test").tolist() == [4, 9, 14]
    assert features.positions("dropped").tolist() == []


def test_rows_that_were_read_do_not_stay_in_memory(tmp_path):
    rows = split_rows(["ant"] * 1000)
    write_features(tmp_path / "f", rows, np.ones((1000, 7, 7, 512), np.float16), np.ones((1000, 1)))
    features = open_features(tmp_path / "f", rows, "bottleneck", "flatten")
    before = psutil.Process().memory_info().rss
    for start in range(0, 1000, 50):
        features.read(np.arange(start, start + 50))
    assert psutil.Process().memory_info().rss - before < 25_000_000  # of 50 MB


def test_a_file_that_was_cut_while_it_was_read_is_refused(folder, rows):
    features = open_features(folder, rows, "pooled", "flatten")
    feature_file(folder, "dog-000.tar", "pooled").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"dog-000.*run dvc repro extract@animals"):
        features.read(np.arange(len(rows)))


def test_features_of_other_images_than_the_splits_are_refused(folder, rows):
    for others in (rows[:-1], rows[::-1]):
        with pytest.raises(ArtefactError, match=r"other images.*run dvc repro extract@animals"):
            open_features(folder, others, "pooled", "flatten")


def test_a_bottleneck_that_was_left_out_is_named_with_the_param_to_set(tmp_path, rows, pooled, monkeypatch):
    import msgspec

    from bottletop.features.manifest import read_manifest, write_manifest

    write_features(tmp_path / "lean", rows, np.zeros((len(rows), 1, 1, 4)), pooled)
    write_manifest(tmp_path / "lean", msgspec.structs.replace(read_manifest(tmp_path / "lean"), bottleneck_shape=None))
    with pytest.raises(ArtefactError, match=r"extract\.bottleneck to true"):
        open_features(tmp_path / "lean", rows, "bottleneck", "flatten")
    open_features(tmp_path / "lean", rows, "pooled", "flatten")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: np.save(path, np.zeros((4, 6), np.float16)),
        lambda path: np.save(path, np.zeros((5, 7), np.float16)),
        lambda path: np.save(path, np.zeros((5, 6), np.float32)),
        lambda path: np.save(path, np.array([print] * 5, dtype=object), allow_pickle=True),
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"(5, 6)", b"(5, 6Q")),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["too few rows", "too wide", "wrong dtype", "pickled", "truncated", "odd header", "empty", "missing"],
)
def test_damaged_features_are_refused(folder, rows, damage):
    damage(feature_file(folder, "dog-000.tar", "pooled"))
    with pytest.raises(ArtefactError, match=r"dog-000.*run dvc repro extract@animals"):
        open_features(folder, rows, "pooled", "flatten")


def test_checksums_of_fewer_images_are_refused(folder, rows):
    (folder / SUMS).unlink(missing_ok=True)
    lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "rows.csv").write_text(lines[0])
    with pytest.raises(ArtefactError, match=f"rows.csv has 0 rows for {len(rows)} images: run bottletop doctor"):
        open_features(folder, rows, "pooled", "flatten").read(np.arange(1))


def test_features_of_a_type_that_there_is_not_are_refused(folder, rows):
    (folder / SUMS).unlink(missing_ok=True)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"float16"', '"floatB6"'))
    with pytest.raises(ArtefactError, match=r"rows of floatB6 .*, got float16"):
        open_features(folder, rows, "pooled", "flatten")
