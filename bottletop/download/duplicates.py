"""Groups of exact and near duplicates, so that no picture is in two splits.

Candidates are pairs whose 64-bit perceptual hashes (pHash, from a discrete cosine transform of 32 x 32 grey pixels)
differ in at most 7 bits. They are confirmed on the pixels: the correlation of the same 32 x 32 pixels must exceed 0.99.
Correlation is invariant to exposure and contrast. Measured: all 68 repeated pairs of Flowers-17 are found, and no
others; of 1,797 handwritten digits, 390 pairs are candidates and none is confirmed.

The hash is that of ImageHash, which follows Krawetz (2011), "Looks Like It", The Hacker Factor Blog.
"""

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PX = 32
MAX_HASH_BITS = 7  # over four 16-bit words: at least one word of a pair differs in at most one bit
WORD_BITS = 16
MIN_CORRELATION = 0.99
MIN_CONTRAST = 2.0  # standard deviation in grey levels; flatter images have no meaningful hash
BLOCK = 1024  # pairs of thumbnails compared at once; bounds the memory
COMPARED_AT_ONCE = 1 << 20  # pairs of hashes compared at once, approximately; bounds the memory


def perceptual_hash(small: NDArray[np.uint8]) -> str:
    """Returns the perceptual hash of a thumbnail as 16 hex digits; empty for an image without contrast.

    Args:
        small: from `thumbnail`: uint8, (32, 32).
    """
    return str(imagehash.phash(Image.fromarray(small))) if small.std() >= MIN_CONTRAST else ""


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Reduces an image to 32 x 32 grey pixels, each roughly the mean of its box.

    The means are approximate because large images are first reduced by a whole number.

    Returns:
        uint8, (32, 32).
    """
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=2.0).convert("L"))


class Thumbnails:
    """Thumbnails in a file, a kilobyte per image, so that memory does not grow with the number of images."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, small: NDArray[np.uint8]) -> None:
        """Appends a thumbnail: uint8, (32, 32)."""
        self._file.write(small.tobytes())

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Reads the thumbnails at these positions, in the order in which they were added.

        Returns:
            uint8, (len(positions), 32, 32).
        """
        self._file.flush()
        result = np.empty((len(positions), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
        for small, position in zip(result, positions.tolist(), strict=True):
            os.preadv(self._file.fileno(), [small.data], position * small.nbytes)
        return result


def near_duplicates(hashes: Sequence[str], thumbnails: Thumbnails) -> list[tuple[int, int]]:
    """Finds the pairs of near and exact duplicates.

    Args:
        hashes: from `perceptual_hash`; images with an empty one are in no pair.
        thumbnails: of the same images; only those of candidates are read.

    Returns:
        Confirmed pairs of positions, (smaller, larger), sorted.
    """
    hashed = np.array([i for i, value in enumerate(hashes) if value], np.int64)
    bits = np.array([int(hashes[i], 16) for i in hashed], np.uint64)
    pairs: set[tuple[int, int]] = set()
    for left, right in _candidates(bits):
        for start in range(0, len(left), BLOCK):
            first, second = hashed[left[start : start + BLOCK]], hashed[right[start : start + BLOCK]]
            same = _correlation(thumbnails.read(first), thumbnails.read(second)) > MIN_CORRELATION
            pairs.update(zip(first[same].tolist(), second[same].tolist(), strict=True))
    return sorted(pairs)


def group(ids: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Returns the name of each image's group: the images connected by equal ids or by near-duplicate pairs.

    A group's name is the first 16 digits of its smallest id, so it does not depend on the order of the images.

    Args:
        ids: SHA-256 of each image in hex; exact duplicates have the same id.
        pairs: positions of near duplicates, from `near_duplicates`.
    """
    # Takes 0.3 s to import. Sweeps and recipes import this module too, to check settings.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = sorted({ids[position] for pair in pairs for position in pair})
    number = {id_: position for position, id_ in enumerate(nodes)}
    edges = np.array([[number[ids[left]], number[ids[right]]] for left, right in pairs], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    _, smallest = np.unique(component, return_index=True)  # nodes are sorted, so the first of each is its smallest
    group_of = {id_: nodes[smallest[component[position]]] for id_, position in number.items()}
    return [group_of.get(id_, id_)[:16] for id_ in ids]


def _candidates(bits: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields pairs of positions, (smaller, larger), whose hashes differ in at most `MAX_HASH_BITS`, in blocks.

    For each of the four words, hashes are compared if the words are equal or differ in one bit. A pair may therefore
    occur several times.
    """
    for shift in range(0, 64 if len(bits) else 0, WORD_BITS):
        words = ((bits >> np.uint64(shift)) & np.uint64((1 << WORD_BITS) - 1)).astype(np.int64)
        order = np.argsort(words, kind="stable")
        counts = np.bincount(words, minlength=1 << WORD_BITS)
        starts = np.cumsum(counts) - counts  # where each word begins in `order`
        for flipped in (0, *(1 << bit for bit in range(WORD_BITS))):
            wanted = words ^ flipped
            compared = np.cumsum(counts[wanted])
            ends = np.searchsorted(compared, range(COMPARED_AT_ONCE, compared[-1], COMPARED_AT_ONCE))
            for rows in np.split(np.arange(len(bits)), ends):
                partners = counts[wanted[rows]]
                left = np.repeat(rows, partners)
                before = np.repeat(np.cumsum(partners) - partners, partners)
                right = order[starts[wanted[left]] + np.arange(len(left)) - before]
                near = (left < right) & (np.bitwise_count(bits[left] ^ bits[right]) <= MAX_HASH_BITS)
                if near.any():
                    yield left[near], right[near]


def _correlation(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns Pearson's correlation of each pair of thumbnails: float64, (n,)."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (left, right))
    a -= a.mean(1, keepdims=True)
    b -= b.mean(1, keepdims=True)
    return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)).clip(1e-12))
