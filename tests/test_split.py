from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottletop.core.errors import ArtefactError, DataError, ParamsError
from bottletop.core.paths import PARAMS
from bottletop.core.settings import parse
from bottletop.images.index import ImageRow
from bottletop.split import DROPPED, SPLITS, SplitParams, assign_splits, check_classes, doubt, read_split, write_split


def params(**values) -> SplitParams:
    return parse(
        SplitParams, {"validation": 0.1, "test": 0.1, "official_test": True, "seed": 0} | values, "split", PARAMS
    )


def image(name: str, label: str = "cat", group: str | None = None, official: str = "") -> ImageRow:
    return ImageRow(
        name, label, f"{label}-000.tar", 0, 1, 9, 9, "RGB", "", group or name, official, f"{label}/{name}.jpg"
    )


def images(count: int, label: str = "cat", official: str = "") -> list[ImageRow]:
    """Each in a group of its own."""
    return [image(f"{label}{official}{number}", label, official=official) for number in range(count)]


def splits(rows) -> dict[str, str]:
    return {row.id: row.split for row in rows}


def counts(rows) -> dict[tuple[str, str], int]:
    return dict(Counter((row.label, row.split) for row in rows))


# Without an official test set


def test_each_class_is_divided_by_the_fractions():
    rows = assign_splits(images(100, "cat") + images(50, "dog"), params(validation=0.2, test=0.1))
    assert counts(rows) == {
        ("cat", "train"): 70,
        ("cat", "validation"): 20,
        ("cat", "test"): 10,
        ("dog", "train"): 35,
        ("dog", "validation"): 10,
        ("dog", "test"): 5,
    }


@pytest.mark.parametrize(("number", "expected"), [(3, (1, 1, 1)), (14, (12, 1, 1)), (16, (12, 2, 2)), (26, (20, 3, 3))])
def test_a_side_gets_the_nearest_whole_number_of_images_but_one_at_least(number, expected):
    found = counts(assign_splits(images(number), params()))
    assert tuple(found["cat", split] for split in SPLITS) == expected


def test_the_exact_split_of_a_small_example_is_the_same_on_every_machine():
    """In the order of the digests of "0:g0" … "0:g9": first test is filled, then validation."""
    rows = assign_splits([image(f"g{number}") for number in range(10)], params(validation=0.3, test=0.2))
    in_order = ["g1", "g0", "g8", "g6", "g9", "g4", "g2", "g7", "g5", "g3"]
    expected = ["test"] * 2 + ["validation"] * 3 + ["train"] * 5
    assert splits(rows) == dict(zip(in_order, expected, strict=True))


def test_rows_come_in_the_order_of_the_images_with_their_data():
    rows = assign_splits(images(30), params())
    assert [row.id for row in rows] == [row.id for row in images(30)]
    assert rows[0][:4] == ("cat0", "cat", "cat-000.tar", "cat0")
    assert rows[0].source == "cat/cat0.jpg"


@given(st.permutations(images(12, "cat") + images(9, "dog") + [image("x", "cat", "cat3"), image("y", "dog", "dog3")]))
def test_split_is_unchanged_when_listing_order_changes(shuffled):
    listed = images(12, "cat") + images(9, "dog") + [image("x", "cat", "cat3"), image("y", "dog", "dog3")]
    assert splits(assign_splits(shuffled, params())) == splits(assign_splits(listed, params()))


def test_another_seed_gives_another_split():
    assert splits(assign_splits(images(100), params(seed=0))) != splits(assign_splits(images(100), params(seed=1)))


def test_the_split_of_a_class_does_not_change_when_another_class_is_left_out():
    both = splits(assign_splits(images(50, "cat") + images(50, "dog"), params()))
    assert splits(assign_splits(images(50, "cat"), params())).items() <= both.items()


def test_a_few_new_images_move_few_others():
    before, after = splits(assign_splits(images(1000), params())), splits(assign_splits(images(1010), params()))
    assert sum(before[name] != after[name] for name in before) <= 10


# Duplicates


@given(st.lists(st.integers(0, 15), min_size=60, max_size=60))
def test_a_group_of_duplicates_is_on_one_side(groups):
    lone = images(20)
    rows = assign_splits(
        lone + [image(f"i{i}", "cat", f"g{g}") for i, g in enumerate(groups)], params(validation=0.2, test=0.2)
    )
    assert max(Counter(group for group, _ in {(row.group, row.split) for row in rows}).values()) == 1


