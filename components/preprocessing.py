"""The `preprocessing_fn` of the Transform component; the exported model contains the same transformation."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.features import BRIGHTNESS_DEVIATION_KEY, BRIGHTNESS_MEAN_KEY, IMAGE_KEY, LABEL_KEY, Contract
from components.image_decoding import decode_images

CONTRACT_KEY = "contract"
"""Key of the fields of the contract in `custom_config`."""


def preprocessing_fn(inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Decodes and standardizes images, and maps class names to indices; Transform calls this.

    Args:
        inputs: `image` string[n], encoded images, `label` string[n], class names, `brightness_mean` and
            `brightness_deviation` float32[n], and features that are not used.
        custom_config: The fields of `Contract`.

    Returns:
        `image` float32[n,height,width,channels], less the mean and divided by the standard deviation of the brightness
        of all pixels of train, and `label` int64[n], the index of the class, -1 for a name that is not a class.
    """
    contract = Contract(**custom_config[CONTRACT_KEY])
    # From the summaries, so that the analysis decodes no image. Sums of float32 depend on the order in which a Beam
    # runner adds: on Flink the difference is 1e-6.
    means, deviations = (tf.cast(inputs[key], tf.float64) for key in (BRIGHTNESS_MEAN_KEY, BRIGHTNESS_DEVIATION_KEY))
    mean = tft.mean(means)
    deviation = tf.sqrt(tf.maximum(tft.mean(deviations**2 + means**2) - mean**2, 0))
    pixels = tf.cast(decode_images(inputs[IMAGE_KEY], contract.image_shape), tf.float64)
    # Images of a single brightness have no deviation.
    image = (pixels - mean) / tf.where(deviation > 0, deviation, 1)
    is_class = tf.equal(inputs[LABEL_KEY][:, tf.newaxis], tf.constant(contract.classes))
    index = tf.where(tf.reduce_any(is_class, axis=1), tf.argmax(tf.cast(is_class, tf.int8), axis=1), -1)
    return {IMAGE_KEY: tf.cast(image, tf.float32), LABEL_KEY: index}
