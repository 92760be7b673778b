import os
import subprocess
import sys

import numpy as np
import pytest
import scipy
from sklearn.linear_model import LogisticRegression

from bottletop.core.errors import DataError, ParamsError
from bottletop.models import linear, regression, top
from bottletop.models.standardisation import Standardised
from tests.tiny import ROOT, feature_folder, opened, split_rows, top_params, write_features


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Three classes that overlap."""
    folder = tmp_path_factory.mktemp("hard") / "features"
    return opened(folder, feature_folder(folder, signal=0.7, per_class=100))


def fit(features, **changes):
    params = top_params(**changes)
    return linear.fit(Standardised.of(features, params), params)


def test_the_default_top_is_a_regression_and_tells_easy_classes_apart(easy):
    params = top_params()
    assert params.is_regression
    trained = linear.train(easy, params)
    test = easy.positions("test")
    assert (trained.probabilities["test"].argmax(1) == easy.labels[test]).all()
    assert trained.record.best_epoch == len(trained.history) <= params.epochs


@pytest.mark.parametrize("changes", [{"hidden": [8]}, {"optimiser": "adam"}, {"model": "cnn"}, {"model": "finetune"}])
def test_everything_else_is_trained_by_keras(changes):
    assert not top_params(**changes).is_regression


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("transform", ["sqrt", "none"])
def test_the_saved_model_is_scikit_learns_logistic_regression(hard, standardise, transform):
    """Keras' penalty is l2 times the squares, scikit-learn's is 1 / (2 C n) of them."""
    changes = {"standardise": standardise, "transform": transform, "l2": 0.01, "calibrate": False, "epochs": 100}
    params = top_params(**changes)
    rows, test = hard.positions("train"), hard.positions("test")
    values = Standardised.of(hard, params).read(np.arange(len(hard.rows)))
    theirs = LogisticRegression(C=1 / (2 * 0.01 * len(rows)), tol=1e-8, max_iter=1000)
    theirs.fit(values[rows], hard.labels[rows])
    trained = linear.train(hard, params)
    np.testing.assert_allclose(trained.probabilities["test"], theirs.predict_proba(values[test]), atol=0.02)


def test_the_record_names_the_versions_that_trained_it(easy):
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = {"python": python, "numpy": np.__version__, "scipy": scipy.__version__}
    assert linear.train(easy, top_params(epochs=2)).record.versions == expected


def test_the_saved_regression_predicts_what_training_predicted(hard, tmp_path):
    found = linear.train(hard, top_params())
    found.save(tmp_path / "model", tmp_path / "history.csv")
    model, record = top.load(tmp_path / "model")
    assert record == found.record
    for split, probabilities in found.probabilities.items():
        np.testing.assert_allclose(top.predict(model, hard, hard.positions(split)), probabilities, rtol=1e-4, atol=1e-7)


def test_a_regression_is_trained_and_saved_without_tensorflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bottletop.models import linear; from tests import tiny;"
        "folder = Path(sys.argv[1]); features = tiny.opened(folder / 'f', tiny.feature_folder(folder / 'f'));"
        "linear.train(features, tiny.top_params()).save(folder / 'model', folder / 'history.csv');"
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert (tmp_path / "model/top.keras").exists()


def test_validation_and_test_images_have_no_influence(easy):
    trained = fit(easy)
    rows = [row for row in easy.rows if row.split == "train"]
    assert len(rows) < len(easy.rows)
    random = np.random.default_rng(1)
    values = easy.read(np.arange(len(easy.rows)))
    others = [row.split != "train" for row in easy.rows]
    values[others] = np.abs(random.standard_normal((sum(others), values.shape[1])))
    folder = easy.folder.parent / "changed"
    write_features(folder, easy.rows, np.zeros((len(easy.rows), 1, 1, 12)), values)
    again = fit(opened(folder, easy.rows))
    np.testing.assert_array_equal(trained.kernel, again.kernel)
    assert trained.choice == again.choice
    assert trained.history != again.history


def test_the_temperature_divides_the_weights(hard):
    raw, calibrated = (fit(hard, calibrate=choice) for choice in (False, True))
    assert raw.choice.temperature == 1
    np.testing.assert_allclose(calibrated.kernel * calibrated.choice.temperature, raw.kernel, rtol=1e-4, atol=1e-7)


def test_more_epochs_learn_the_training_images_better(hard):
    few, many = (fit(hard, epochs=epochs, l2=0.001, calibrate=False) for epochs in (2, 10))
    assert (len(few.history), len(many.history)) == (2, 10)
    assert many.history[-1]["loss"] < few.history[-1]["loss"]


def test_batch_size_and_learning_rate_have_no_effect(hard):
    np.testing.assert_array_equal(fit(hard).kernel, fit(hard, batch_size=7, learning_rate=0.1).kernel)


@pytest.fixture
def many(hard, monkeypatch):
    """`hard`, with limits that call its 180 training images too many for cross-validation."""
    monkeypatch.setattr(linear, "SAMPLE", 90)
    monkeypatch.setattr(regression, "WORK", 90 * 3)
    return hard


def test_of_many_images_a_tenth_is_left_out_and_chooses_epochs_and_temperature(many, monkeypatch):
    parts = []
    held_out = regression.held_out

    def recorded(examples, fitted, *others):
        parts.append((len(fitted), int(fitted.sum()), fitted.shape[1]))
        return held_out(examples, fitted, *others)

    monkeypatch.setattr(regression, "held_out", recorded)
    found = fit(many)
    assert parts[-1] == (180, 162, 1)  # the others were fits to the sample
    assert {count for count, *_ in parts[:-1]} == {90}
    assert found.choice.epochs == len(found.history)
    assert found.choice.temperature != 1


def test_of_many_images_those_left_out_stop_a_fit_that_gets_worse(many):
    weak, strong = (fit(many, l2=l2, epochs=60) for l2 in (1e-6, 0.1))
    assert len(weak.history) < 20
    assert weak.history[-1]["val_loss"] < 1.5 * strong.history[-1]["val_loss"]


def test_of_many_images_all_are_fitted_where_nothing_is_left_to_choose(many):
    found = fit(many, l2=0.01, calibrate=False, epochs=3)
    assert found.choice == (0.01, 3, 1.0)
    assert len(found.history) == 3


def test_many_images_that_are_copies_of_one_another_cannot_be_left_out(many, monkeypatch):
    monkeypatch.setattr(regression, "folds", lambda labels, *_: np.zeros(len(labels), np.int64))  # one group
    found = fit(many, l2=0.01, epochs=3)
    assert found.choice == (0.01, 3, 1.0)


def test_balanced_class_weights_make_a_rare_class_count_as_much_as_a_frequent_one(tmp_path):
    rows = split_rows(["frequent"] * 180 + ["rare"] * 20)
    values = np.abs(np.random.default_rng(0).standard_normal((200, 2)))
    write_features(tmp_path / "features", rows, values[:, None, None], values)
    features = opened(tmp_path / "features", rows)
    found = {}
    for kind in ("none", "balanced"):
        model = linear.train(features, top_params(class_weights=kind, calibrate=False, l2=0.1))
        found[kind] = linear.predict(model.network, features, "train")[:, 1].mean()
    assert found == pytest.approx({"none": 0.1, "balanced": 0.5}, abs=0.06)


def test_features_that_never_vary_do_not_matter(tmp_path):
    rows = split_rows(["a"] * 30 + ["b"] * 30)
    values = np.abs(np.random.default_rng(0).standard_normal((60, 4)))
    values[30:, 0] += 6
    values[:, 1], values[:, 2], values[:, 3] = 0, 1000, 20_000
    write_features(tmp_path / "features", rows, values[:, None, None], values)
    features = opened(tmp_path / "features", rows)
    probabilities = linear.train(features, top_params()).probabilities["test"]
    assert (probabilities.argmax(1) == features.labels[features.positions("test")]).all()


def test_nothing_that_varies_leaves_the_shares_of_the_classes(tmp_path):
    rows = split_rows(["a"] * 40 + ["b"] * 20)
    write_features(tmp_path / "features", rows, np.ones((60, 1, 1, 4)), np.ones((60, 4)))
    probabilities = linear.train(opened(tmp_path / "features", rows), top_params()).probabilities["test"]
    assert probabilities[0] == pytest.approx([2 / 3, 1 / 3], abs=0.05)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least two classes"):
        linear.train(opened(tmp_path / "f", feature_folder(tmp_path / "f", classes=1)), top_params())


def test_strengths_out_of_bounds_are_refused():
    with pytest.raises(ParamsError, match=r"train\.l2"):
        top_params(l2="strong")


@pytest.mark.slow
@pytest.mark.parametrize(("images", "classes"), [(6000, 12), (5500, 150)], ids=["cross-validated", "too many for it"])
def test_processes_with_one_and_two_threads_give_the_same_bytes(tmp_path, images, classes):
    """More than one block of images."""
    code = (
        "import sys; from pathlib import Path; from benchmarks import made_up; from bottletop.models import linear;"
        "from tests.tiny import opened, top_params; p = Path(sys.argv[1]);"
        f"rows = made_up.features(p / 'f', {images}, {classes}, bottleneck=False);"
        "linear.train(opened(p / 'f', rows), top_params(epochs=3)).save(p / 'model', p / 'history.csv');"
        "print((p / 'model/SHA256SUMS').read_text())"
    )
    outputs = set()
    for name, threads in (("one", "1"), ("two", "2"), ("again", "2")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            cwd=ROOT, env={**os.environ, "BOTTLETOP_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        outputs.add(done.stdout)
    assert len(outputs) == 1