def test_a_group_of_several_classes_is_on_one_side():
    rows = assign_splits([*images(20, "cat"), *images(20, "dog"), image("dog in cat", "dog", "cat5")], params())
    assert splits(rows)["dog in cat"] == splits(rows)["cat5"]


def test_large_groups_do_not_make_a_side_too_large():
    rows = [image(f"{group}-{number}", "cat", f"g{group}") for group in range(20) for number in range(group + 1)]
    found = counts(assign_splits(rows, params(validation=0.1, test=0.1)))
    assert (found["cat", "validation"], found["cat", "test"]) <= (21, 21)
    assert found["cat", "train"] >= 168


# With an official test set


def official(train: int = 50, test: int = 20) -> list[ImageRow]:
    return images(train, official="train") + images(test, official="test")


def test_the_official_test_set_is_kept_whole():
    rows = assign_splits(official(), params())
    assert {row.id for row in rows if row.split == "test"} == {row.id for row in official() if row.official == "test"}


def test_validation_is_a_fraction_of_the_official_training_images():
    assert counts(assign_splits(official(50, 20), params(validation=0.2, test=0.4))) == {
        ("cat", "train"): 40,
        ("cat", "validation"): 10,
        ("cat", "test"): 20,
    }


def test_training_copies_of_official_test_images_are_dropped():
    copy = image("copy", official="train", group="cattest7")
    rows = assign_splits([*official(), copy], params())
    assert {name for name, split in splits(rows).items() if split == DROPPED} == {"copy"}
    assert splits(rows)["cattest7"] == "test"


def test_copies_within_the_official_test_set_are_kept():
    copy = image("copy", official="test", group="cattest7")
    assert splits(assign_splits([*official(), copy], params()))["copy"] == "test"


def test_the_official_test_set_can_be_ignored():
    rows = assign_splits(official(50, 50), params(official_test=False))
    assert counts(rows) == {("cat", "train"): 80, ("cat", "validation"): 10, ("cat", "test"): 10}
    assert {row.split for row in rows if row.id.startswith("cattest")} == set(SPLITS)


def test_a_copy_across_the_ignored_official_split_is_kept_beside_its_original():
    copy = image("copy", official="train", group="cattest7")
    rows = splits(assign_splits([*official(), copy], params(official_test=False)))
    assert rows["copy"] == rows["cattest7"] != DROPPED


# With an official validation set


def official_with_validation() -> list[ImageRow]:
    return [*official(50, 20), *images(10, official="validation")]


def test_the_official_validation_set_is_the_validation_split():
    assert counts(assign_splits(official_with_validation(), params())) == {
        ("cat", "train"): 50,
        ("cat", "validation"): 10,
        ("cat", "test"): 20,
    }


def test_without_an_official_test_set_the_test_comes_from_the_official_training_images():
    rows = [image for image in official_with_validation() if image.official != "test"]
    assigned = assign_splits(rows, params(test=0.2))
    assert counts(assigned) == {("cat", "train"): 40, ("cat", "validation"): 10, ("cat", "test"): 10}
    assert {row.id for row in assigned if row.split == "test"} < {f"cattrain{number}" for number in range(50)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("train", "validation", {"first": DROPPED, "second": "validation"}),
        ("train", "test", {"first": DROPPED, "second": "test"}),
        ("validation", "test", {"first": DROPPED, "second": "test"}),
        ("test", "validation", {"first": "test", "second": DROPPED}),
    ],
)
def test_of_a_group_in_two_official_splits_test_wins_over_validation_and_validation_over_train(first, second, expected):
    pair = [image("first", group="patient", official=first), image("second", group="patient", official=second)]
    assert splits(assign_splits([*pair, *official_with_validation()], params())).items() >= expected.items()


def test_all_official_sets_can_be_ignored_together():
    rows = assign_splits(official_with_validation(), params(official_test=False))
    assert counts(rows) == {("cat", "train"): 64, ("cat", "validation"): 8, ("cat", "test"): 8}


# Too few images


def test_a_class_of_too_few_images_is_named():
    with pytest.raises(
        DataError,
        match=r"class 'rare bird' needs at least 3 separate images, .*; it has 2 images: add",
    ):
        assign_splits(images(20) + images(2, "rare bird"), params())


