"""Temperature scaling: makes the probabilities of the export mean what they say."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_MIN_TEMPERATURE = 0.05
_MAX_TEMPERATURE = 20.0


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Finds the temperature that minimizes the log loss of softmax(logits / temperature).

    One number cannot change which digit is the most probable, so calibration costs no accuracy (Guo et al. 2017,
    "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        logits: float[n,10], of images that the model was not trained on.
        labels: int[n], 0 to 9.

    Returns:
        The temperature, 0.05 to 20; above 1 where the model is too sure of itself.

    Raises:
        ValueError: There are no images, or a logit is not a finite number: training diverged.
    """
    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError(
            f"calibration needs finite logits of at least one image, got {len(logits)} images of which "
            f"{int((~np.isfinite(logits)).any(axis=-1).sum())} have logits that are not finite; "
            "if there are any, training diverged: lower trainer.learning_rate."
        )
    rows = np.arange(len(labels))

    def log_loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=-1)[rows, labels].mean())

    bounds = (math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE))
    return math.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded").x)
