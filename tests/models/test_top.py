import numpy as np
import pytest
from scipy.special import erf, softmax

from bottletop.backbones.runtime import keras
from bottletop.core.errors import ParamsError
from bottletop.models import top
from tests.tiny import simple_params


@pytest.mark.parametrize(
    ("activation", "function"),
    {
        "leaky_relu": lambda x: np.where(x > 0, x, 0.25 * x),
        "relu": lambda x: np.maximum(x, 0),
        "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
        "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
        "selu": lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(x)),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "tanh": np.tanh,
    }.items(),
)
def test_the_network_is_transform_standardisation_hidden_layers_and_softmax(activation, function):
    random = np.random.default_rng(0)
    features = random.uniform(-9, 9, (5, 6))
    mean, variance = random.uniform(1, 2, 6), random.uniform(0.5, 2, 6)
    chosen = simple_params(
        hidden=[8, 4], dropout=[0.5, 0.5], input_dropout=0.5, activation=activation, leaky_slope=0.25
    )
    model = top.build(6, 3, chosen, (mean, variance))
    weights = [random.standard_normal(weight.shape) for weight in model.get_weights()]
    model.set_weights(weights)
    values = (np.sign(features) * np.sqrt(np.abs(features)) - mean) / np.sqrt(variance)
    values = function(values @ weights[0] + weights[1])
    values = function(values @ weights[2] + weights[3])
    expected = softmax(values @ weights[4] + weights[5], axis=1)
    np.testing.assert_allclose(model.predict_on_batch(features), expected, rtol=1e-4, atol=1e-6)


def test_without_hidden_layers_the_top_is_linear():
    model = top.build(6, 3, simple_params(hidden=[], dropout=[], transform="none"), None)
    assert sum(isinstance(layer, keras.layers.Dense) for layer in model.layers) == 1
    assert model.count_params() == 6 * 3 + 3


def test_dropout_is_on_the_features_and_after_each_hidden_layer():
    model = top.build(6, 3, simple_params(input_dropout=0.1, hidden=[5, 4], dropout=[0.2, 0.3]), None)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.1, 0.2, 0.3]


def test_one_fraction_is_dropped_after_every_hidden_layer():
    model = top.build(6, 3, simple_params(hidden=[5, 4], dropout=0.4), None)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)][-2:] == [0.4, 0.4]


def test_l2_penalises_the_kernels_of_all_layers_and_no_bias():
    model = top.build(6, 3, simple_params(hidden=[5], l2=0.5), None)
    model.set_weights([np.full(weight.shape, 2.0) for weight in model.get_weights()])
    assert float(sum(model.losses)) == pytest.approx(0.5 * 4 * (6 * 5 + 5 * 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": [10, 5], "dropout": [0.5]}, "a value per hidden layer, 2, got 1"),
        ({"hidden": [0], "dropout": [0.5]}, r"train\.hidden\[0\] must be a whole number from 1 on; got 0"),
        ({"dropout": [1.0], "hidden": [5]}, r"train\.dropout\[0\] must be a number from 0 to below 1; got 1.0"),
        ({"dropout": 1.0}, r"train\.dropout must be a number from 0 to below 1, or a list"),
        ({"input_dropout": 1.5}, r"train\.input_dropout.*got 1\.5"),
        ({"learning_rate": 0}, r"train\.learning_rate.*got 0"),
        ({"learning_rate": "fast"}, r"train\.learning_rate.*got fast"),
        ({"epochs": 0}, r"train\.epochs.*got 0"),
        ({"epochs": 1.5}, r"train\.epochs.*got 1\.5"),
        ({"batch_size": 0}, r"train\.batch_size.*got 0"),
        ({"patience": 0}, r"train\.patience.*got 0"),
        ({"label_smoothing": -0.1}, r"train\.label_smoothing.*got -0\.1"),
        ({"l2": -1}, r"train\.l2.*got -1"),
        ({"seed": -1}, r"train\.seed.*got -1"),
        ({"activation": "relu6"}, r"train\.activation.*got relu6"),
        ({"optimiser": "adamw"}, r"train\.optimiser.*got adamw"),
        ({"features": "block4"}, r"train\.features.*got block4"),
        ({"pooling": "sum"}, r"train\.pooling.*got sum"),
        ({"transform": "log"}, r"train\.transform.*got log"),
        ({"learning_rte": 1}, "learning_rte"),
    ],
)
def test_params_out_of_bounds_are_refused_and_named(changes, message):
    with pytest.raises(ParamsError, match=message):
        simple_params(**changes)
