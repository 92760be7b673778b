"""The formats of image files: which are read, and the names of those that are not."""

import re
from collections.abc import Mapping
from typing import Any

READ = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM")  # Pillow's names; HEIF: see `is_heif`
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".avifs",
    ".heic", ".heif", ".heics", ".heifs", ".hif", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pfm",
})  # fmt: skip
# Endings of images in formats that are not read. Commands name such files instead of ignoring them.
UNREAD_SUFFIXES = frozenset({
    ".dcm", ".dicom", ".nii", ".svg", ".svgz", ".psd", ".psb", ".xcf", ".exr", ".hdr", ".jxl", ".jxr", ".ico", ".cur",
    ".tga", ".pcx", ".dds", ".eps", ".wmf", ".emf", ".djvu", ".fits", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw",
    ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f",
})  # fmt: skip

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_CONVERT = "not read; convert it to PNG first"
RAW_PHOTO = f"a camera's raw file: {_CONVERT}"
_REASONS = (  # the beginning of a file, as a regular expression, and why the file is rejected
    (rb".{128}DICM", f"a DICOM file: {_CONVERT}"),
    (
        rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml.{0,800}?)?(<!--.{0,800}?-->\s*)?(<!DOCTYPE svg.{0,800}?)?<svg",
        f"an SVG file: {_CONVERT}",
    ),
    (rb"(?i)(\xef\xbb\xbf)?\s*(<!--.{0,800}?-->\s*)?<(!DOCTYPE html|html|head|body)", "a web page, not an image"),
    (rb"8BPS", f"a Photoshop file: {_CONVERT}"),
    (rb"gimp xcf", f"a GIMP file: {_CONVERT}"),
    (rb"%PDF", f"a PDF file: {_CONVERT}"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", f"a PostScript file: {_CONVERT}"),
    (rb"\x76\x2f\x31\x01", f"an OpenEXR file: {_CONVERT}"),
    (rb"#\?(RADIANCE|RGBE)", f"a Radiance HDR file: {_CONVERT}"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", f"a JPEG XL file: {_CONVERT}"),
    (rb"II\xbc\x01", f"a JPEG XR file: {_CONVERT}"),
    (rb"II\x2a\x00.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\x00|FOVb", RAW_PHOTO),
    (rb"\x00\x00[\x01\x02]\x00[^\x00]\x00", f"an icon file: {_CONVERT}"),
    (rb"DDS ", f"a DDS file: {_CONVERT}"),
    (rb"AT&TFORM", f"a DjVu file: {_CONVERT}"),
    (rb"SIMPLE  =", f"a FITS file: {_CONVERT}"),
    (rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF", f"a Windows metafile: {_CONVERT}"),
    (rb"\x89HDF\r\n", f"an HDF5 file: {_CONVERT}"),
    (rb"\x93NUMPY", f"a NumPy array: {_CONVERT}"),
    (rb".{4}ftyp(isom|iso\d|mp4|M4V|qt  |3gp|avc1)|\x1aE\xdf\xa3|RIFF.{4}AVI ", "a video, not an image"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive, not an image"),
)
_STARTS = (  # of the formats that are read, except TIFF
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP|BM.{4}\x00\x00\x00\x00|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp"
)


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIF (HEIC), by its list of brands. AVIF has the same structure but other brands."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, end, 4))}
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def why_unread(data: bytes) -> str:
    """Returns why a file that Pillow cannot identify is rejected, by the file's first bytes."""
    for start, reason in _REASONS:
        if re.match(start, data[:2048], re.DOTALL):
            return reason
    if re.match(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]", data):
        return "a damaged TIFF file, or one of a kind that is not read (such as RGB floats); convert it to PNG first"
    return "truncated or corrupt" if re.match(_STARTS, data, re.DOTALL) else "not an image"


def is_raw_photo(data: bytes, tags: Mapping[int, Any]) -> bool:
    """Whether a file that Pillow opens as a TIFF is a camera's raw file, whose first image is only a preview.

    Args:
        data: the bytes of the file; Canon's raw files have a mark after the header.
        tags: of the first image; empty for other formats. Tag 50706 is DNGVersion. Bit 0 of tag 254 marks a reduced
            image, and tag 330 holds the places of the images in full size.
    """
    if not tags:
        return False
    return data[8:10] == b"CR" or 50706 in tags or (330 in tags and bool(tags.get(254, 0) & 1))
