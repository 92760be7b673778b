"""Features, and a model trained on them, that the tests of models share."""

import pytest

from tests.tiny import feature_folder, opened, simple_params


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """Three classes that any top tells apart."""
    folder = tmp_path_factory.mktemp("easy") / "features"
    return opened(folder, feature_folder(folder))


@pytest.fixture(scope="module")
def trained(easy):
    """A network at its best of four epochs."""
    from bottletop.models import training  # imports TensorFlow, which not all tests here need

    return training.train(easy, simple_params(epochs=4))
