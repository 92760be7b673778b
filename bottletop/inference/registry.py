"""Trained models as MLflow models: written to a folder, registered, and fetched again."""

import importlib.metadata
import io
import logging
import shutil
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Map
from PIL import Image

from bottletop.core.errors import ArtefactError, reason
from bottletop.core.files import file_digest, replacing
from bottletop.inference import export, mlflow_model
from bottletop.inference.classifier import Classifier, Files
from bottletop.tracking.store import store, tracking_uri, transfer

PACKAGES = (  # what the model's code imports, and what its exported backbone needs
    "h5py", "keras", "mlflow", "msgspec", "ncnn", "numpy", "pandas", "pillow", "pillow-heif", "pyyaml", "scipy",
    "tensorflow",
)  # fmt: skip
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # hides the message that it checks the example
FOLDER = "model"  # name of the folder within the MLflow model's data


def write(folder: Path, files: Files, classifier: Classifier) -> None:
    """Writes the MLflow model, after checking that it gives the same probabilities as `classifier` on `export.probes`.

    It holds the model's files and this package's code, and lists the packages that it needs with their versions.

    Raises:
        ArtefactError: the probabilities differ; nothing is written.
    """
    signature = ModelSignature(
        Schema([ColSpec("binary", mlflow_model.COLUMN)]),
        Schema([ColSpec("string", "class"), ColSpec(Map("double"), "probabilities")]),
    )
    pictures = [_png(picture) for picture in export.probes()]
    with tempfile.TemporaryDirectory() as scratch, replacing(folder) as new:
        data = Path(scratch, FOLDER)
        data.mkdir()
        for path in (files.model / "top.keras", files.model / "top.json"):
            shutil.copyfile(path, data / path.name)
        if files.weights is not None:
            shutil.copyfile(files.weights, data / mlflow_model.WEIGHTS)
        mlflow.pyfunc.save_model(
            new,
            loader_module="bottletop.inference.mlflow_model",
            data_path=str(data),
            code_paths=[str(Path(__file__).parents[1])],
            signature=signature,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES],
            input_example=pd.DataFrame({mlflow_model.COLUMN: pictures[:1]}),
            metadata={"class_names": list(classifier.class_names)},
        )
        model = mlflow.pyfunc.load_model(str(new))
        for picture in pictures:
            [shares] = model.predict(pd.DataFrame({mlflow_model.COLUMN: [picture]}))["probabilities"]
            found = np.array([shares[name] for name in classifier.class_names])
            _, pixels = classifier.look(picture)
            export.check(found, classifier.probabilities(pixels[None]), folder)


def register(name: str, folder: Path, model: Path) -> str:
    """Logs the MLflow model to the run that trained it, and registers it.

    Args:
        name: the name to register it under.
        folder: the MLflow model.
        model: the folder of the top. The digest of its file identifies the run.

    Returns:
        The number of the registered version.

    Raises:
        ArtefactError: no run trained the model, or the tracking store cannot be reached.
    """
    with store() as client:
        digest = file_digest(model / "top.keras")
        experiments = [one.experiment_id for one in client.search_experiments(filter_string="name LIKE 'bottletop/%'")]
        found = client.search_runs(experiments, f"tags.model_digest = '{digest}'") if experiments else []
        if not found:
            raise ArtefactError(
                f"no run of the MLflow store trained the model in {model}, so {name!r} was not registered",
                "dvc repro logs one, and MLFLOW_TRACKING_URI names another store",
            )
        run = found[0].info
        place = f"classifier-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"  # each version has its own files
        with transfer(run.artifact_uri):
            client.log_artifacts(run.run_id, str(folder), place)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return str(client.create_model_version(name, f"{run.artifact_uri}/{place}", run.run_id).version)


def fetch(name: str, scratch: Path) -> Files:
    """Copies a registered model's files, without running any code that comes with it.

    Args:
        name: ``NAME`` for its last version, ``NAME/2``, or ``NAME@alias``.
        scratch: the folder to copy to.

    Raises:
        ArtefactError: there is no such model, or it was not written by `write`.
    """
    with store() as client:
        model, version = _version(client, name)
        uri = client.get_model_version_download_uri(model, version)
        with transfer(uri):
            local = mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch), tracking_uri=tracking_uri())
    found = mlflow_model.files(Path(local, "data", FOLDER))
    if not found.model.exists():
        raise ArtefactError(f"version {version} of {model!r} was not exported by bottletop export --register")
    return found


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _version(client: MlflowClient, name: str) -> tuple[str, str]:
    model, _, alias = name.partition("@")
    model, _, number = model.partition("/")
    try:
        if alias:
            return model, str(client.get_model_version_by_alias(model, alias).version)
        if number:
            return model, str(client.get_model_version(model, number).version)
        versions = [int(one.version) for one in client.search_model_versions(f"name = '{model}'")]
    except MlflowException as error:
        raise ArtefactError(f"no registered model is called {name!r} ({reason(error)})") from error
    if not versions:
        known = ", ".join(one.name for one in client.search_registered_models()) or "none"
        raise ArtefactError(f"no model is registered as {model!r}, there are: {known}", "bottletop export --register")
    return model, str(max(versions))
