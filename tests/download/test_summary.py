from bottletop.download.summary import summary

REPORT = {
    "images": 1360,
    "images_per_class": {"cat": 680, "dog": 680},
    "examples": {"photos/cat_1.jpg": "cat", "photos/dog_1.jpg": "dog"},
    "official_split": {"test": 300, "train": 1060},
    "split_names": {"Testing": "test", "train": "train"},
    "own_groups": 1200,
    "duplicate_groups": 3,
    "groups_across_official_split": 1,
    "rejected": {"empty file": 2},
    "without_contrast": {"images": 2, "examples": ["photos/dark.png"]},
    "left_out": {
        "excluded by 'bad/*'": {"files": 0, "examples": []},
        "hidden": {"files": 4, "examples": ["photos/.cat.jpg"]},
        "beside the images": {"files": 7, "examples": ["readme.txt"]},
    },
    "unused_splits": ["Testing", "train"],
    "unused_lines": {"labels.csv": {"lines": 5, "examples": ["cat_9"]}},
}


def test_the_summary_says_what_was_taken_how_names_were_understood_and_what_was_left_out() -> None:
    assert summary("pets", REPORT).splitlines() == [
        "pets: 1,360 images of 2 classes: cat 680, dog 680",
        "  photos/cat_1.jpg -> cat",
        "  photos/dog_1.jpg -> dog",
        "  official splits: test 300, train 1,060 (Testing is test)",
        "  not used: Testing, train look like official splits; to use them, write {split} in images",
        "  groups of your own: 1,200",
        "  groups of duplicates: 3",
        "  groups in several official splits: 1; split keeps the test's images, then validation's",
        "  unreadable: 2 (empty file), named in rejected.csv",
        "  nearly of one colour: 2, such as photos/dark.png",
        "  left out: 0 (excluded by 'bad/*')",
        "  left out: 4 (hidden), such as photos/.cat.jpg",
        "  left out: 7 (beside the images), such as readme.txt",
        "  no image: 5 lines of labels.csv, such as cat_9",
    ]


def test_many_classes_are_not_listed() -> None:
    counts = {f"class {number}": 100 + number for number in range(101)}
    plain = {
        "rejected": {},
        "without_contrast": {"images": 0, "examples": []},
        "left_out": {},
        "unused_lines": {},
        "unused_splits": [],
        "examples": {},
        "official_split": {},
    }
    none = {"own_groups": 0, "duplicate_groups": 0, "groups_across_official_split": 0}
    report = {"images": 15150, "images_per_class": counts, **plain, **none}
    assert summary("food", report) == "food: 15,150 images of 101 classes, 100 to 200 of each"
