import io

import numpy as np
import pytest
from PIL import Image

from bottletop.evaluation import figures
from bottletop.evaluation.figures import Mistake
from bottletop.evaluation.scores import calibration, confusion_matrix, wilson
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
    "confusion, 2 classes": lambda: figures.confusion(matrix(2), names(2), "pets: 7 of 9 right"),
    "confusion, 10 classes": lambda: figures.confusion(matrix(10), names(10), "pets: 7 of 9 right"),
    "confusion, 30 classes": lambda: figures.confusion(matrix(30), names(30), "pets: 7 of 9 right"),
    "confusion, 101 classes": lambda: figures.confusion(matrix(101), names(101), "pets: 7 of 9 right"),
    "confusion, no mistakes": lambda: figures.confusion(matrix(3, skill=1), names(3), "pets: 7 of 9 right"),
    "confusion, a class without images": lambda: figures.confusion(np.diag([5, 0, 5]), names(3), "pets: 7 of 9 right"),
    "curves, 1 epoch": lambda: figures.curves(history(1), 1, best=False),
    "curves, 40 epochs": lambda: figures.curves(history(40), 11, best=True),
    "reliability, 2 classes": lambda: figures.reliability(bins(2), "fits"),
    "reliability, 101 classes": lambda: figures.reliability(bins(101), "fits"),
    "reliability, 1 image": lambda: figures.reliability(bins(3, count=1), "fits"),
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


@pytest.mark.parametrize(
    "name", [name for name in FIGURES if name.startswith(("confusion", "mistakes", "reliability"))]
)
def test_nothing_is_cut_off(name):
    """All that is drawn fits into the picture, whose outermost pixels stay white."""
    file = io.BytesIO()
    FIGURES[name]().savefig(file, dpi=60, format="png")
    pixels = np.asarray(Image.open(file).convert("L"))
    assert min(edge.min() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])) == 255


def test_cells_hold_counts_and_zeros_stay_empty():
    axes = figures.confusion(np.array([[8, 2], [0, 5]]), ["cat", "dog"], "pets").axes[0]
    assert {text.get_text() for text in axes.texts} == {"8", "2", "5"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "pets")


def test_mistakes_have_a_colour_scale_of_their_own():
    matrix = np.array([[99, 1, 0], [0, 100, 0], [0, 0, 100]])
    right, wrong = figures.confusion(matrix, ["ant", "bee", "cat"], "insects").axes[0].images
    assert (right.get_clim(), wrong.get_clim()) == ((0, 1), (0, 0.01))


def test_confused_classes_stand_together():
    matrix = np.diag([9, 9, 9, 9])
    matrix[0, 3] = 5
    axes = figures.confusion(matrix, ["ant", "bee", "cat", "dog"], "animals").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "dog", "bee", "cat"]


def test_the_reliability_shows_the_interval_and_the_number_of_images_of_each_bin():
    figure = figures.reliability(np.array([[0.5, 0.4, 10], [0.98, 1.0, 90]]), "over-confident")
    upper, lower = figure.axes
    assert upper.get_title() == "over-confident"
    segments = np.array([segment[:, 1] for segment in upper.collections[0].get_segments()])
    np.testing.assert_allclose(segments, [wilson(4, 10), wilson(90, 90)])
    assert [text.get_text() for text in lower.texts] == ["10", "90"]


def test_rows_are_true_classes_and_columns_predicted_ones():
    figure = figures.confusion(np.array([[8, 2], [0, 5]]), ["cat", "dog"], "pets: 7 of 9 right")
    assert {text.get_text(): text.get_position() for text in figure.axes[0].texts}["2"] == (1, 0)  # column, row


@pytest.mark.parametrize(("best", "said"), [(True, "best epoch, kept: 11"), (False, "last epoch, kept: 11")])
def test_the_epoch_of_the_model_is_marked_on_both_curves_and_called_best_only_if_it_is(best, said):
    for axes in figures.curves(history(40), 11, best=best).axes:
        assert said in [text.get_text() for text in axes.get_legend().get_texts()]
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [list(dot.get_xdata()) for dot in dots] == [[11], [11]]


def test_the_gallery_names_guess_confidence_and_truth():
    figure = figures.mistakes([Mistake(photo(0), "cat", "dog", 0.876)], 7)
    assert figure.axes[0].get_title() == "dog 88%\ntrue: cat"
    assert figure.get_suptitle() == "The 1 most confident of 7 mistakes"


def test_long_names_are_shortened_and_a_dollar_is_no_formula(tmp_path):
    figure = figures.confusion(np.eye(2, dtype=int), [LONG, r"$\5$"], "pets: 7 of 9 right")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["macaroni and cheese with …", r"$\5$"]
    figures.write(tmp_path / "figure.png", figure)


@pytest.mark.parametrize(("classes", "rotation"), [(["cat", "dog"], 0), ([LONG, "dog"], 90), (list("abcdefghi"), 0)])
def test_names_are_turned_where_they_would_overlap(classes, rotation):
    figure = figures.confusion(np.eye(len(classes), dtype=int), classes, "pets: 7 of 9 right")
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {rotation}


def test_without_mistakes_the_gallery_says_so():
    assert figures.mistakes([], 0).get_suptitle() == "No mistakes on the test images"
