import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from bottletop.backbones.runtime import keras
from bottletop.core.errors import ArtefactError, ParamsError
from bottletop.core.files import SUMS, read_numbers
from bottletop.models import keras_file, standardisation, top, training
from bottletop.models.calibration import best_temperature
from bottletop.models.examples import class_weights
from bottletop.models.vectors import FeatureSet
from tests.tiny import ROOT, feature_folder, opened, simple_params, split_rows, write_features


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Three classes that no top tells apart: training longer makes validation worse."""
    folder = tmp_path_factory.mktemp("noise") / "features"
    return opened(folder, feature_folder(folder, signal=0, per_class=60))


@pytest.fixture(params=["in memory", "streamed"])
def memory(request, monkeypatch):
    """Both ways to feed the training."""
    if request.param == "streamed":
        monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)


def split_scores(trained, features, split):
    """Accuracy and log loss on one split."""
    rows = features.positions(split)
    probabilities = top.predict(trained.model, features, rows)
    labels = features.labels[rows]
    loss = log_loss(labels, probabilities / probabilities.sum(1, keepdims=True), labels=range(3))
    return accuracy_score(labels, probabilities.argmax(1)), loss


def moments(features, **changes):
    return standardisation.moments(
        features, features.positions("train"), sqrt=simple_params(**changes).transform == "sqrt"
    )


# Training


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("pooled", "flatten"), ("bottleneck", "flatten"), ("bottleneck", "avg"), ("bottleneck", "max")],
)
def test_a_top_on_any_kind_of_features_tells_easy_classes_apart(easy, kind, pooling):
    features = opened(easy.folder, easy.rows, kind, pooling)
    found = training.train(features, simple_params(features=kind, pooling=pooling, epochs=16))
    assert split_scores(found, features, "test")[0] == 1.0
    assert (found.record.params.features, found.record.params.pooling) == (kind, pooling)


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
def test_every_optimiser_learns(easy, optimiser):
    history = training.train(easy, simple_params(optimiser=optimiser, epochs=3)).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_same_inputs_give_the_same_files_byte_for_byte(easy, memory, tmp_path):
    for name in ("one", "two"):
        found = training.train(easy, simple_params(epochs=3, input_dropout=0.2, calibrate=True))
        found.save(tmp_path / name / "model", tmp_path / name / "history.csv")
    inside = ["SHA256SUMS", "history.csv", "probabilities.npz", "top.json", "top.keras"]
    assert sorted(path.name for path in (tmp_path / "one/model").iterdir()) == inside
    files = ("history.csv", *(f"model/{name}" for name in inside))
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.slow
def test_two_processes_give_the_same_top_byte_for_byte(easy, tmp_path):
    """Keras writes when a model was saved, and where its objects were in memory, into the file."""
    code = (
        "import sys; from pathlib import Path; from bottletop.models import training;"
        "from tests import tiny;"
        "features = tiny.opened(Path(sys.argv[1]), tiny.feature_folder(Path(sys.argv[2], 'unused')));"
        "trained = training.train(features, tiny.simple_params(epochs=1));"
        "trained.save(Path(sys.argv[2], 'model'), Path(sys.argv[2], 'history.csv'))"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(easy.folder), str(tmp_path / name)], cwd=ROOT, check=True)
    for file in ("model/top.keras", "model/top.json", "history.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_a_saved_top_needs_no_class_of_ours_and_holds_no_optimiser(easy, trained, tmp_path):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    with zipfile.ZipFile(tmp_path / "model/top.keras") as file:
        config = file.read("config.json").decode()
    assert "Dropout" in config
    assert "bottletop" not in config
    assert "optimizer" not in config


def test_another_seed_gives_another_top(easy, trained):
    other = training.train(easy, simple_params(epochs=4, seed=1))
    assert other.history != trained.history


def test_test_images_have_no_influence_on_the_top(easy, trained, tmp_path):
    rows = [row for row in easy.rows if row.split != "test"]
    values = opened(easy.folder, easy.rows).read(np.array([i for i, row in enumerate(easy.rows) if row in set(rows)]))
    write_features(tmp_path / "features", rows, np.zeros((len(rows), 1, 1, 12)), values)
    assert training.train(opened(tmp_path / "features", rows), simple_params(epochs=4)).history == trained.history


def test_best_epochs_weights_are_what_is_saved(noise, memory, tmp_path):
    found = training.train(noise, simple_params(epochs=12))
    losses = [entry["val_loss"] for entry in found.history]
    best = int(np.argmin(losses))
    assert best < 11  # or the last epoch would do as well
    assert found.record.best_epoch == best + 1
    found.save(tmp_path / "model", tmp_path / "history.csv")
    model, _ = top.load(tmp_path / "model")
    accuracy, loss = split_scores(training.Network(found.record, {}, (), model), noise, "validation")
    assert (accuracy, loss) == pytest.approx((found.history[best]["val_accuracy"], losses[best]), rel=1e-5)


def test_training_stops_after_so_many_epochs_without_a_better_validation_loss(noise):
    found = training.train(noise, simple_params(epochs=60, patience=3))
    assert len(found.history) == found.record.best_epoch + 3


def test_without_patience_all_epochs_are_trained(noise):
    assert len(training.train(noise, simple_params(epochs=12, patience=None)).history) == 12


def test_training_that_diverges_is_refused_and_names_the_learning_rate(easy):
    with pytest.raises(ParamsError, match=r"diverged with train\.learning_rate 1000.*: lower it in params\.yaml"):
        training.train(easy, simple_params(optimiser="sgd", learning_rate=1000.0, l2=1000.0, epochs=30))


def test_balanced_class_weights_make_a_rare_class_count_as_much_as_a_frequent_one(tmp_path):
    rows = split_rows(["frequent"] * 180 + ["rare"] * 20)
    values = np.abs(np.random.default_rng(0).standard_normal((200, 2)))
    write_features(tmp_path / "features", rows, values[:, None, None], values)
    features = opened(tmp_path / "features", rows)
    found = {}
    for kind in ("none", "balanced"):
        model = training.train(
            features, simple_params(hidden=[], dropout=[], class_weights=kind, learning_rate=0.1, epochs=12)
        ).model
        found[kind] = top.predict(model, features, features.positions("train"))[:, 1].mean()
    assert found == pytest.approx({"none": 0.1, "balanced": 0.5}, abs=0.06)


def test_class_weights_are_scikit_learns():
    labels = np.array([0] * 50 + [1] * 5 + [2] * 20)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert list(class_weights(labels)) == pytest.approx(list(expected))


def test_label_smoothing_keeps_confidence_below_its_target(easy):
    found = training.train(easy, simple_params(label_smoothing=0.3, epochs=25, patience=None))
    assert np.exp(-found.history[-1]["loss"]) == pytest.approx(1 - 0.3 + 0.3 / 3, abs=0.05)


def test_the_recorded_loss_is_the_log_loss_whatever_the_network_minimises(easy):
    changes = {"label_smoothing": 0.3, "l2": 0.01, "class_weights": "balanced", "calibrate": False, "patience": None}
    found = training.train(easy, simple_params(epochs=1, **changes))
    rows = easy.positions("validation")
    own = top.predict(found.model, easy, rows)[np.arange(len(rows)), easy.labels[rows]]
    assert found.history[0]["val_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)


# Batches


@pytest.fixture(params=[10, 16, 33, 512])
def at_once(request, monkeypatch):
    """Images read together, in batches of 16: less than one, one, several with the last block short, all."""
    monkeypatch.setattr(FeatureSet, "at_once", request.param)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_every_image_is_in_one_batch_and_the_last_may_be_short(easy, memory, at_once, count):
    rows = easy.positions("train")[:count]
    batches = [(np.array(x), np.array(y)) for x, y in training._batches(easy, rows, 16, None)]
    assert [len(x) for x, _ in batches] == [16] * (count // 16) + [count % 16] * (count % 16 > 0)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), easy.read(rows))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]).argmax(1), easy.labels[rows])


@pytest.mark.parametrize("done", [0, 2])
def test_the_order_of_an_epoch_follows_from_the_seed_and_its_number(easy, memory, at_once, done):
    rows = easy.positions("train")
    data = training._batches(easy, rows, 16, 3, done)
    for epoch in (done, done + 1):
        found = np.concatenate([np.array(x) for x, _ in data])
        order = np.random.default_rng([3, epoch]).permutation(len(rows))
        np.testing.assert_array_equal(found, easy.read(rows[order]))


def test_shuffling_keeps_features_and_labels_together_and_differs_by_epoch(easy, memory, at_once):
    rows = easy.positions("train")
    known = {tuple(x): label for x, label in zip(easy.read(rows), easy.labels[rows], strict=True)}
    data = training._batches(easy, rows, 16, 0)
    orders = []
    for _ in range(2):
        epoch = [(tuple(x), y.argmax()) for xs, ys in data for x, y in zip(np.array(xs), np.array(ys), strict=True)]
        assert dict(epoch) == known
        orders.append([x for x, _ in epoch])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_are_the_same_from_memory_as_from_disk(easy, monkeypatch, seed):
    in_memory = [np.array(x) for x, _ in training._batches(easy, easy.positions("train"), 16, seed)]
    monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)
    streamed = [np.array(x) for x, _ in training._batches(easy, easy.positions("train"), 16, seed)]
    np.testing.assert_array_equal(np.concatenate(streamed), np.concatenate(in_memory))


def test_a_batch_has_images_of_all_over_a_dataset_sorted_by_class(easy, memory):
    batches = [np.array(y).argmax(1) for _, y in training._batches(easy, easy.positions("train"), 18, 0)]
    assert [sorted(set(labels.tolist())) for labels in batches] == [[0, 1, 2]] * 3


# The network


# Standardisation


@pytest.mark.parametrize(
    ("transform", "function"), [("none", np.float64), ("sqrt", lambda x: np.sign(x) * np.abs(x) ** 0.5)]
)
def test_moments_are_numpys_over_the_training_images_alone(tmp_path, transform, function):
    rows = split_rows(["a"] * 1500 + ["b"] * 1500)  # more than a block
    values = np.random.default_rng(0).normal(1, 2, (3000, 12))  # also negative ones
    write_features(tmp_path / "f", rows, values[:, None, None], values)
    features = opened(tmp_path / "f", rows)
    values = function(features.read(features.positions("train")).astype(np.float64))
    mean, variance = moments(features, transform=transform)
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose(variance, values.var(0))


def test_without_standardisation_features_are_taken_as_they_are(easy):
    found = training.train(easy, simple_params(standardise=False, epochs=1))
    assert not [layer for layer in found.model.layers if isinstance(layer, keras.layers.Normalization)]


def test_a_feature_that_never_varies_in_training_does_not_blow_up(tmp_path):
    rows = split_rows(["a"] * 30 + ["b"] * 30)
    values = np.abs(np.random.default_rng(0).standard_normal((60, 4)))
    values[30:, 0] += 6
    values[:, 1], values[:, 2], values[:, 3] = 0, 1000, 20_000
    values[[row.split == "test" for row in rows], 1] = 1  # seen for the first time
    write_features(tmp_path / "features", rows, values[:, None, None], values)
    features = opened(tmp_path / "features", rows)
    _, variance = moments(features, transform="none")
    assert variance[1:].tolist() == [1, 1, 1]
    found = training.train(features, simple_params(transform="none", hidden=[], dropout=[]))
    probabilities = top.predict(found.model, features, features.positions("test"))
    assert (probabilities.argmax(1) == features.labels[features.positions("test")]).all()


# Predictions


def test_predictions_are_in_the_order_asked_for_and_independent_of_the_batch(tmp_path, trained):
    features = opened(tmp_path / "f", feature_folder(tmp_path / "f", per_class=400))  # more than one batch
    order = np.random.default_rng(0).permutation(len(features.rows))
    probabilities = top.predict(trained.model, features, order)
    assert (probabilities.shape, probabilities.dtype) == ((1200, 3), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    for position in (0, 511, 512, 1199):
        alone = top.predict(trained.model, features, order[position : position + 1])
        np.testing.assert_allclose(probabilities[position], alone[0], rtol=1e-5)


# Calibration


@pytest.mark.parametrize(
    ("data", "changes"),
    [("easy", {"label_smoothing": 0.5}), ("noise", {"epochs": 1, "learning_rate": 0.3}), ("noise", {})],
    ids=["too modest", "too sure", "about right"],
)
def test_calibration_never_worsens_validation_and_keeps_every_decision(data, changes, request):
    features = request.getfixturevalue(data)
    raw, calibrated = (training.train(features, simple_params(calibrate=choice, **changes)) for choice in (False, True))
    assert calibrated.history == raw.history
    assert split_scores(calibrated, features, "validation")[1] <= split_scores(raw, features, "validation")[1] + 1e-6
    everything = np.arange(len(features.rows))
    before, after = (top.predict(each.model, features, everything) for each in (raw, calibrated))
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


def test_calibration_divides_the_last_layer_by_the_temperature_that_suits_validation(easy):
    raw, calibrated = (training.train(easy, simple_params(calibrate=choice)) for choice in (False, True))
    validation = easy.positions("validation")
    temperature = best_temperature(top.predict(raw.model, easy, validation), easy.labels[validation])
    assert abs(temperature - 1) > 0.05
    before, after = (each.model.get_layer("classes").get_weights() for each in (raw, calibrated))
    for wanted, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, wanted / temperature, rtol=1e-5)


# Files


def test_a_saved_top_predicts_as_before(easy, trained, tmp_path):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    model, record = top.load(tmp_path / "model")
    assert record == trained.record
    rows = np.arange(len(easy.rows))
    np.testing.assert_array_equal(top.predict(model, easy, rows), top.predict(trained.model, easy, rows))


def test_the_record_says_what_the_top_expects(easy, trained):
    assert trained.record.class_names == ("class 0", "class 1", "class 2")
    assert trained.record.contract == {**easy.manifest.recipe(), "kind": "pooled", "pooling": "flatten"}
    assert trained.record.params == simple_params(epochs=4)


def test_the_history_has_a_row_per_epoch(trained, tmp_path):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    rows = read_numbers(tmp_path / "history.csv")
    assert [row.pop("epoch") for row in rows] == [1, 2, 3, 4]
    assert rows == list(trained.history)
    assert list(rows[0]) == ["loss", "accuracy", "val_loss", "val_accuracy"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "top.keras").unlink(),
        lambda folder: (folder / "top.keras").write_bytes(b"not a zip"),
        lambda folder: (folder / "top.keras").write_bytes((folder / "top.keras").read_bytes()[:5000]),
        lambda folder: (folder / "top.json").unlink(),
        lambda folder: (folder / "top.json").write_text("{"),
        lambda folder: (folder / "top.json").write_text("{}"),
        lambda folder: (folder / "top.json").write_text("[" * 100_000),
        lambda folder: (folder / "top.json").write_bytes(b"\xff\xfe"),
        lambda folder: _write_layer(folder / "top.keras"),
    ],
    ids=[
        "no model",
        "not a model",
        "half a model",
        "no record",
        "not JSON",
        "another record",
        "deep JSON",
        "not UTF-8",
        "a layer",
    ],
)
def test_a_model_that_cannot_be_read_says_which_stage_makes_it(trained, tmp_path, damage):
    trained.save(tmp_path / "digits", tmp_path / "history.csv")
    (tmp_path / "digits" / SUMS).unlink()  # earlier versions wrote none
    damage(tmp_path / "digits")
    with pytest.raises(ArtefactError, match="dvc repro train@digits"):
        top.load(tmp_path / "digits")


def _write_layer(path):
    """Replaces the network by a single layer."""
    members = keras_file.read(path)
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}
    keras_file.write(path, {**members, "config.json": json.dumps(layer).encode()})


@pytest.mark.parametrize("name", ["top.keras", "top.json"])
def test_a_model_that_was_changed_is_refused(trained, tmp_path, name):
    trained.save(tmp_path / "digits", tmp_path / "history.csv")
    data = bytearray((tmp_path / "digits" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "digits" / name).write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name} was changed after it was written: .*: run bottletop doctor"):
        top.load(tmp_path / "digits")


OF_OS = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("Dense", {"units": 3, "activation": OF_OS}, "Could not locate function 'system'"),
        ("StringLookup", {"vocabulary": "datasets.yaml"}, "a vocabulary file outside of the model archive"),
        ("TFSMLayer", {"filepath": "elsewhere", "call_endpoint": "serve"}, "deserialization of a `TFSMLayer`"),
    ],
)
def test_a_model_that_runs_code_or_reads_other_files_is_refused(trained, tmp_path, kind, config, reason):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    (tmp_path / "model" / SUMS).unlink()
    path = tmp_path / "model/top.keras"
    layer = {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}
    network = {"module": "keras", "class_name": "Sequential", "config": {"name": "top", "layers": [layer]}}
    keras_file.write(path, {**keras_file.read(path), "config.json": json.dumps(network).encode()})
    with pytest.raises(ArtefactError, match=rf"holds no model that can be read \([^{{]{{0,40}}{reason}"):
        top.load(tmp_path / "model")


def test_code_in_a_model_file_is_never_run(trained, tmp_path):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    (tmp_path / "model" / SUMS).unlink()  # an attacker writes fitting checksums, or none
    spy = str(tmp_path / "was run")
    inputs = keras.Input((12,))
    outputs = keras.layers.Lambda(lambda x: (open(spy, "w"), x)[1], output_shape=(12,))(inputs)  # noqa: PTH123, SIM115
    keras.Model(inputs, outputs).save(tmp_path / "model/top.keras")
    (tmp_path / "was run").unlink(missing_ok=True)
    with pytest.raises(ArtefactError, match="Lambda"):
        top.load(tmp_path / "model")
    assert not (tmp_path / "was run").exists()


# Params


def test_the_record_is_json_that_people_can_read(trained, tmp_path):
    trained.save(tmp_path / "model", tmp_path / "history.csv")
    record = json.loads((tmp_path / "model/top.json").read_text())
    assert record["class_names"] == ["class 0", "class 1", "class 2"]
    assert record["params"]["hidden"] == [16]
