"""The exported model: calibration, signatures, and a SavedModel that TF Serving can load."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tensorflow.autograph.experimental import do_not_convert

from components.features import IMAGE_KEY, MAX_PIXEL, Contract
from components.image_decoding import decode_images
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.image_files import limited_files
from components.trainer.image_normalization import normalize_images
from components.trainer.outliers import OutlierDetector, with_features
from components.trainer.request_limits import check_batch, check_examples, require
from registry.signatures import (
    CLASSES_OUTPUT,
    CONFIDENCE_OUTPUT,
    EXAMPLES,
    LABEL_OUTPUT,
    NORMALIZE,
    NORMALIZED_IMAGE_OUTPUT,
    PIXELS,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    STATUS_BLANK,
    STATUS_OK,
    STATUS_OUTPUT,
    STATUS_UNSURE,
    required_signatures,
)

# The faintest image of MNIST still has a pixel far above this; paper noise stays below it.
_MIN_INK = 32

# A calibrated answer below it is more likely wrong than right.
_LEAST_CONFIDENCE = 0.5

# White, if pixels were divided by 255, and less than that in a faint image.
_UNIT_WHITE, _LEAST_UNIT_WHITE = 1.0, 0.5

_TEMPERATURE_BOUNDS = (0.05, 20.0)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Calibrates by temperature scaling: minimizes the log loss of softmax(logits / temperature).

    A single number cannot change which class is the most probable, so calibration costs no accuracy (Guo et al. 2017,
    "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        logits: float[n,k] of k classes, of images that the model was not trained on.
        labels: int[n], 0 to k - 1.

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

    def loss_at(log_temperature: float) -> float:
        return log_loss(logits / math.exp(log_temperature), labels)

    least, most = _TEMPERATURE_BOUNDS
    return math.exp(minimize_scalar(loss_at, bounds=(math.log(least), math.log(most)), method="bounded").x)


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Returns the mean log loss of logits float[n,k] of k classes, given the labels int[n]."""
    return float(-log_softmax(logits, axis=-1)[np.arange(len(labels)), labels].mean())


