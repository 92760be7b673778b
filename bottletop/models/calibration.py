"""Calibration of a trained model by temperature scaling: its logits are divided by one number."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax


def best_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Fits the temperature that minimises the log loss on these images (Guo et al., 2017).

    Temperature scaling does not change the order of the classes. If all of a few images are classified correctly, the
    log loss alone would push the probabilities to certainty. So one virtual image is added, equally likely to be of
    any class.

    Args:
        probabilities: (n, classes).
        labels: (n,), positions of the true classes.

    Returns:
        The temperature, between exp(-3) and exp(3); above 1, it makes the model less confident.
    """
    logits = np.log(probabilities.astype(np.float64).clip(1e-12))
    any_class = 1 / (len(labels) + 1)

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        own = (1 - any_class) * scaled[np.arange(len(labels)), labels] + any_class * scaled.mean(1)
        return float((logsumexp(scaled, axis=1) - own).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-3, 3), method="bounded").x))


def cautious_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """As `best_temperature`, but its logarithm is nearer to 0 by its standard error: few images say little."""
    temperature = best_temperature(probabilities, labels)
    logits = np.log(probabilities.astype(np.float64).clip(1e-12)) / temperature
    expected = softmax(logits, axis=1)
    mean = (expected * logits).sum(1)
    slopes = mean - logits[np.arange(len(labels)), labels]
    curvature = float(((expected * logits**2).sum(1) - mean**2).mean())
    error = np.sqrt((slopes**2).mean() / len(labels)) / max(curvature, 1e-12)
    logarithm = np.log(temperature)
    return float(np.exp(np.sign(logarithm) * max(0.0, abs(logarithm) - error)))
