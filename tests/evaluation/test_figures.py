import io

import numpy as np
import pytest
from PIL import Image

from bottletop.evaluation import figures
from bottletop.evaluation.figures import Mistake
from bottletop.evaluation.scores import calibration, confusion_matrix
from tests.pictures import photo

LONG = "macaroni and cheese with a very long name indeed"


def names(classes):
    return [LONG, *(f"class number {i}" for i in range(1, classes))]


def matrix(classes, skill=0.7):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 50 * classes)
    guesses = np.where(random.uniform(size=len(labels)) < skill, labels, random.integers(0, classes, len(labels)))
    return confusion_matrix(guesses, labels, classes)


def history(epochs):
    return [
        {
            "epoch": i,
            "loss": 2 / i,
            "val_loss": 2.5 / i + i / 50,
            "accuracy": 1 - 0.5 / i,
            "val_accuracy": 0.9 - 0.5 / i,
        }
        for i in range(1, epochs + 1)
    ]


def bins(classes, count=400):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(classes, 0.3), count)
    return calibration(probabilities, random.integers(0, classes, count))


def gallery(count):
    sizes = [(300, 200), (100, 400), (8, 8), (640, 40)]
    return [Mistake(photo(i, sizes[i % 4]), LONG, names(3)[i % 3], 0.99 - i / 50) for i in range(count)]


FIGURES = {
    "confusion, 2 classes": lambda: figures.confusion(matrix(2), names(2), normalised=False),
    "confusion, 10 classes": lambda: figures.confusion(matrix(10), names(10), normalised=True),
    "confusion, 30 classes": lambda: figures.confusion(matrix(30), names(30), normalised=False),
    "confusion, 101 classes": lambda: figures.confusion(matrix(101), names(101), normalised=True),
    "confusion, no mistakes": lambda: figures.confusion(matrix(3, skill=1), names(3), normalised=False),
    "confusion, a class without images": lambda: figures.confusion(np.diag([5, 0, 5]), names(3), normalised=True),
    "curves, 1 epoch": lambda: figures.curves(history(1), 1),
    "curves, 40 epochs": lambda: figures.curves(history(40), 11),
    "reliability, 2 classes": lambda: figures.reliability(bins(2), 0.1),
    "reliability, 101 classes": lambda: figures.reliability(bins(101), 0.1),
    "reliability, 1 image": lambda: figures.reliability(bins(3, count=1), 0.1),
    "mistakes, none": lambda: figures.mistakes([], 0),
    "mistakes, 1": lambda: figures.mistakes(gallery(1), 1),
    "mistakes, 12": lambda: figures.mistakes(gallery(12), 345),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_png_with_something_on_it(tmp_path, name):
    figures.write(tmp_path / "figure.png", FIGURES[name]())
    with Image.open(tmp_path / "figure.png") as image:
        image.verify()
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"
        assert max(image.size) < 3000
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


@pytest.mark.parametrize("name", ["confusion, 10 classes", "curves, 40 epochs", "mistakes, 12"])
def test_the_same_figure_has_the_same_bytes(tmp_path, name):
    for file in ("one.png", "two.png"):
        figures.write(tmp_path / file, FIGURES[name]())
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith(("confusion", "mistakes"))])
def test_nothing_is_cut_off(name):
    """All that is drawn fits into the picture, whose outermost pixels stay white."""
    file = io.BytesIO()
    FIGURES[name]().savefig(file, dpi=60, format="png")
    pixels = np.asarray(Image.open(file).convert("L"))
    assert min(edge.min() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])) == 255


@pytest.mark.parametrize(("normalised", "expected"), [(False, {"8", "2", "5"}), (True, {".80", ".20", "1.00"})])
def test_cells_hold_counts_or_shares_of_the_true_class_and_zeros_stay_empty(normalised, expected):
    figure = figures.confusion(np.array([[8, 2], [0, 5]]), ["cat", "dog"], normalised=normalised)
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_rows_are_true_classes_and_columns_predicted_ones():
    figure = figures.confusion(np.array([[8, 2], [0, 5]]), ["cat", "dog"], normalised=False)
    assert {text.get_text(): text.get_position() for text in figure.axes[0].texts}["2"] == (1, 0)  # column, row


def test_the_best_epoch_is_marked_on_both_curves():
    for axes in figures.curves(history(40), 11).axes:
        assert "best epoch: 11" in [text.get_text() for text in axes.get_legend().get_texts()]
        [dot] = [line for line in axes.lines if line.get_marker() == "o"]
        assert dot.get_xdata() == [11]


def test_the_gallery_names_guess_confidence_and_truth():
    figure = figures.mistakes([Mistake(photo(0), "cat", "dog", 0.876)], 7)
    assert figure.axes[0].get_title() == "dog 88%\ntrue: cat"
    assert figure.get_suptitle() == "The 1 most confident of 7 mistakes"


def test_long_names_are_shortened_and_a_dollar_is_no_formula(tmp_path):
    figure = figures.confusion(np.eye(2, dtype=int), [LONG, r"$\5$"], normalised=False)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["macaroni and cheese with …", r"$\5$"]
    figures.write(tmp_path / "figure.png", figure)


@pytest.mark.parametrize(("classes", "rotation"), [(["cat", "dog"], 0), ([LONG, "dog"], 90), (list("abcdefghi"), 0)])
def test_names_are_turned_where_they_would_overlap(classes, rotation):
    figure = figures.confusion(np.eye(len(classes), dtype=int), classes, normalised=False)
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {rotation}


def test_without_mistakes_the_gallery_says_so():
    assert figures.mistakes([], 0).get_suptitle() == "No mistakes on the test images"
