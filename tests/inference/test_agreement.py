"""On digits, with the real backbone: whichever way an image is predicted, it gets what the pipeline gave it."""

import base64
import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import requests

from benchmarks import samples
from bottletop.core.paths import Paths
from bottletop.images.decoding import decode
from bottletop.images.index import read_index, read_shard
from tests import project as small
from tests.project import run
from tests.servers import free_ports, mlflow_server

pytestmark = [pytest.mark.slow, pytest.mark.server]
CLASSES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with results, its test images in the folder ``seen``, numbered as in predictions.csv, and exported."""
    project = samples.copy_project(tmp_path_factory.mktemp("digits") / "project")
    run(project, "dvc", "repro")
    rows = {row.source: row for row in read_index(project / Paths("digits").index)}
    (project / "seen").mkdir()
    for number, line in enumerate(predictions(project)):
        row = rows[line["path"]]
        [data] = read_shard(project / Paths("digits").images / row.shard, [row])
        (project / "seen" / f"{number:03}.png").write_bytes(data)
    run(project, "bottletop", "export")
    return project


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    [port] = free_ports(1)
    model = project / "exports/digits-mlflow"
    command = f"exec mlflow models serve --env-manager local --model-uri {model} --host 127.0.0.1 --port {port}"
    with mlflow_server(command, port, project):
        yield f"http://127.0.0.1:{port}/invocations"


def predictions(project: Path) -> list[dict[str, str]]:
    with (project / "metrics/digits/predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def expected(project: Path) -> np.ndarray:
    return np.array([[float(line[f"p({name})"]) for name in CLASSES] for line in predictions(project)])


def shares(entries: list[dict[str, dict[str, float]]]) -> np.ndarray:
    return np.array([[entry["probabilities"][name] for name in CLASSES] for entry in entries])


def test_predict_agrees_with_the_pipeline(project: Path) -> None:
    command = ["bottletop", "predict", "seen", "--json"]
    environment = samples.environment(project)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert len(expected(project)) > 150
    np.testing.assert_allclose(shares(json.loads(done.stdout)), expected(project), atol=1e-4)


def test_the_keras_file_agrees_with_the_pipeline(project: Path) -> None:
    model = keras.saving.load_model(project / "exports/digits.keras", safe_mode=True)
    pictures = [np.asarray(decode(path.read_bytes())) for path in sorted((project / "seen").iterdir())]
    found = model.predict(np.stack(pictures), verbose=0)["probabilities"]  # digits are all of one size
    np.testing.assert_allclose(found, expected(project), atol=1e-4)
    one_by_one = [model.predict_on_batch(picture[None])["probabilities"][0] for picture in pictures[::10]]
    np.testing.assert_allclose(one_by_one, expected(project)[::10], atol=1e-4)


def test_the_server_agrees_with_the_pipeline(project: Path, server: str) -> None:
    texts = [base64.b64encode(path.read_bytes()).decode() for path in sorted((project / "seen").iterdir())]
    answer = requests.post(server, json={"dataframe_records": [{"image": text} for text in texts]}, timeout=120)
    np.testing.assert_allclose(shares(answer.json()["predictions"]), expected(project), atol=1e-4)


@pytest.fixture(scope="module", params=["cnn", "finetune"])
def other(request: pytest.FixtureRequest, finished: small.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose model reads images, or has a backbone of its own, with results."""
    project = small.copy(finished.folder, tmp_path_factory.mktemp(request.param))
    small.set_param(project, "train.model", request.param)
    small.set_param(project, "finetune.learning_rate", 1e-6)
    run(project, "dvc", "repro")
    return project


def a_test_image(project: Path) -> tuple[bytes, list[float]]:
    """An image of a small project, as the file ``seen.jpg`` too, and its probabilities in predictions.csv."""
    index = {row.id: row for row in read_index(project / Paths(small.DATASET).index)}
    with (project / "metrics" / small.DATASET / "predictions.csv").open(newline="") as file:
        line = next(csv.DictReader(file))
    row = index[line["id"]]
    [data] = read_shard(project / Paths(small.DATASET).images / row.shard, [row])
    (project / "seen.jpg").write_bytes(data)
    return data, [float(line[f"p({name})"]) for name in sorted(small.CLASSES)]


def predicted(project: Path, *options: str) -> list[float]:
    printed = run(project, "bottletop", "predict", "--json", "seen.jpg", *options)
    [entry] = json.loads(printed.partition("\n")[2])  # below the line on stderr that names the model
    return [entry["probabilities"][name] for name in sorted(small.CLASSES)]


def test_other_kinds_of_models_say_the_same_of_an_image_wherever_they_are_used(other: Path) -> None:
    data, expected = a_test_image(other)
    run(other, "bottletop", "export")
    model = keras.saving.load_model(other / f"exports/{small.DATASET}.keras")
    exported = model.predict_on_batch(np.asarray(decode(data))[None])["probabilities"][0]
    np.testing.assert_allclose(exported, expected, atol=1e-4)
    np.testing.assert_allclose(predicted(other), expected, atol=1e-4)


def test_they_can_be_explained_too(other: Path) -> None:
    a_test_image(other)
    run(other, "bottletop", "predict", "--explain", "seen.jpg")
    assert (other / "explained/seen.png").stat().st_size > 10_000
