import subprocess
import sys

import numpy as np
import pytest

from bottletop.core.errors import ArtefactError
from bottletop.core.files import SUMS
from bottletop.models.record import read_probabilities, read_record
from tests.tiny import ROOT


@pytest.fixture
def folder(easy, trained, tmp_path):
    trained.save(tmp_path / "digits", tmp_path / "history.csv")
    return tmp_path / "digits"


def test_the_probabilities_are_those_of_the_model_for_each_image_of_a_side(easy, trained, folder):
    found = read_probabilities(folder, easy.rows)
    assert sorted(found) == ["test", "validation"]
    for split, values in found.items():
        expected = trained.model.predict_on_batch(easy.read(easy.positions(split)))
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_the_probabilities_of_a_model_that_was_trained_on_another_split_are_refused(easy, folder):
    swapped = [easy.rows[0]._replace(split="test"), *easy.rows[1:]]
    with pytest.raises(ArtefactError, match="trained on another split: run dvc repro train@digits"):
        read_probabilities(folder, swapped)


def test_probabilities_that_ask_for_a_newer_zip_name_the_stage_that_makes_them(easy, folder):
    data = bytearray((folder / "probabilities.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 195
    (folder / SUMS).unlink()
    (folder / "probabilities.npz").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"zip file version 19.5.*dvc repro train@digits"):
        read_probabilities(folder, easy.rows)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None], ids=["empty", "cut off", "missing"])
def test_damaged_probabilities_name_the_stage_that_makes_them(easy, folder, damage):
    (folder / SUMS).unlink()  # earlier versions wrote none
    (folder / "probabilities.npz").unlink()
    if damage is not None:
        (folder / "probabilities.npz").write_bytes(damage)
    with pytest.raises(ArtefactError, match="dvc repro train@digits"):
        read_probabilities(folder, easy.rows)


def test_a_record_that_is_missing_names_the_stage_that_makes_it(folder):
    (folder / "top.json").unlink()
    with pytest.raises(ArtefactError, match="dvc repro train@digits"):
        read_record(folder)


def test_evaluation_imports_none_of_the_large_libraries():
    code = "import stages.evaluate, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "mlflow", "pandas", "sklearn"} & set(done.stdout.split())
