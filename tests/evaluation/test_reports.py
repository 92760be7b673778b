import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from bottletop.core.files import read_json, write_csv
from bottletop.evaluation import reports
from bottletop.evaluation.figures import Mistake
from bottletop.evaluation.reports import Predicted, assess, count_splits, select, write_figures, write_tables
from bottletop.evaluation.scores import EvaluateParams
from bottletop.models.record import TopRecord
from tests.tiny import image_shards, pictures, split_rows, top_params

PARAMS = EvaluateParams(bootstrap=100, seed=0, positive_classes=("malignant",))


def record(class_names):
    return TopRecord(
        class_names=class_names,
        contract={},
        data_digest="",
        split="",
        best_epoch=2,
        params=top_params(),
    )


def predicted(tmp_path, class_names, name="test", per_class=12):
    """Pictures on disk, and predictions of which about three in four are right."""
    photos = [photo for i, label in enumerate(class_names) for photo in pictures(label, per_class, seed=i)]
    images = image_shards(tmp_path / name, photos)
    random = np.random.default_rng(len(name))
    labels = np.array([class_names.index(image.label) for image in images])
    probabilities = random.dirichlet(np.ones(len(class_names)), len(images))
    right = random.uniform(size=len(images)) < 0.7
    probabilities[right, labels[right]] += 1
    return Predicted(tuple(images), labels, probabilities / probabilities.sum(1, keepdims=True))


def report_on(tmp_path, class_names, params=PARAMS):
    validation, test = (predicted(tmp_path, class_names, name) for name in ("validation", "test"))
    return assess(record(class_names), validation, test, {"test": len(test.labels), "train": 99}, params)


@pytest.fixture
def three(tmp_path):
    return report_on(tmp_path, ("ant", "bee", "cat"))


@pytest.fixture
def two(tmp_path):
    return report_on(tmp_path, ("benign", "malignant"))


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.csv"
    write_csv(path, ("epoch", "loss", "accuracy", "val_loss", "val_accuracy"), [(1, 1, 0.5, 1, 0.5), (2, 0.5, 1, 1, 1)])
    return path


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_are_the_handful_that_people_compare_flat_and_rounded(tmp_path, three):
    write_tables(tmp_path / "report", three)
    metrics = read_json(tmp_path / "report/metrics.json")
    assert list(metrics) == [
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "macro_f1",
        "log_loss",
        "val_accuracy",
        "val_log_loss",
    ]
    assert metrics["accuracy"] == round(accuracy_score(three.test.labels, three.predicted), 6)
    assert metrics["macro_f1"] == round(f1_score(three.test.labels, three.predicted, average="macro"), 6)
    assert metrics["accuracy_low"] < metrics["accuracy"] < metrics["accuracy_high"]
    assert metrics["val_accuracy"] == round(three.val_accuracy, 6)


def test_validation_is_scored_as_the_test_images_are(tmp_path):
    names = ("ant", "bee", "cat")
    validation = predicted(tmp_path, names, "validation")
    report = report_on(tmp_path / "report", names)
    assert report.val_accuracy == accuracy_score(validation.labels, validation.probabilities.argmax(1))
    assert report.val_log_loss == pytest.approx(log_loss(validation.labels, validation.probabilities))


