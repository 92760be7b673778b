import base64
import io

import pytest
from PIL import Image

from bottletop.core.errors import ArtefactError
from bottletop.evaluation.thumbnails import SIDE_PX, Thumbnails
from tests.pictures import jpeg, png
from tests.tiny import image_shards


def shown(thumbnail):
    kind, text = thumbnail.uri.split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 500), (112, 56)), ((300, 900), (37, 112)), ((90, 60), (90, 60))]
)
def test_a_photo_becomes_a_small_jpeg_of_the_same_shape(tmp_path, size, expected):
    [row] = image_shards(tmp_path / "shards", [("cat", jpeg(0, size))])
    thumbnail = Thumbnails(tmp_path / "shards")(row)
    kind, image = shown(thumbnail)
    assert (kind, image.size, thumbnail[1:]) == ("data:image/jpeg", expected, expected)
    assert max(image.size) <= SIDE_PX
    assert not thumbnail.tiny


def test_a_tiny_image_is_kept_pixel_for_pixel(tmp_path):
    data = png(0, (8, 8))
    [row] = image_shards(tmp_path / "shards", [("7", data)])
    thumbnail = Thumbnails(tmp_path / "shards")(row)
    kind, image = shown(thumbnail)
    assert kind == "data:image/png"
    assert image.tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    assert thumbnail.tiny


def test_an_image_that_is_shown_twice_is_read_once(tmp_path):
    [row] = image_shards(tmp_path / "shards", [("cat", jpeg(0))])
    thumbnails = Thumbnails(tmp_path / "shards")
    first = thumbnails(row)
    (tmp_path / "shards" / row.shard).unlink()
    assert thumbnails(row) == first


def test_an_image_that_was_changed_is_refused(tmp_path):
    [row] = image_shards(tmp_path / "shards", [("cat", jpeg(0))])
    shard = tmp_path / "shards" / row.shard
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8", b"\xff\xd9"))
    with pytest.raises(ArtefactError, match="is no longer the image that was downloaded"):
        Thumbnails(tmp_path / "shards")(row)
