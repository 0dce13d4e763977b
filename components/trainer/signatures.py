"""The exported model: what it accepts, what it answers, and how it is written so that TF Serving can load it."""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.features import IMAGE_HEIGHT, IMAGE_KEY, IMAGE_SHAPE, IMAGE_WIDTH, LABEL_KEY, MAX_PIXEL
from components.trainer.image_normalization import normalize_images
from registry.signatures import (
    BLANK_DIGIT,
    CONFIDENCE_OUTPUT,
    DIGIT_OUTPUT,
    EXAMPLES,
    EXAMPLES_INPUT,
    IMAGE_BYTES_INPUT,
    IMAGE_INPUT,
    NORMALIZE,
    NORMALIZED_IMAGE_OUTPUT,
    PIXELS,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    STATUS_BLANK,
    STATUS_LOW_CONFIDENCE,
    STATUS_OK,
    STATUS_OUTPUT,
)

# The faintest image of MNIST still has a pixel far above this; paper noise stays below it.
_MIN_INK = 32


class DigitAnswers(tf.Module):
    """Raw pixels to answers: the Transform graph, the network, calibration and the status, in one graph."""

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
            low_confidence: Answers less probable than this get the status `low_confidence`.
        """
        super().__init__()
        self.model = model
        self.transform_layer = transform.transform_features_layer()
        self._example_spec: dict[str, Any] = {
            key: spec for key, spec in transform.raw_feature_spec().items() if key != LABEL_KEY
        }
        self._temperature = temperature
        self._low_confidence = low_confidence

    def from_raw(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers int64[n,28,28,1], 0 background to 255 ink.

        Returns:
            `probabilities` float32[n,10], calibrated; `digit` int64[n], -1 for a blank image; `confidence`
            float32[n], the probability of that digit; `status` string[n]: `ok`, `blank` or `low_confidence`.
        """
        num_images = tf.shape(images)[0]
        # The CPU's fused convolutions fail on an empty batch: it gets one image, whose answer is dropped.
        padded = tf.pad(images, [[0, tf.maximum(1 - num_images, 0)], [0, 0], [0, 0], [0, 0]])
        standardized = self.transform_layer({IMAGE_KEY: padded})[IMAGE_KEY]
        logits = self.model(standardized, training=False)[:num_images]
        blank = tf.reduce_max(images, axis=[1, 2, 3]) < _MIN_INK
        # An empty page gets no guess: every digit is equally likely.
        logits = tf.where(blank[:, tf.newaxis], tf.zeros_like(logits), logits)
        probabilities = tf.nn.softmax(logits / self._temperature)
        confidence = tf.reduce_max(probabilities, axis=-1)
        return {
            PROBABILITIES_OUTPUT: probabilities,
            DIGIT_OUTPUT: tf.where(blank, tf.constant(BLANK_DIGIT, tf.int64), tf.argmax(probabilities, axis=-1)),
            CONFIDENCE_OUTPUT: confidence,
            STATUS_OUTPUT: tf.where(
                blank,
                STATUS_BLANK,
                tf.where(confidence < self._low_confidence, STATUS_LOW_CONFIDENCE, STATUS_OK),
            ),
        }

    def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers serialized raw tf.Examples, string[n]; a label in them is ignored."""
        return self.from_raw(tf.io.parse_example(examples, self._example_spec)[IMAGE_KEY])

    def from_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers float32[n,28,28], 0 background to 255 ink."""
        # TF Serving takes any shape, whatever the signature says, and TensorFlow drops a check of what it thinks it
        # knows; behind this op it knows nothing.
        unknown = tf.raw_ops.PlaceholderWithDefault(input=image, shape=tf.TensorShape(None))
        checked = tf.ensure_shape(unknown, (None, IMAGE_HEIGHT, IMAGE_WIDTH))
        numbers = tf.debugging.check_numerics(checked, "a pixel is no number")
        pixels = tf.clip_by_value(tf.round(numbers), 0, MAX_PIXEL)
        return self.from_raw(tf.cast(pixels, tf.int64)[..., tf.newaxis])

    def from_image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers encoded images, string[n]: PNG, JPEG, GIF or BMP of any size, polarity and position."""
        return self.from_pixels(normalize_images(image_bytes))

    def normalized(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Shows what the network sees of encoded images, string[n].

        Returns:
            `image` float32[n,28,28], 0 background to 255 ink, as `from_pixels` takes it.
        """
        return {NORMALIZED_IMAGE_OUTPUT: normalize_images(image_bytes)}


def export_model(answers: DigitAnswers, directory: str) -> None:
    """Writes a SavedModel with the signatures `serving_default`, `pixels`, `examples` and `normalize`.

    It goes through Keras' ExportArchive because what `tf.saved_model.save` makes of a Keras 3 model cannot be loaded
    by TF Serving: its variables are missing in the session-based loader (keras-team/keras#20096).

    Args:
        answers: The trained model with its transformation and calibration.
        directory: Where to write; made if it is not there.
    """
    archive = keras.export.ExportArchive()
    archive.track(answers.model)
    archive.track(answers.transform_layer)
    archive.add_endpoint(
        SERVING_DEFAULT,
        answers.from_image_bytes,
        input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES_INPUT)],
    )
    archive.add_endpoint(
        PIXELS,
        answers.from_pixels,
        input_signature=[tf.TensorSpec([None, *IMAGE_SHAPE[:2]], tf.float32, name=IMAGE_INPUT)],
    )
    archive.add_endpoint(
        EXAMPLES,
        answers.from_examples,
        input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)],
    )
    archive.add_endpoint(
        NORMALIZE,
        answers.normalized,
        input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES_INPUT)],
    )
    archive.write_out(directory, verbose=False)
