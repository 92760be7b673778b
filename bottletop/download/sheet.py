"""Draws a contact sheet: a picture with a row of small images for each class, to see whether the classes are right."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bottletop.core.errors import DataError
from bottletop.core.files import replacing
from bottletop.download.archives import MAX_MEMBER_BYTES, Member
from bottletop.download.layout import Labelled
from bottletop.images.decoding import decode

THUMBNAIL_PX = 96
CELL_PX = THUMBNAIL_PX + 4
ROWS, COLUMNS = 30, 8
TEXT_COLUMNS = 2  # the width of the text before the images, in cells


def contact_sheet(members: Iterable[Member], found: Mapping[str, Labelled], file: Path) -> None:
    """Writes a PNG with `COLUMNS` images of each class, for the first `ROWS` classes.

    Args:
        members: of the folder or archive.
        found: the class of each image, by name.
        file: the PNG.
    """
    by_label = defaultdict(list)
    for name, labelled in found.items():
        by_label[labelled.label].append(name)
    labels = sorted(by_label)[:ROWS]
    sheet = Image.new("RGB", ((TEXT_COLUMNS + COLUMNS) * CELL_PX, len(labels) * CELL_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    places = {}
    for row, label in enumerate(labels):
        names = by_label[label]
        draw.text((4, row * CELL_PX + CELL_PX // 3), f"{label[:26]}\n{len(names)} images", "black", font)
        shown = min(COLUMNS, len(names))
        for column in range(shown):
            places[names[column * len(names) // shown]] = ((TEXT_COLUMNS + column) * CELL_PX, row * CELL_PX)
    for member in islice((each for each in members if each.name in places), len(places)):
        small = _small(member)
        if isinstance(small, str):
            draw.text(places[member.name], small, "red", font)
        else:
            sheet.paste(small, places[member.name])
    with replacing(file) as new:
        sheet.save(new, "PNG")


def _small(member: Member) -> Image.Image | str:
    """Returns the image at the size of the contact sheet, or the reason why there is none."""
    if member.size > MAX_MEMBER_BYTES:
        return "too large"
    try:
        image = decode(member.read(), THUMBNAIL_PX)
    except DataError as error:
        return str(error)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return image
