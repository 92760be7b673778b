"""JPEG files that lack only their end mark: all pixels are there, but a decoder waits for the last two bytes."""

import hashlib
import io
import re

from PIL import Image

END_MARK = b"\xff\xd9"
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # in compressed data, 0xFF precedes a zero or a restart number
_RESTARTS, _SCAN = 0xDD, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive
_FILLERS = [hashlib.shake_128(bytes([number])).digest(64).replace(b"\xff", b"\xfe") for number in range(12)]


def only_end_is_missing(data: bytes) -> bool:
    """Whether a JPEG file ends exactly after its last pixel, without its end mark.

    A decoder takes the bits after the end of the file from whatever follows, so the file is decoded several times, each
    time with other bytes appended. If all pixels are in the file, the results are equal. Without the last byte of the
    file they must differ: a file with foreign bytes at its end, such as zeros, is not complete. Files with restart
    markers are never accepted, because a decoder replaces their missing parts without reading the appended bytes.
    """
    data = data.removesuffix(b"\xff")  # half an end mark
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    try:
        return _has_all_scans(data) and _needs_no_more(data) and not _needs_no_more(data[:-1])
    except (OSError, SyntaxError, ValueError, IndexError, TypeError):  # by Pillow, or from a header that is cut off
        return False


def _needs_no_more(data: bytes) -> bool:
    """Whether the decoded pixels are the same whichever bytes follow."""
    decoded = set()
    for filler in _FILLERS:
        with Image.open(io.BytesIO(data + filler + END_MARK), formats=("JPEG",)) as image:
            decoded.add(hash(image.tobytes()))
        if len(decoded) > 1:
            return False
    return True


def _has_all_scans(data: bytes) -> bool:
    """Whether the headers of the scans cover all 64 coefficients of each component, to the last bit.

    A progressive file that is cut between two scans decodes to a blurred image.
    """
    missing = None
    position = 2
    while found := _MARKER.search(data, position):
        marker, start = data[found.end() - 1], found.end()
        position = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : position]
        if marker == _RESTARTS and any(segment):
            return False
        if marker in _FRAMES:
            missing = {(component, k) for component in segment[6::3] for k in range(64)}
        if marker == _SCAN and missing is not None:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            if bits & 15 == 0:
                missing -= {
                    (component, k) for component in segment[1 : 1 + 2 * count : 2] for k in range(first, last + 1)
                }
    return missing == set()
