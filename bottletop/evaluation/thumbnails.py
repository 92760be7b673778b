"""Small copies of images, as text that an HTML page shows without another file."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from bottletop.core.errors import ArtefactError, DataError
from bottletop.images.decoding import decode
from bottletop.images.index import ImageRow, read_shard

SIDE_PX = 112  # longest side
TINY_PX = 48  # images up to this side are kept pixel for pixel


class Thumbnail(NamedTuple):
    """A small copy of an image."""

    uri: str  # the file as a data: address
    width: int  # pixels
    height: int  # pixels

    @property
    def tiny(self) -> bool:
        """Whether the image is so small that it is shown with its pixels as squares."""
        return max(self.width, self.height) <= TINY_PX


class Thumbnails:
    """Reads images from their shards. Each image is read once, however often it is shown."""

    def __init__(self, shards: Path) -> None:
        """Reads from this folder of shards."""
        self._shards = shards
        self._made: dict[str, Thumbnail] = {}

    def __call__(self, row: ImageRow) -> Thumbnail:
        """Returns the image's thumbnail; equal images give equal text.

        Raises:
            ArtefactError: the image or its shard is damaged.
        """
        if row.id not in self._made:
            [data] = read_shard(self._shards / row.shard, [row])
            try:
                self._made[row.id] = _small(decode(data, SIDE_PX))
            except DataError as error:  # `download` could decode it: another version of Pillow, or too little memory
                raise ArtefactError(f"{row.shard}: {row.source} can't be decoded ({error})", "run dvc repro") from error
        return self._made[row.id]


def _small(image: Image.Image) -> Thumbnail:
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    file, kind = io.BytesIO(), "PNG" if max(image.size) <= TINY_PX else "JPEG"
    image.save(file, kind, quality=72)
    text = base64.b64encode(file.getvalue()).decode()
    return Thumbnail(f"data:image/{kind.lower()};base64,{text}", *image.size)
