import numpy as np
import pytest

from bottletop.evaluation import charts, drawings
from bottletop.evaluation.charts import Chart
from tests.report_pages import COLUMNS, HISTORY, make

COUNTS = np.array([[9, 1, 0], [0, 10, 0], [2, 0, 98]])
NAMES = ("ant", "bee", "cat")


def chart(x_range=(0, 10), y_range=(0, 1), **changes):
    return Chart(title="", text="", x_label="", y_label="", x_range=x_range, y_range=y_range, **changes)


def test_values_lie_between_the_margins():
    assert (chart().x(0), chart().x(10)) == (charts.LEFT, charts.WIDTH - charts.RIGHT)
    assert (chart().y(0), chart().y(1)) == (charts.HEIGHT - charts.BOTTOM, charts.TOP)


@pytest.mark.parametrize(
    ("bounds", "whole", "texts"),
    [
        ((-0.03, 1.03), False, ["0", "0.25", "0.5", "0.75", "1"]),
        ((0, 4000), True, ["0", "1,000", "2,000", "3,000", "4,000"]),
        ((0.2, 1.8), True, ["1"]),
        ((-0.05, 0.05), False, ["-0.04", "-0.02", "0", "0.02", "0.04"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(bounds, whole, texts):
    assert [text for _, text in chart(x_range=bounds, whole_x=whole).x_ticks] == texts


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.1, 0.9]])
def test_a_range_holds_all_values_with_room_on_both_sides(values):
    low, high = charts.around(values)
    assert low < min(values)
    assert high > max(values)


def test_the_matrix_has_a_cell_for_each_pair_with_images():
    drawing = charts.matrix(COUNTS, NAMES, [0, 1, 2])
    assert [(cell.images, cell.right) for cell in drawing.cells] == [
        (9, True),
        (1, False),
        (10, True),
        (2, False),
        (98, True),
    ]
    assert drawing.cells[1].title == "ant, taken for bee: 1 image, 10.0% of its class"


def test_the_most_frequent_mistake_is_as_strong_as_a_class_that_is_always_right():
    """Mistakes have a scale of their own, by their share of the true class."""
    drawing = charts.matrix(COUNTS, NAMES, [0, 1, 2])
    assert [cell.strength for cell in drawing.cells] == [0.73, 0.8, 0.8, 0.22, 0.79]


def test_the_order_of_the_classes_holds_for_rows_and_columns():
    drawing = charts.matrix(COUNTS, NAMES, [2, 0, 1])
    assert [label.text for label in drawing.labels] == ["cat", "ant", "bee"]
    cat, ant, _ = drawing.labels
    [mistake] = [cell for cell in drawing.cells if cell.images == 2]
    place = (mistake.x + drawing.side / 2, mistake.y + drawing.side / 2)
    assert place == (ant.x, cat.y)  # predicted ant, truly cat


def test_labels_are_shortened_and_keep_the_whole_name():
    [label, _] = charts.matrix(np.eye(2, dtype=int), ["W" * 200, "x"], [0, 1]).labels
    assert (len(label.text), label.name) == (charts.LONGEST_NAME, "W" * 200)


def test_the_epoch_of_the_model_is_marked_in_both_curves(tmp_path):
    history = [dict(zip(COLUMNS, row, strict=True)) for row in HISTORY]
    accuracy, loss = drawings.learning(history, make(tmp_path, NAMES).report)
    assert (accuracy.title, loss.title) == ("Accuracy", "Loss")
    assert [(dot.x, dot.y) for dot in loss.dots] == [(3, 0.5), (3, 0.9)]
    assert loss.lines[2].points == [(1, 1.6), (2, 1.1), (3, 0.9)]
    low, high = loss.y_range
    assert 0 < low < 0.5  # the axis shows the curve, not the way down to 0
    assert high < 1.8


def test_the_reliability_counts_every_test_image_once(tmp_path):
    report = make(tmp_path, NAMES).report
    trust = drawings.trust(report)
    assert sum(each["images"] for each in trust["bins"]) == sum(bar.height for bar in trust["histogram"].bars) == 18
    for each in trust["bins"]:
        low, high = each["interval"]
        assert low <= each["right"] <= high + 1e-9
