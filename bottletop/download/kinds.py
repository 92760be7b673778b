"""What a file is, judged by its name alone: an image, or something that stands beside images."""

from pathlib import PurePosixPath

# Also of kinds that can't be read: such files are then named, not passed over.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".dcm", ".dng", ".cr2", ".nef", ".arw", ".tga", ".svg"),
}
# Descriptions and the like, which are not images although `images` may fit their names.
COMPANION_SUFFIXES = {
    *(".txt", ".md", ".html", ".htm", ".pdf", ".csv", ".tsv", ".xml", ".json", ".jsonl", ".yaml", ".yml", ".mat"),
    *(".log", ".ini", ".db", ".url", ".lnk", ".aae", ".xmp", ".py", ".sh", ".ipynb"),
}
JUNK_NAMES = {"thumbs.db", "desktop.ini", "icon\r"}  # written by Windows and macOS into any folder of photos


def is_image(name: str) -> bool:
    """Returns whether a file has the ending of an image."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_companion(name: str) -> bool:
    """Returns whether a file is surely no image, by its ending or because an archiver or system wrote it."""
    return PurePosixPath(name).suffix.lower() in COMPANION_SUFFIXES or is_junk(name)


def is_junk(name: str) -> bool:
    """Returns whether an operating system wrote the file for itself."""
    path = PurePosixPath(name)
    return path.name.lower() in JUNK_NAMES or "__MACOSX" in path.parts


def is_hidden(name: str) -> bool:
    """Returns whether a file, or a folder that it is in, is hidden."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
