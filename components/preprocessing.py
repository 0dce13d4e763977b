"""The `preprocessing_fn` of the Transform component; the exported model contains the same transformation."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.features import IMAGE_KEY, LABEL_KEY, Contract
from components.image_decoding import decode_images

CONTRACT_KEY = "contract"
"""Key of the fields of the contract in `custom_config`."""


def preprocessing_fn(inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Decodes and standardizes images, and maps class names to indices; Transform calls this.

    Args:
        inputs: `image` string[n], encoded images, `label` string[n], class names, and features that are not used.
        custom_config: The fields of `Contract`.

    Returns:
        `image` float32[n,height,width,channels] with mean 0 and standard deviation 1 over all pixels of train, and
        `label` int64[n], the index of the class, -1 for a name that is not a class.
    """
    contract = Contract(**custom_config[CONTRACT_KEY])
    # Sums of float32 depend on the order in which a Beam runner adds: on Flink the difference is 1e-6.
    image = tf.cast(decode_images(inputs[IMAGE_KEY], contract), tf.float64)
    is_class = tf.equal(inputs[LABEL_KEY][:, tf.newaxis], tf.constant(contract.classes))
    index = tf.where(tf.reduce_any(is_class, axis=1), tf.argmax(tf.cast(is_class, tf.int8), axis=1), -1)
    return {IMAGE_KEY: tf.cast(tft.scale_to_z_score(image), tf.float32), LABEL_KEY: index}
