import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bottletop.core.catalogue import Dataset, Source
from bottletop.core.files import read_json
from bottletop.evaluation import page, reports
from bottletop.evaluation.page import Photo
from bottletop.evaluation.reports import Predicted
from tests.pictures import encode
from tests.report_pages import FOUND, HOSTILE, UNREADABLE, Made, make
from tests.tiny import ROOT

ANIMALS = ("ant", "bee", "cat")


class Elements(HTMLParser):
    """The elements of a page by tag, and its text as it is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.lasttag not in ("style", "script"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("page"), ANIMALS)


def test_the_first_sentence_says_how_good_it_is_and_how_good_guessing_is(made):
    accuracy = made.report.scores["accuracy"]
    assert (
        f"It names {accuracy.value:.1%} of the test images rightly: {round(18 * accuracy.value)} of 18, which had no "
        f"part in the training. For other images of this kind, expect {accuracy.low:.1%} to {accuracy.high:.1%} (95 % "
        "interval). Always answering ant, the largest class, would get 33.3% right."
    ) in Elements(made.html).text


def test_scores_are_those_of_metrics_json_and_of_the_classification_report(made, tmp_path):
    reports.write_tables(tmp_path, made.report)
    metrics, text = read_json(tmp_path / "metrics.json"), Elements(made.html).text
    assert f"accuracy {metrics['accuracy']:.1%}" in text
    assert f"{metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%} {metrics['val_accuracy']:.1%}" in text
    assert f"log loss {metrics['log_loss']:.3f}" in text
    assert f"macro F1 {metrics['macro_f1']:.1%}" in text
    csv = (tmp_path / "classification_report.csv").read_text().splitlines()[1:]
    found = re.findall(r'data-value="([\d.]+)"', made.html.split('aria-label="scores by class"')[1])
    for line, values in zip(csv, np.reshape(np.array(found, float), (3, 4)), strict=True):
        recall, precision, f1, support = values
        assert np.array(line.split(",")[1:], float) == pytest.approx([precision, recall, f1, support], abs=1e-6)


def test_equal_inputs_give_an_equal_page_that_names_no_date_and_no_folder(made, tmp_path):
    again = make(tmp_path, ANIMALS)
    assert again.path.read_bytes() == made.path.read_bytes()
    assert str(tmp_path) not in again.html
    assert not re.search(r"20\d\d-\d\d-\d\d", re.sub('base64,[^"]*', "", again.html))


def test_the_page_may_load_nothing_and_run_only_its_own_script(made):
    elements = Elements(made.html)
    policy = elements.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind in ("style", "script"):
        [inside] = re.findall(f"<{kind}>(.*?)</{kind}>", made.html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert {image["src"].split(",")[0] for image in elements.all("img")} == {"data:image/png;base64"}
    assert not [attributes for _, attributes in elements.found if "style" in attributes]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]


def test_names_from_outside_stay_text(tmp_path):
    names = tuple(sorted(HOSTILE))
    entry = {"title": "<b>bold</b>", "homepage": "javascript:alert(3)", "licence": "<i>", "limits": "not for <u>"}
    made = make(tmp_path, names, entry=Dataset(**entry, image_side_px=96, source=Source(folder="pictures")))
    elements = Elements(made.html)
    assert len(elements.all("script")) == 1
    assert {image["src"][:5] for image in elements.all("img")} == {"data:"}
    assert not elements.all("b") + elements.all("i") + elements.all("u")
    assert {link["href"][0] for link in elements.all("a")} == {"#"}
    for shown in ("<img src=x onerror=alert(1)>", "=cmd()", "🦔 & 花", "{{ 7 * 7 }}", "W" * 200, "\\u202eevil אבג"):
        assert shown in elements.text


def test_of_copies_only_one_is_among_the_mistakes(made):
    wrong = np.flatnonzero(made.report.predicted != made.report.test.labels)
    images = list(made.report.test.images)
    for row in wrong:
        images[row] = images[row]._replace(group="copies")
    copies = Predicted(tuple(images), made.report.test.labels, made.report.test.probabilities)
    [shown] = page._mistakes(dataclasses.replace(made.report, test=copies), page.Thumbnails(made.images))
    assert shown.predicted_share == pytest.approx(made.report.test.probabilities[wrong].max())


def test_mistakes_come_with_file_true_class_and_both_probabilities_the_most_confident_first(made):
    test, guess = made.report.test, made.report.predicted
    order = sorted(np.flatnonzero(guess != test.labels), key=lambda row: -test.probabilities[row].max())
    shown = page._mistakes(made.report, page.Thumbnails(made.images))
    assert [(photo.file, photo.true, photo.predicted) for photo in shown] == [
        (test.images[row].source, ANIMALS[test.labels[row]], ANIMALS[guess[row]]) for row in order
    ]
    assert shown[0].true_share == test.probabilities[order[0], test.labels[order[0]]]
    text = Elements(made.html).text
    assert f"says {shown[0].predicted} {shown[0].predicted_share:.1%} is {shown[0].true}" in text


def test_the_least_certain_right_answers_are_right(made):
    shown: list[Photo] = page._unsure(made.report, page.Thumbnails(made.images))
    assert [photo.true for photo in shown] == [photo.predicted for photo in shown]
    shares = [photo.predicted_share for photo in shown]
    assert shares == sorted(shares)


def test_without_mistakes_the_page_says_so(tmp_path):
    text = Elements(make(tmp_path, ANIMALS, skill=1.1).html).text
    assert "It names 100.0% of the test images rightly: 18 of 18" in text
    assert "Which images does it get wrong? None of the test images." in text


def test_two_classes_have_roc_and_precision_recall_curves_and_others_have_not(made, tmp_path):
    two = make(tmp_path, ("benign", "malignant"))
    assert f"ROC curve, area {two.report.scores['roc_auc'].value:.3f}" in Elements(two.html).text
    assert "Precision-recall curve" in two.html
    assert "ROC curve" not in made.html


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({}, "The model is that of the last one; cross-validation inside the training images chose how many."),
        ({"optimiser": "adam"}, "The model is that of epoch 3, whose validation loss is the lowest."),
    ],
)
def test_the_page_says_which_epoch_the_model_is_of(train, said, tmp_path):
    assert said in Elements(make(tmp_path, ANIMALS, train=train).html).text


def test_images_are_counted_by_class_and_part_and_what_was_set_aside_is_named(tmp_path):
    left = {"not an image": {"files": 2, "examples": ["notes.txt"]}}
    found = {**FOUND, "left_out": left, "rejected": {"truncated or corrupt": 1}}
    text = Elements(make(tmp_path, ANIMALS, found=found, unreadable=UNREADABLE).html).text
    assert "36 images of 3 classes: 12 for training, 6 for validation, 18 for the test." in text
    assert "ant 4 2 6 bee 4 2 6 cat 4 2 6" in text
    assert "2 left out: not an image, such as notes.txt" in text
    assert "photos/<b>broken</b>.jpg: truncated or corrupt" in text


def test_copies_that_were_kept_together_or_left_out_are_counted(tmp_path, made):
    rows = [row._replace(group="same") if i < 3 else row for i, row in enumerate(made.data.rows)]
    rows[0] = rows[0]._replace(split="dropped")
    images = [image._replace(group=row.group) for image, row in zip(made.data.images, rows, strict=True)]
    text = Elements(make(tmp_path, ANIMALS, images=images, rows=rows).html).text
    assert "3 of them are copies or belong together, in 1 group, and no group is on two sides." in text
    assert "1 was left out because a copy is in the test or validation part." in text


def test_the_pairs_that_are_confused_most_often_come_first(made):
    matrix = np.array([[5, 0, 1], [0, 6, 0], [2, 1, 3]])
    pairs = page._pairs(made.report, matrix, page.Thumbnails(made.images))
    assert [{one.true, other.true} for one, other in pairs] == [{"ant", "cat"}, {"bee", "cat"}]
    assert all((one.true, one.taken_for) == (other.taken_for, other.true) for one, other in pairs)


def test_settings_versions_and_fingerprints_are_shown(made):
    text = Elements(made.html).text
    assert "input_dropout 0.5" in text
    assert "split validation" not in text
    assert "seed 7" in text
    assert "images " + "d" * 64 in text
    assert "scipy 1.2.3" in text


@pytest.mark.parametrize(("model", "further"), [("top", set()), ("cnn", {"cnn", "augment"})])
def test_only_the_sections_that_concern_the_model_are_read(model, further, monkeypatch, tmp_path):
    for file in ("params.yaml", "datasets.yaml"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    monkeypatch.chdir(tmp_path)
    paths = page.Paths("digits")
    page.write_text(paths.metrics / "data.json", "{}")
    page.write_text(paths.history, "epoch,loss\n1,0.5\n")
    page.write_text(paths.images / "rejected.csv", "source,label,reason\na.jpg,1,empty file\n")
    data = page.read_data(paths, [], [], model)
    assert set(data.settings) == {"download", "split", "evaluate"} | further
    assert data.unreadable == [("a.jpg", "1", "empty file")]
    assert data.entry.licence == "CC BY 4.0"


def test_a_page_on_101_classes_is_smaller_than_5_mb_even_if_the_photos_are_noise(tmp_path):
    random = np.random.default_rng(0)
    noise = [encode(Image.fromarray(random.integers(0, 256, (120, 160, 3), np.uint8)), "JPEG") for _ in range(20)]
    names = [f"class {number:03}" for number in range(101)]
    photos = [(name, noise[(i + j) % 20] + bytes([i, j])) for i, name in enumerate(names) for j in range(6)]
    made = make(tmp_path, names, photos)
    assert 1e6 < made.path.stat().st_size < 5e6
