from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.features import Contract
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.model import build_model
from components.trainer.outliers import OutlierDetector, fit_outlier_detector, with_features
from pipeline.settings.settings import PROJECT_ROOT
from tests.support.examples import DIGITS


def observed_model(contract: Contract) -> keras.Model:
    keras.utils.set_random_seed(0)
    return with_features(build_model(contract, Hyperparameters(width=16, depth=1)))


def share_of_outliers(detector: OutlierDetector, model: keras.Model, images: np.ndarray) -> float:
    return float((detector.scores(*model.predict(images, verbose=0)).numpy() > 0).mean())


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_detects_images_of_nothing_known(share: float) -> None:
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as data:
        images, labels = data["x_train"][:2000, ..., np.newaxis] / 127.5 - 1, data["y_train"][:1000]
    fitted, known = images.astype(np.float32).reshape(2, 1000, *DIGITS.image_shape)
    model = observed_model(DIGITS)
    detector = fit_outlier_detector(model, tf.data.Dataset.from_tensor_slices((fitted, labels)), share, seed=0)
    assert share_of_outliers(detector, model, known) == pytest.approx(share, abs=0.03)
    noise = np.random.default_rng(0).choice(known.ravel(), known.shape)
    assert share_of_outliers(detector, model, noise) > 0.95
    # Even the features of a network that was not trained tell that these digits lie on the side.
    assert share_of_outliers(detector, model, np.rot90(known, axes=(1, 2))) > 2.5 * share


def test_is_deterministic(make_standardized: Callable[[int, int], tf.data.Dataset]) -> None:
    model, examples = observed_model(DIGITS), make_standardized(100, 0)
    first, second = (fit_outlier_detector(model, examples, 0.01, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.bias == second.bias


@pytest.mark.parametrize("num_images", [1, 2, 7])
def test_few_images_of_few_classes(num_images: int) -> None:
    contract = Contract(("a", "b", "c"), 30, 17, 3)
    model = observed_model(contract)
    images = np.random.default_rng(0).normal(size=(num_images, *contract.image_shape)).astype(np.float32)
    examples = tf.data.Dataset.from_tensor_slices((images, np.arange(num_images) % 2))
    detector = fit_outlier_detector(model, examples, 0.01, seed=0)
    assert np.isfinite(detector.scores(*model.predict(images, verbose=0))).all()
