"""Registered models whose files are in odd places, or in none: one line says which place and why."""

import os
import sqlite3

import pytest

from bottletop.cli import main
from bottletop.tracking.store import store

PLACES = {
    "s3": ("s3://bucket-of-nobody/model", "NoCredentialsError: Unable to locate credentials"),
    "http": ("http://127.0.0.1:1/model", "ValueError: "),
    "ftp": ("ftp://127.0.0.1:1/model", "ConnectionRefusedError: "),
    "gs": ("gs://bucket/model", "ModuleNotFoundError: No module named 'google.cloud'"),
    "odd": ("wxyz://place/model", "MlflowException: Could not find a registered artifact repository"),
    "gone": ("/nowhere/model", "No such artifact"),
    "control": ("/tmp/\x1b[31m", "No such artifact"),  # noqa: S108 (it is not there)
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("DVC_ROOT", str(folder))
        with store() as client:
            for name in PLACES:
                client.create_registered_model(name)
                client.create_model_version(name, "/tmp")  # noqa: S108 (replaced below; MLflow refuses some places)
    with sqlite3.connect(folder / "mlflow.db") as database:
        for name, (place, _) in PLACES.items():
            database.execute(
                "update model_versions set source = ?, storage_location = ? where name = ?", (place, place, name)
            )
    return folder


@pytest.fixture(autouse=True)
def here(registry, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # without anybody's credentials
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DVC_ROOT", str(registry))
    monkeypatch.chdir(registry)


@pytest.mark.parametrize("name", PLACES)
def test_files_that_cannot_be_fetched_are_one_line_and_leave_nothing_behind(name, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--registered", name, "a.png"])
    message = str(ended.value.code)
    assert message.startswith("bottletop: files can't be copied from or to ")
    assert PLACES[name][1] in message
    assert not set("\n\x1b") & set(message)
    assert os.listdir(scratch) == []  # noqa: PTH208


def test_a_name_with_a_quote_is_one_line():
    with pytest.raises(SystemExit, match=r"""^bottletop: no registered model is called "a'b" """):
        main(["predict", "--registered", "a'b", "a.png"])
