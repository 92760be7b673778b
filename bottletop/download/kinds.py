"""What a file is, judged by its name alone: an image, or something that stands beside images."""

from posixpath import splitext  # pathlib takes several times as long

from bottletop.images.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES

# Descriptions and the like, which are not images although `images` may fit their names.
COMPANION_SUFFIXES = {
    *(".txt", ".md", ".html", ".htm", ".pdf", ".csv", ".tsv", ".xml", ".json", ".jsonl", ".yaml", ".yml", ".mat"),
    *(".log", ".ini", ".db", ".url", ".lnk", ".aae", ".xmp", ".py", ".sh", ".ipynb"),
}
ARCHIVE_SUFFIXES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".tbz2", ".xz", ".txz", ".zst"}
UNREAD_ARCHIVE_SUFFIXES = {".7z", ".rar"}  # of archives in formats that are not read
JUNK_NAMES = {"thumbs.db", "desktop.ini", "icon\\x0d"}  # written by Windows and macOS into any folder of photos


def is_image(name: str) -> bool:
    """Returns whether a file has the ending of an image, also of one in a format that is not read."""
    return _ending(name) in IMAGE_SUFFIXES or _ending(name) in UNREAD_SUFFIXES


def is_companion(name: str) -> bool:
    """Returns whether a file is surely no image, by its ending or because an operating system wrote it for itself."""
    return _ending(name) in COMPANION_SUFFIXES or is_junk(name)


def is_archive(name: str) -> bool:
    """Returns whether a file has the ending of an archive, which may hold images, also of one that is not read."""
    return _ending(name) in ARCHIVE_SUFFIXES | UNREAD_ARCHIVE_SUFFIXES


def is_junk(name: str) -> bool:
    """Returns whether an operating system wrote the file for itself."""
    return name.rpartition("/")[2].lower() in JUNK_NAMES


def is_hidden(name: str) -> bool:
    """Returns whether a file, or a folder that it is in, is hidden, or is where macOS keeps such files in archives."""
    return "/." in f"/{name}" or "/__MACOSX/" in f"/{name}/"


def _ending(name: str) -> str:
    return splitext(name)[1].lower()
