"""The exported MLflow model, as MLflow loads and serves it."""

import base64
import importlib.metadata
import json
import re
import sys

import grimp
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.exceptions import MlflowException

from bottletop.images.decoding import square
from bottletop.inference import classifier, registry
from tests.pictures import jpeg, photo, png
from tests.sample_models import CLASSES, SIDE, write_model
from tests.servers import free_ports, mlflow_server

OWN = {"bottletop", *sys.stdlib_module_names}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The pipeline's model, and the folder of the MLflow model made of it."""
    folder = tmp_path_factory.mktemp("exported")
    files = write_model(folder)
    model = classifier.load(files)
    registry.write(folder / "mlflow", files, model)
    return model, folder / "mlflow"


@pytest.fixture(scope="module")
def loaded(exported):
    return mlflow.pyfunc.load_model(str(exported[1]))


def expected(exported, *seeds):
    return exported[0].probabilities(np.stack([square(photo(seed), SIDE) for seed in seeds]))


def test_rows_of_image_files_give_rows_of_classes_and_probabilities(exported, loaded):
    found = loaded.predict(pd.DataFrame({"image": [png(seed) for seed in range(8)]}))
    shares = [[row[name] for name in CLASSES] for row in found["probabilities"]]
    np.testing.assert_array_equal(shares, expected(exported, *range(8)))
    assert list(found["class"]) == [CLASSES[np.argmax(row)] for row in shares]


def test_more_rows_than_a_batch_are_taken(exported, loaded):
    found = loaded.predict(pd.DataFrame({"image": [png(seed) for seed in range(19)]}))
    assert len(found) == 19
    assert [found["probabilities"][18][name] for name in CLASSES] == pytest.approx(expected(exported, 18)[0], abs=1e-5)


def test_no_rows_give_no_rows(loaded):
    assert len(loaded.predict(pd.DataFrame({"image": pd.Series([], dtype=object)}))) == 0


def test_the_row_that_is_no_image_is_named(loaded):
    with pytest.raises(MlflowException, match=r"row 1, column 'image': truncated or corrupt") as refused:
        loaded.predict(pd.DataFrame({"image": [png(1), jpeg(2, (200, 200))[:1500]]}))
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_signature_says_what_goes_in_and_comes_out(loaded):
    assert [(one.name, one.type.name) for one in loaded.metadata.signature.inputs] == [("image", "binary")]
    assert loaded.metadata.signature.outputs.input_names() == ["class", "probabilities"]
    assert loaded.metadata.metadata["class_names"] == list(CLASSES)


def test_the_requirements_are_all_that_its_code_imports(exported):
    lines = (exported[1] / "requirements.txt").read_text().split()
    listed = {line.partition("==")[0] for line in lines}
    graph = grimp.build_graph("bottletop", include_external_packages=True, cache_dir=None)
    modules = graph.find_upstream_modules("bottletop.inference.mlflow_model") | {"bottletop.inference.mlflow_model"}
    packages = {name.partition(".")[0] for name in modules if not name.startswith("bottletop")}
    names = importlib.metadata.packages_distributions()
    needed = {package: {name.lower().replace("_", "-") for name in names[package]} for package in packages - OWN}
    missing = {package for package, distributions in needed.items() if listed.isdisjoint(distributions)}
    assert missing == set()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+", line) for line in lines)


def test_no_address_and_no_path_of_this_machine_is_in_the_model(exported):
    for path in exported[1].rglob("*"):
        if path.is_file() and path.suffix not in (".npz", ".keras", ".py", ".jinja") and "example" not in path.name:
            assert not re.search(r"https?://|(?<![\w./-])/(?!invocations)\w+/", path.read_text()), path


def test_what_differs_from_the_pipeline_is_not_kept(tmp_path):
    files = write_model(tmp_path)
    model = classifier.load(files)
    wrong = classifier.Classifier(CLASSES, SIDE, 8, lambda images: model.probabilities(images)[:, ::-1], model.explain)
    with pytest.raises(classifier.ArtefactError, match="was not written: its probabilities differ"):
        registry.write(tmp_path / "mlflow", files, wrong)
    assert not (tmp_path / "mlflow").exists()


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    """The address of `mlflow models serve`."""
    [port] = free_ports(1)
    command = f"exec mlflow models serve --env-manager local --model-uri {exported[1]} --host 127.0.0.1 --port {port}"
    with mlflow_server(command, port, tmp_path_factory.mktemp("server")):
        yield f"http://127.0.0.1:{port}/invocations"


def forms(*files):
    """The forms that MLflow takes a table in."""
    texts = [base64.b64encode(data).decode() for data in files]
    return [
        {"dataframe_records": [{"image": text} for text in texts]},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"inputs": {"image": texts}},
        {"instances": [{"image": text} for text in texts]},
    ]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("form", range(4))
def test_a_server_answers_posted_images(exported, server, form):
    answer = requests.post(server, json=forms(png(1), png(2))[form], timeout=60)
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    shares = [[row["probabilities"][name] for name in CLASSES] for row in found]
    np.testing.assert_allclose(shares, expected(exported, 1, 2), atol=1e-6)
    assert [row["class"] for row in found] == [CLASSES[np.argmax(row)] for row in shares]


@pytest.mark.slow
@pytest.mark.server
def test_a_server_refuses_what_is_no_image_and_goes_on(server):
    refused = requests.post(server, json=forms(png(1), b"hello")[0], timeout=60)
    assert refused.status_code == 400
    assert "row 1, column 'image': not an image" in refused.json()["message"]
    assert requests.post(server, json=forms(png(1))[0], timeout=60).status_code == 200


RUBBISH = {
    "no table": "{}",
    "a list": "[1, 2]",
    "nothing": "",
    "not JSON": '{"dataframe_records": [',
    "deep JSON": "[" * 100_000,
    "no image": '{"dataframe_records": [{"image": null}]}',
    "a number": '{"dataframe_records": [{"image": 5}]}',
    "not base64": '{"dataframe_records": [{"image": "!!!"}]}',
    "another column": '{"dataframe_records": [{"photo": "AAAA"}]}',
    "a path": '{"dataframe_records": [{"image": "/etc/passwd"}]}',
    "too many pixels": json.dumps(forms(png(1)[:16] + b"\x00\x00\xff\xff" * 2 + png(1)[24:])[0]),
}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("kind", RUBBISH)
def test_a_server_outlives_rubbish(server, kind):
    refused = requests.post(server, data=RUBBISH[kind], headers={"Content-Type": "application/json"}, timeout=60)
    assert refused.status_code in (400, 500), refused.text  # MLflow's own parser fails with 500
    assert "root:" not in refused.text
    assert requests.post(server, json=forms(png(1))[0], timeout=60).status_code == 200
