"""Draws a contact sheet: a picture with a row of small images for each class, to see whether the classes are right."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bottletop.core.errors import DataError
from bottletop.core.files import replacing
from bottletop.core.terminal import say
from bottletop.download.archives import MAX_MEMBER_BYTES, Member
from bottletop.download.layout import Labelled
from bottletop.images.decoding import decode

THUMBNAIL_PX = 96
CELL_PX = THUMBNAIL_PX + 4
ROWS, COLUMNS = 30, 8
TEXT_COLUMNS = 2  # the width of the text before the images, in cells
FONT_PX = 13


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
    draw, plain, fonts = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX), _fonts(labels)
    places = {}
    for row, label in enumerate(labels):
        names = by_label[label]
        draw.text((4, row * CELL_PX + 30), label[:26], "black", fonts.get(label, plain))
        draw.text((4, row * CELL_PX + 50), f"{len(names)} images", "black", plain)
        shown = min(COLUMNS, len(names))
        for column in range(shown):
            places[names[column * len(names) // shown]] = ((TEXT_COLUMNS + column) * CELL_PX, row * CELL_PX)
    for member in islice((each for each in members if each.name in places), len(places)):
        small = _small(member)
        if isinstance(small, str):
            draw.text(places[member.name], small, "red", plain)
        else:
            sheet.paste(small, places[member.name])
    with replacing(file) as new:
        sheet.save(new, "PNG")


def _fonts(labels: Sequence[str]) -> dict[str, ImageFont.FreeTypeFont]:
    """Returns a font of this machine for each name with letters beyond ASCII, which Pillow's own font lacks.

    A name that no font has all letters of is not in it; a message on stderr names it.
    """
    others = {label: set(label[:26]) for label in labels if not label.isascii()}
    fonts = {}
    for path, letters in _letters() if others else ():
        for label in [label for label, needed in others.items() if needed <= letters]:
            fonts[label] = ImageFont.truetype(path, FONT_PX)
            del others[label]
        if not others:
            break
    if others:
        names = ", ".join(others)
        say(
            f"no font on this machine has all letters of {names}: the contact sheet shows boxes; install a font "
            "that has them, such as Noto Sans CJK (fonts-noto-cjk)",
            file=sys.stderr,
        )
    return fonts


def _letters() -> Iterator[tuple[str, set[str]]]:
    """Yields the path and the letters of each font, that of Matplotlib first."""
    from matplotlib.font_manager import findfont  # takes half a second to import
    from matplotlib.ft2font import FT2Font

    from bottletop.core.fonts import installed

    plain = findfont("DejaVu Sans")
    for path, font in chain([(plain, FT2Font(plain))], installed()):
        yield path, set(map(chr, font.get_charmap()))


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