def test_a_class_may_have_the_name_of_a_row_or_column_of_the_report(tmp_path):
    write_tables(tmp_path / "report", report_on(tmp_path, ("accuracy", "id", "label")))
    rows = (tmp_path / "report/classification_report.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["class", "accuracy", "id", "label"]
    header = (tmp_path / "report/predictions.csv").read_text().splitlines()[0]
    assert header == "id,path,group,label,predicted,p(accuracy),p(id),p(label)"


@pytest.mark.parametrize(
    ("class_names", "further"),
    [
        (("benign", "malignant"), {"roc_auc", "sensitivity", "specificity"}),
        (tuple("abcdef"), {"top5_accuracy"}),
        (tuple("abcde"), set()),
    ],
)
def test_metrics_suit_the_number_of_classes(tmp_path, class_names, further):
    write_tables(tmp_path / "report", report_on(tmp_path, class_names))
    metrics = set(read_json(tmp_path / "report/metrics.json"))
    assert metrics & {"roc_auc", "sensitivity", "specificity", "top5_accuracy"} == further


def test_details_hold_every_score_with_its_interval_and_the_images_of_each_side(tmp_path, three):
    write_tables(tmp_path / "report", three)
    details = read_json(tmp_path / "report/details.json")
    by_name = {entry["score"]: entry for entry in details["scores"]}
    for name, score in three.scores.items():
        found = by_name[name]["value"], by_name[name]["low"], by_name[name]["high"]
        assert found == pytest.approx(score, abs=1e-6)
    assert {"balanced_accuracy", "calibration_error"} < set(by_name)
    assert (details["best_epoch"], details["images"]) == (2, {"test": 36, "train": 99})
    assert "threshold" not in details


def test_details_of_two_classes_name_the_positive_one_and_the_threshold(tmp_path, two):
    write_tables(tmp_path / "report", two)
    details = read_json(tmp_path / "report/details.json")
    assert details["positive_class"] == "malignant"
    assert details["threshold"] == pytest.approx(two.positive.threshold, abs=1e-6)


@pytest.mark.parametrize(
    ("class_names", "named", "expected"),
    [
        (("benign", "malignant"), ("malignant",), 1),
        (("malignant", "nevus"), ("malignant",), 0),
        (("cat", "dog"), ("malignant",), 1),  # the last by name
        (("cat", "dog"), (), 1),
        (("ant", "bee", "malignant"), ("malignant",), None),
    ],
)
def test_the_positive_class_is_the_one_named_in_the_params(tmp_path, class_names, named, expected):
    report = report_on(tmp_path, class_names, EvaluateParams(bootstrap=100, seed=0, positive_classes=named))
    assert (report.positive is None) == (expected is None)
    if expected is not None:
        assert report.positive.position == expected
        probability = report.test.probabilities[:, expected]
        assert report.scores["roc_auc"].value == pytest.approx(
            roc_auc_score(report.test.labels == expected, probability)
        )


def test_the_threshold_is_chosen_on_validation_and_never_on_test(tmp_path):
    names = ("benign", "malignant")
    validation, test, other = (predicted(tmp_path, names, name) for name in ("validation", "test", "other"))
    labels = np.array([0, 0, 1, 1])
    probability = np.array([0.1, 0.3, 0.9, 0.8])
    chosen = Predicted(validation.images[:4], labels, np.stack([1 - probability, probability], 1))
    thresholds = [assess(record(names), chosen, each, {}, PARAMS).positive.threshold for each in (test, other)]
    assert thresholds == pytest.approx([0.55, 0.55])
    report = assess(record(names), chosen, test, {}, PARAMS)
    called = test.probabilities[:, 1] >= 0.55
    assert report.scores["sensitivity"].value == pytest.approx(called[test.labels == 1].mean())
    assert report.scores["specificity"].value == pytest.approx(1 - called[test.labels == 0].mean())


def test_duplicates_in_the_test_set_widen_the_intervals(tmp_path, three):
    images = [image._replace(group=f"{i // 4}") for i, image in enumerate(three.test.images)]
    grouped = Predicted(tuple(images), three.test.labels, three.test.probabilities)
    scores = assess(three.record, grouped, grouped, {}, PARAMS).scores
    assert scores["log_loss"].value == three.scores["log_loss"].value
    assert (scores["log_loss"].low, scores["log_loss"].high) != three.scores["log_loss"][1:]


def test_the_classification_report_is_scikit_learns(tmp_path, three):
    write_tables(tmp_path / "report", three)
    rows = read_csv(tmp_path / "report/classification_report.csv")
    assert [row["class"] for row in rows] == ["ant", "bee", "cat"]
    expected = np.array(precision_recall_fscore_support(three.test.labels, three.predicted)).T
    found = [[float(row[name]) for name in ("precision", "recall", "f1-score", "support")] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    text = (tmp_path / "report/classification_report.txt").read_text()
    assert text == classification_report(three.test.labels, three.predicted, target_names=three.class_names, digits=3)


def test_a_class_that_is_never_predicted_scores_zero_without_a_warning(tmp_path, recwarn):
    test = predicted(tmp_path, ("ant", "bee", "cat"))
    never = np.tile([0.6, 0.4, 0.0], (len(test.labels), 1))
    report = assess(record(("ant", "bee", "cat")), test, Predicted(test.images, test.labels, never), {}, PARAMS)
    write_tables(tmp_path / "report", report)
    assert read_csv(tmp_path / "report/classification_report.csv")[2]["precision"] == "0.0"
    assert not [warning for warning in recwarn if "Undefined" in str(warning.category)]


def test_predictions_have_a_row_per_test_image(tmp_path, three):
    write_tables(tmp_path / "report", three)
    rows = read_csv(tmp_path / "report/predictions.csv")
    assert list(rows[0]) == ["id", "path", "group", "label", "predicted", "p(ant)", "p(bee)", "p(cat)"]
    assert len(rows) == 36
    for row, image, values in zip(rows, three.test.images, three.test.probabilities, strict=True):
        assert (row["id"], row["path"], row["group"]) == (image.id, image.source, image.group)
        assert row["label"] == image.label
        found = [float(row[f"p({name})"]) for name in three.class_names]
        assert found == pytest.approx(list(values), abs=1e-6)
        assert row["predicted"] == three.class_names[int(np.argmax(found))]


def test_the_same_predictions_give_the_same_report_byte_for_byte(tmp_path, three, history):
    for name in ("one", "two"):
        write_tables(tmp_path / name, three)
        write_figures(tmp_path / name, three, history, tmp_path / "test")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_all_figures_are_written(tmp_path, two, history):
    write_figures(tmp_path / "plots", two, history, tmp_path / "test")
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["confusion.png", "curves.png", "mistakes.png", "reliability.png"]
    for name in names:
        Image.open(tmp_path / "plots" / name).verify()


def test_the_gallery_shows_the_most_confident_mistakes_with_their_pictures(tmp_path, three, history, monkeypatch):
    shown = []
    monkeypatch.setattr(reports.figures, "mistakes", lambda some, total: shown.extend([*some, total]))
    monkeypatch.setattr(reports.figures, "write", lambda *_: None)
    write_figures(tmp_path, three, history, tmp_path / "test")
    total = shown.pop()
    wrong = np.flatnonzero(three.predicted != three.test.labels)
    order = sorted(wrong, key=lambda row: -three.test.probabilities[row].max())[: reports.GALLERY]
    assert total == len(wrong) > 0
    assert len(shown) == len(order)
    for mistake, row in zip(shown, order, strict=True):
        image = three.test.images[row]
        guess, confidence = three.class_names[three.predicted[row]], three.test.probabilities[row].max()
        assert mistake == Mistake(mistake.image, image.label, guess, pytest.approx(confidence))
        number = int(image.source[-7:-4])
        data = pictures(image.label, 12, seed=number // 12)[number % 12][1]
        assert mistake.image == reports.decode(data)


def test_select_takes_images_in_the_order_asked_for(three):
    assert select(three.test.images, np.array([5, 0])) == (three.test.images[5], three.test.images[0])


def test_sides_are_counted(tmp_path):
    assert count_splits(split_rows(["a"] * 12)) == {"test": 2, "train": 8, "validation": 2}
    assert json.dumps(count_splits(split_rows(["a"]))) == '{"train": 1}'


def test_a_spreadsheet_finds_no_formulas_in_the_tables(tmp_path):
    report = report_on(tmp_path, ("-1", "=1+1", "cat"))
    write_tables(tmp_path / "report", report)
    assert [row["class"] for row in read_csv(tmp_path / "report/classification_report.csv")] == ["-1", "'=1+1", "cat"]
    assert {row["predicted"] for row in read_csv(tmp_path / "report/predictions.csv")} <= {"-1", "'=1+1", "cat"}
    assert ",=1+1" not in (tmp_path / "report/predictions.csv").read_text()


def test_control_characters_in_a_class_name_are_written_out_in_the_text(tmp_path):
    write_tables(tmp_path / "report", report_on(tmp_path, ("ant", "b\x1b[31mee", "cat")))
    assert " b\\x1b[31mee  " in (tmp_path / "report/classification_report.txt").read_text()
