"""The exported model: calibration, signatures, and a SavedModel that TF Serving can load."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_WIDTH, LABEL_KEY, MAX_PIXEL, NUM_CLASSES
from components.trainer.image_normalization import normalize_images
from components.trainer.request_limits import check_batch, check_examples
from registry.signatures import (
    BLANK_DIGIT,
    CONFIDENCE_OUTPUT,
    DIGIT_OUTPUT,
    EXAMPLES,
    NORMALIZE,
    NORMALIZED_IMAGE_OUTPUT,
    PIXELS,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    STATUS_BLANK,
    STATUS_LOW_CONFIDENCE,
    STATUS_OK,
    STATUS_OUTPUT,
    required_signatures,
)

# The faintest image of MNIST still has a pixel far above this; paper noise stays below it.
_MIN_INK = 32

_TEMPERATURE_BOUNDS = (0.05, 20.0)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Calibrates by temperature scaling: minimizes the log loss of softmax(logits / temperature).

    A single number cannot change which digit is the most probable, so calibration costs no accuracy (Guo et al. 2017,
    "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        logits: float[n,10], of images that the model was not trained on.
        labels: int[n], 0 to 9.

    Returns:
        The temperature, 0.05 to 20; above 1 if the model is overconfident.

    Raises:
        ValueError: There are no images, or a logit is not finite because training diverged.
    """
    if not len(logits) or not np.isfinite(logits).all():
        num_diverged = int((~np.isfinite(logits)).any(axis=-1).sum())
        raise ValueError(
            f"Calibration needs finite logits of at least one image, got {len(logits)} images, {num_diverged} of them "
            "with logits that are not finite. If there are any, training diverged: lower trainer.learning_rate."
        )
    rows = np.arange(len(labels))

    def log_loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=-1)[rows, labels].mean())

    least, most = _TEMPERATURE_BOUNDS
    return math.exp(minimize_scalar(log_loss, bounds=(math.log(least), math.log(most)), method="bounded").x)


class ServingModel(tf.Module):
    """The exported graph, from raw inputs to predictions: Transform graph, network, calibration and status.

    All predictions have the outputs `probabilities` float32[n,10], calibrated; `digit` int64[n], -1 for a blank image;
    `confidence` float32[n], the probability of that digit; `status` string[n]: `ok`, `blank` or `low_confidence`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        temperature: float,
        low_confidence: float,
    ) -> None:
        """Wraps a trained model.

        Args:
            model: From standardized images float32[n,28,28,1] to logits float32[n,10].
            transform: Output of the Transform component that made the training examples.
            temperature: Divisor of the logits, from `fit_temperature`.
            low_confidence: Predictions with a lower confidence have the status `low_confidence`.
        """
        super().__init__()
        self.model = model
        self.transform_layer = transform.transform_features_layer()
        self._example_spec: dict[str, Any] = {
            key: spec for key, spec in transform.raw_feature_spec().items() if key != LABEL_KEY
        }
        self._temperature = temperature
        self._low_confidence = low_confidence

    def classify_image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies encoded images, string[n]: PNG, JPEG, GIF or BMP of any size, polarity and position."""
        return self.classify_pixels(normalize_images(image_bytes))

    def classify_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies normalized images, float32[n,28,28], 0 background to 255 ink."""
        # TF Serving accepts any shape, and TensorFlow drops a check of a shape that it believes to know. It knows
        # nothing about the output of this op.
        unknown = tf.raw_ops.PlaceholderWithDefault(input=image, shape=tf.TensorShape(None))
        checked = tf.ensure_shape(unknown, (None, IMAGE_HEIGHT, IMAGE_WIDTH))
        numbers = tf.debugging.check_numerics(check_batch(PIXELS, checked), "a pixel is not a number")
        pixels = tf.clip_by_value(tf.round(numbers), 0, MAX_PIXEL)
        return self._classify(tf.cast(pixels, tf.int64)[..., tf.newaxis])

    def classify_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies serialized raw tf.Examples, string[n]; ignores their labels."""
        limited = check_examples(check_batch(EXAMPLES, examples))
        return self._classify(tf.io.parse_example(limited, self._example_spec)[IMAGE_KEY])

    def normalize(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Converts encoded images, string[n], to the `image` float32[n,28,28] that the network sees."""
        return {NORMALIZED_IMAGE_OUTPUT: normalize_images(image_bytes)}

    def _classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies raw images int64[n,28,28,1]."""
        num_images = tf.shape(images)[0]
        # The CPU's fused convolutions fail on an empty batch: it gets one image, whose prediction is dropped.
        padded = tf.pad(images, [[0, tf.maximum(1 - num_images, 0)], [0, 0], [0, 0], [0, 0]])
        standardized = self.transform_layer({IMAGE_KEY: padded})[IMAGE_KEY]
        logits = self.model(standardized, training=False)[:num_images]
        blank = tf.reduce_max(images, axis=[1, 2, 3]) < _MIN_INK
        # For a blank image every digit is equally likely.
        logits = tf.where(blank[:, tf.newaxis], tf.zeros_like(logits), logits)
        probabilities = tf.nn.softmax(logits / self._temperature)
        confidence = tf.reduce_max(probabilities, axis=-1)
        status = tf.where(confidence < self._low_confidence, STATUS_LOW_CONFIDENCE, STATUS_OK)
        return {
            PROBABILITIES_OUTPUT: probabilities,
            DIGIT_OUTPUT: tf.where(blank, tf.constant(BLANK_DIGIT, tf.int64), tf.argmax(probabilities, axis=-1)),
            CONFIDENCE_OUTPUT: confidence,
            STATUS_OUTPUT: tf.where(blank, STATUS_BLANK, status),
        }


def export_model(serving_model: ServingModel, directory: str) -> None:
    """Writes a SavedModel with the signatures `serving_default`, `pixels`, `examples` and `normalize`.

    It uses Keras' ExportArchive because TF Serving cannot load what `tf.saved_model.save` writes of a Keras 3 model:
    its variables are missing in the session-based loader (keras-team/keras#20096).

    Args:
        serving_model: The trained model with its transformation and calibration.
        directory: Folder to write to; created if missing.
    """
    archive = keras.export.ExportArchive()
    archive.track(serving_model.model)
    archive.track(serving_model.transform_layer)
    endpoints = {
        SERVING_DEFAULT: serving_model.classify_image_bytes,
        PIXELS: serving_model.classify_pixels,
        EXAMPLES: serving_model.classify_examples,
        NORMALIZE: serving_model.normalize,
    }
    for name, signature in required_signatures(IMAGE_HEIGHT, IMAGE_WIDTH, NUM_CLASSES).items():
        specs = [tf.TensorSpec(form.shape, form.dtype, name=key) for key, form in signature.inputs.items()]
        archive.add_endpoint(name, endpoints[name], input_signature=specs)
    archive.write_out(directory, verbose=False)
