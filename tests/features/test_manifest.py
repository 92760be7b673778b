import json

import pytest

from bottletop.core.errors import ArtefactError, ParamsError
from bottletop.core.files import sha256_text
from bottletop.features.manifest import Manifest, ShardShape, feature_file, read_manifest, stem, write_manifest


def manifest(**changes):
    values = {
        "backbone": "vgg16",
        "weights_digest": "0" * 64,
        "preprocessing": "rgb",
        "image_side_px": 96,
        "precision": "float32",
        "dtype": "float16",
        "pooled_shape": (2560,),
        "bottleneck_shape": (3, 3, 512),
        "rows": 3,
        "ids_sha256": sha256_text(["a", "b", "c"]),
        "shards": {
            "dog-000": ShardShape(label="dog", rows=2, ids_sha256=sha256_text(["a", "b"])),
            "cat-000": ShardShape(label="cat", rows=1, ids_sha256=sha256_text(["c"])),
        },
        "versions": {"keras": "3"},
    }
    return Manifest(**{**values, **changes})


@pytest.mark.parametrize("bottleneck_shape", [(3, 3, 512), None])
def test_a_manifest_is_read_as_it_was_written(tmp_path, bottleneck_shape):
    written = manifest(bottleneck_shape=bottleneck_shape)
    write_manifest(tmp_path, written)
    assert read_manifest(tmp_path) == written
    assert list(read_manifest(tmp_path).shards) == ["dog-000", "cat-000"]  # in index order


def test_contract_is_what_decides_the_features_values_and_not_which_images():
    contract = manifest().contract()
    assert contract == {
        "backbone": "vgg16",
        "weights_digest": "0" * 64,
        "preprocessing": "rgb",
        "image_side_px": 96,
        "engine": "tensorflow",
        "precision": "float32",
    }
    assert manifest(rows=1, ids_sha256="1", shards={}, versions={}, bottleneck_shape=None).contract() == contract


def test_a_missing_manifest_says_which_stage_makes_it(tmp_path):
    with pytest.raises(ArtefactError, match="dvc repro extract@digits"):
        read_manifest(tmp_path / "digits")


def test_a_manifest_with_other_keys_is_refused(tmp_path):
    write_manifest(tmp_path, manifest())
    values = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(values | {"colour": "blue"}))
    with pytest.raises(ParamsError, match="colour"):
        read_manifest(tmp_path)


def test_features_are_named_after_their_shard(tmp_path):
    assert stem("pain au chocolat-000.tar") == "pain au chocolat-000"
    assert feature_file(tmp_path, "cat-000.tar", "pooled") == tmp_path / "cat-000.pooled.npy"
    assert feature_file(tmp_path, "cat-000.tar", "bottleneck") == tmp_path / "cat-000.npy"


def test_ids_digest_depends_on_the_order_and_the_borders_of_the_ids():
    assert sha256_text(["a", "b"]) == sha256_text(["a", "b"])
    assert len({sha256_text(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a"], [])}) == 5