class ServingModel(tf.Module):
    """The exported graph, from raw inputs to predictions: Transform graph, network, calibration and status.

    All predictions have the outputs `probabilities` float32[n,k], calibrated; `classes` string[n,k], their names in the
    same order; `label` string[n], the most probable class, empty if blank; `confidence` float32[n], its probability;
    `status` string[n]: `ok`; `unsure` if the answer is more likely wrong than right, or the image looks like none of
    the classes; or, if images are prepared as `ink`, `blank`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        contract: Contract,
        temperature: float,
        hyperparameters: Hyperparameters,
        detector: OutlierDetector | None = None,
    ) -> None:
        """Wraps a trained model.

        Args:
            model: From standardized images float32[n,height,width,channels] to logits float32[n,k].
            transform: Output of the Transform component; it standardized the training examples.
            contract: Classes, and size of the images.
            temperature: Divisor of the logits, from `fit_temperature`.
            hyperparameters: How to prepare images.
            detector: Detects images that look like none of the classes; default: none is detected.
        """
        super().__init__()
        self.model = model
        self._observed_model = with_features(model)
        # Used here and by datasets through `call`: a layer that was called itself is traced again when it is exported.
        self.transform_layer = transform.transform_features_layer()
        self.contract = contract
        self._temperature = temperature
        self._hyperparameters = hyperparameters
        self._detector = detector
        # The Transform graph is affine in the pixels.
        black, white = (tf.fill(contract.image_shape, tf.constant(level, tf.uint8)) for level in (0, MAX_PIXEL))
        self._offset = self._transform(tf.io.encode_png(black)[tf.newaxis]).numpy()
        self._factor = (self._transform(tf.io.encode_png(white)[tf.newaxis]).numpy() - self._offset) / MAX_PIXEL
        # Several endpoints call these, and an export traces each endpoint twice.
        self._limit_files = limited_files.get_concrete_function()
        files, images = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, *contract.image_shape])
        self._prepare = tf.function(self._prepare_files, autograph=False).get_concrete_function(files)
        self._classify = tf.function(self._classify_standardized, autograph=False).get_concrete_function(images)

    def classify_image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies encoded images, string[n]: PNG, JPEG, GIF or BMP of any size."""
        pixels, are_several = self._prepare(image_bytes)
        answers = self._classify_pixels(pixels)
        unsure = are_several & (answers[STATUS_OUTPUT] == STATUS_OK)
        return {**answers, STATUS_OUTPUT: tf.where(unsure, STATUS_UNSURE, answers[STATUS_OUTPUT])}

    def classify_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies normalized images, float32[n,height,width] or [n,height,width,3], 0 to 255."""
        shape = self.contract.image_shape if self.contract.channels > 1 else self.contract.image_shape[:2]
        checked = tf.ensure_shape(_unknown_shape(image), (None, *shape))
        numbers = tf.debugging.check_numerics(check_batch(PIXELS, checked), "a pixel is not a number")
        largest = tf.reduce_max(numbers)
        is_unit = (largest <= _UNIT_WHITE) & (largest > _LEAST_UNIT_WHITE)
        message = f"the largest pixel is {{}}, but white is {MAX_PIXEL}: multiply the pixels by {MAX_PIXEL}"
        with tf.control_dependencies([require(~is_unit, message, largest)]):
            images = tf.identity(numbers)
        return self._classify_pixels(tf.reshape(images, (-1, *self.contract.image_shape)))

    def classify_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies serialized raw tf.Examples, string[n]; ignores all features but the image."""
        limited = check_examples(check_batch(EXAMPLES, examples))
        features = tf.io.parse_example(limited, {IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)})
        return self._classify(self._transform(self._limit_files(features[IMAGE_KEY])))

    def normalize(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Converts encoded images, string[n], to the `image` that the network sees, the input of `pixels`."""
        pixels, _ = self._prepare(image_bytes)
        return {NORMALIZED_IMAGE_OUTPUT: pixels if self.contract.channels > 1 else pixels[..., 0]}

    def _prepare_files(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Converts encoded images to pixels, float32[n,height,width,channels], and finds several drawings, bool[n]."""
        # `normalize` has the same input and limits as `serving_default`.
        values = check_batch(SERVING_DEFAULT, tf.ensure_shape(_unknown_shape(image_bytes), [None]))
        files = self._limit_files(values)
        if self._hyperparameters.preparation == "resize":
            return decode_images(files, self.contract.image_shape), tf.zeros(tf.shape(files), tf.bool)
        images, are_several = normalize_images(files, self.contract.height, self.contract.width)
        return images[..., tf.newaxis], are_several

    def _transform(self, files: tf.Tensor) -> tf.Tensor:
        """Decodes and standardizes images as for training, float32[n,height,width,channels]."""
        return self.transform_layer.call({IMAGE_KEY: files})[IMAGE_KEY]

    def _classify_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies pixels float32[n,height,width,channels]."""
        return self._classify(tf.clip_by_value(tf.round(pixels), 0, MAX_PIXEL) * self._factor + self._offset)

    def _classify_standardized(self, standardized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies standardized images float32[n,height,width,channels]."""
        num_images = tf.shape(standardized)[0]
        # The CPU's fused convolutions fail on an empty batch: it gets one image, whose prediction is dropped.
        padded = tf.pad(standardized, [[0, tf.maximum(1 - num_images, 0)], [0, 0], [0, 0], [0, 0]])
        logits, features = (output[:num_images] for output in self._observed_model(padded, training=False))
        blank = self._find_blank(standardized)
        # For a blank image every class is equally likely.
        logits = tf.where(blank[:, tf.newaxis], tf.zeros_like(logits), logits)
        probabilities = tf.nn.softmax(logits / self._temperature)
        confidence = tf.reduce_max(probabilities, axis=-1)
        is_unsure = confidence < _LEAST_CONFIDENCE
        if self._detector:
            is_unsure |= self._detector.scores(logits, features) > 0
        status = tf.where(is_unsure, STATUS_UNSURE, STATUS_OK)
        classes = tf.constant(self.contract.classes)
        return {
            PROBABILITIES_OUTPUT: probabilities,
            CLASSES_OUTPUT: tf.repeat(classes[tf.newaxis], num_images, axis=0),
            LABEL_OUTPUT: tf.where(blank, "", tf.gather(classes, tf.argmax(probabilities, axis=-1))),
            CONFIDENCE_OUTPUT: confidence,
            STATUS_OUTPUT: tf.where(blank, STATUS_BLANK, status),
        }

    def _find_blank(self, standardized: tf.Tensor) -> tf.Tensor:
        """Returns which images have no ink, bool[n]."""
        if self._hyperparameters.preparation == "resize":
            return tf.zeros(tf.shape(standardized)[:1], tf.bool)
        # Halfway to the next lower pixel, because standardized pixels are rounded.
        least = (_MIN_INK - 0.5) * self._factor + self._offset
        return tf.reduce_all(standardized < least, axis=[1, 2, 3])


def export_model(serving_model: ServingModel, directory: str) -> None:
    """Writes a SavedModel with the signatures `serving_default`, `pixels`, `examples` and `normalize`.

    It uses Keras' ExportArchive because TF Serving cannot load what `tf.saved_model.save` writes of a Keras 3 model:
    its variables are missing in the session-based loader (keras-team/keras#20096).

    Args:
        serving_model: The trained model with its transformation and calibration.
        directory: Folder to write to; created if missing.
    """
    # It finds the variables of the network in the endpoints; tracking the network would store them a second time.
    archive = keras.export.ExportArchive()
    archive.track(serving_model.transform_layer)
    endpoints = {
        SERVING_DEFAULT: serving_model.classify_image_bytes,
        PIXELS: serving_model.classify_pixels,
        EXAMPLES: serving_model.classify_examples,
        NORMALIZE: serving_model.normalize,
    }
    contract = serving_model.contract
    for name, signature in required_signatures(*contract.image_shape, len(contract.classes)).items():
        specs = [tf.TensorSpec(form.shape, form.dtype, name=key) for key, form in signature.inputs.items()]
        archive.add_endpoint(name, do_not_convert(endpoints[name]), input_signature=specs)
    archive.write_out(directory, verbose=False)


def _unknown_shape(values: tf.Tensor) -> tf.Tensor:
    """Returns an input whose shape is still to be checked.

    TF Serving accepts any shape, and TensorFlow drops a check of a shape that it believes it knows. It knows nothing
    about the output of this op.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=values, shape=tf.TensorShape(None))
