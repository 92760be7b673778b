import tempfile
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from bottletop.download.duplicates import Thumbnails, group, near_duplicates, perceptual_hash, thumbnail
from bottletop.images.decoding import decode
from tests.pictures import encode, photo

SIZE = (320, 240)
IDS = [f"{letter}{number:063x}" for number, letter in enumerate("fedcba98")]


def on_disk(thumbnails) -> Thumbnails:
    stored = Thumbnails(tempfile.TemporaryFile())  # noqa: SIM115 (closed with the last use)
    for small in thumbnails:
        stored.add(small)
    return stored


def pairs_of(pictures) -> list[tuple[int, int]]:
    thumbnails = [thumbnail(picture) for picture in pictures]
    return near_duplicates([perceptual_hash(small) for small in thumbnails], on_disk(thumbnails))


def recompressed(image):
    return decode(encode(image, "JPEG", quality=30))


def smaller(image):
    return image.resize((160, 120), Image.Resampling.BICUBIC)


def brighter(image):
    return ImageEnhance.Brightness(image).enhance(1.15)


def duller(image):
    return ImageEnhance.Contrast(image).enhance(0.6)


def grey(image):
    return image.convert("L").convert("RGB")


# Which pictures are near duplicates


@pytest.mark.parametrize("change", [recompressed, smaller, brighter, duller, grey])
@pytest.mark.parametrize("seed", range(4))
def test_a_changed_copy_is_a_near_duplicate(change, seed):
    assert pairs_of([photo(seed, SIZE), change(photo(seed, SIZE))]) == [(0, 1)]


def test_different_pictures_are_no_near_duplicates():
    assert pairs_of([photo(seed) for seed in range(200)]) == []


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT])
def test_a_turned_or_mirrored_picture_is_another_picture(turn):
    assert pairs_of([photo(0, SIZE), photo(0, SIZE).transpose(turn)]) == []


def test_of_many_pictures_just_the_copies_are_paired():
    pictures = [photo(seed, SIZE) for seed in range(30)]
    pictures[17], pictures[20] = recompressed(pictures[3]), brighter(pictures[9])
    assert pairs_of(pictures) == [(3, 17), (9, 20)]


def test_pairs_do_not_depend_on_the_size_of_blocks(monkeypatch):
    pictures = [change(photo(seed, SIZE)) for seed in range(8) for change in (smaller, brighter, duller)]
    expected = pairs_of(pictures)
    assert len(expected) == 8 * 3
    monkeypatch.setattr("bottletop.download.duplicates.BLOCK", 5)
    monkeypatch.setattr("bottletop.download.duplicates.COMPARED_AT_ONCE", 5)
    assert pairs_of(pictures) == expected


@pytest.mark.parametrize("colour", ["black", "white", (90, 90, 90)])
def test_flat_pictures_have_no_hash_and_are_in_no_pair(colour):
    flat = Image.new("RGB", SIZE, colour)
    assert perceptual_hash(thumbnail(flat)) == ""
    assert pairs_of([flat, flat, photo(0)]) == []


def test_one_picture_or_none_has_no_pair():
    assert pairs_of([photo(0)]) == []
    assert near_duplicates([], on_disk([])) == []


@pytest.mark.parametrize(("bits", "expected"), [(7, [(0, 1)]), (8, [])])
def test_hashes_may_differ_in_seven_bits(bits, expected):
    """Two in each of three words and one in the fourth are the hardest to find."""
    other = sum(1 << 8 * byte for byte in range(bits))
    picture = thumbnail(photo(0))
    assert near_duplicates([f"{0:016x}", f"{other:016x}"], on_disk([picture, picture])) == expected


def test_like_hashes_are_not_enough():
    assert near_duplicates(["f" * 16] * 2, on_disk([thumbnail(photo(0)), thumbnail(photo(1))])) == []


def test_no_two_of_the_handwritten_digits_are_near_duplicates():
    digits = (load_digits().images * 255 / 16).round().astype(np.uint8)
    assert pairs_of([Image.fromarray(pixels).convert("RGB") for pixels in digits]) == []


def test_thumbnails_come_back_in_any_order():
    thumbnails = [thumbnail(photo(seed)) for seed in range(3)]
    np.testing.assert_array_equal(on_disk(thumbnails).read(np.array([2, 0, 2])), np.stack(thumbnails)[[2, 0, 2]])


def test_a_hash_is_16_hex_digits():
    assert len(perceptual_hash(thumbnail(photo(0)))) == 16
    assert int(perceptual_hash(thumbnail(photo(0))), 16) > 0


def test_a_thumbnail_is_the_mean_of_boxes():
    checks = Image.fromarray(np.kron(np.eye(32, dtype=np.uint8) * 200, np.array([[1, 0], [0, 1]], np.uint8)))
    assert (thumbnail(checks) == np.eye(32) * 100).all()


# Groups


def test_a_picture_without_duplicates_is_a_group_named_by_its_own_id():
    assert group(IDS, []) == [id_[:16] for id_ in IDS]


def test_files_of_the_same_bytes_are_a_group():
    assert group([IDS[0], IDS[1], IDS[0]], []) == [IDS[0][:16], IDS[1][:16], IDS[0][:16]]


def test_a_group_is_named_by_its_smallest_id():
    assert group(IDS[:3], [(0, 2)]) == [IDS[2][:16], IDS[1][:16], IDS[2][:16]]


def test_what_a_chain_of_pairs_connects_is_one_group():
    chain = list(pairwise(range(len(IDS))))
    assert set(group(IDS, chain)) == {min(IDS)[:16]}


def test_exact_duplicates_connect_pairs():
    """The first and the third are the same file: so what they are like belongs together."""
    assert len(set(group([IDS[0], IDS[1], IDS[0], IDS[3]], [(0, 1), (2, 3)]))) == 1


@given(
    order=st.permutations(range(len(IDS))),
    pairs=st.lists(st.tuples(st.integers(0, len(IDS) - 1), st.integers(0, len(IDS) - 1)), max_size=6),
)
def test_groups_do_not_depend_on_the_order_of_pictures_or_pairs(order, pairs):
    expected = dict(zip(IDS, group(IDS, pairs), strict=True))
    shuffled = [IDS[i] for i in order]
    moved = [(order.index(left), order.index(right)) for left, right in reversed(pairs)]
    assert dict(zip(shuffled, group(shuffled, moved), strict=True)) == expected