def test_three_images_of_each_class_are_enough():
    rows = assign_splits(images(3) + images(3, "dog"), params())
    assert set(counts(rows).values()) == {1}
    assert len(counts(rows)) == 6


@pytest.mark.parametrize(("tested", "low"), [(2, "34%"), (4, "51%"), (29, "88%")])
def test_what_few_test_images_cannot_measure_is_said(tested, low):
    rows = assign_splits(images(tested, official="test") + images(50), params())
    assert f"only {tested} test images" in doubt(rows)
    assert doubt(rows).endswith(f"between {low} and 100%")


def test_nothing_is_said_of_enough_test_images():
    assert doubt(assign_splits(images(30, official="test") + images(50), params())) == ""


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match="there is only one class, 'cat': give a folder with one subfolder per class"):
        check_classes(images(20))
    check_classes(images(1) + images(1, "dog"))


def test_copies_do_not_make_a_class_large_enough():
    rows = [image(f"{number}", group=f"g{number % 2}") for number in range(20)]
    with pytest.raises(
        DataError,
        match=r"class 'cat' needs at least 3 separate images, .*; it has 20 images in 2 groups",
    ):
        assign_splits(rows, params())


def test_a_class_that_the_official_test_set_lacks_is_named():
    with pytest.raises(DataError, match="class 'dog' has no images for test"):
        assign_splits(official() + images(20, "dog", "train"), params())


def test_a_class_that_is_in_the_official_test_set_alone_is_named():
    with pytest.raises(DataError, match="class 'dog' has no images for train"):
        assign_splits(official() + images(20, "dog", "test"), params())


def test_a_class_whose_groups_are_all_too_large_for_a_side_is_named():
    rows = [image(f"{number}", group=f"g{number % 4}") for number in range(40)]
    with pytest.raises(DataError, match="class 'cat' has no images for validation"):
        assign_splits(rows, params())


def test_one_huge_group_is_named_with_its_size_and_the_setting_for_fixed_cameras():
    """The group counts for the class that comes first by name, but the message counts the class's own images."""
    rows = [image(f"{label}{number}", label, group="all") for label in ("day", "night") for number in range(30)]
    with pytest.raises(DataError) as caught:
        assign_splits(rows, params())
    assert "class 'day' needs at least 3 separate images, for train, validation, test" in caught.value.problem
    assert "it has 30 images in 1 groups" in caught.value.problem
    assert "the largest group has 60 images (of all classes), which must be in one split" in caught.value.problem
    assert "set download.near_duplicates in params.yaml to ignore or drop" in caught.value.fix


@pytest.mark.parametrize("values", [{"validation": 0}, {"test": 1}, {"validation": 0.6, "test": 0.4}, {"seed": 0.5}])
def test_fractions_that_leave_a_side_empty_are_refused(values):
    with pytest.raises(ParamsError, match=r"edit params\.yaml"):
        params(**values)


# The file


def test_a_split_comes_back_as_it_was(tmp_path):
    index = images(5, 'lily, of "the" valley')
    index[0] = index[0]._replace(source="été.jpg")
    rows = assign_splits(index, params())
    rows[0] = rows[0]._replace(split=DROPPED)
    write_split(tmp_path / "split.csv", rows)
    assert read_split(tmp_path / "split.csv", index) == rows


def test_a_split_of_other_images_than_the_index_is_refused(tmp_path):
    index = images(5, "lily")
    write_split(tmp_path / "split.csv", assign_splits(index, params()))
    for others in (index[::-1], index[1:], [index[0]._replace(group="other"), *index[1:]]):
        with pytest.raises(ArtefactError, match=r"split.csv does not fit the index .*: run dvc repro split@split, or"):
            read_split(tmp_path / "split.csv", others)


def test_no_changed_bit_of_a_split_goes_unnoticed(tmp_path):
    index = images(5, "lily")
    write_split(tmp_path / "split.csv", assign_splits(index, params()))
    data = (tmp_path / "split.csv").read_bytes()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "split.csv").write_bytes(changed)
        with pytest.raises(ArtefactError):
            read_split(tmp_path / "split.csv", index)


@pytest.mark.parametrize("text", ["", "id,label,split\n"])
def test_a_split_of_other_columns_is_refused(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ArtefactError, match=r"split.csv has other columns than id, label, .*: run dvc repro"):
        read_split(tmp_path / "split.csv", [])
