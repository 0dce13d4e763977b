"""The `preprocessing_fn` of the Transform component; the exported model contains the same transformation."""

import tensorflow as tf
import tensorflow_transform as tft

from components.features import IMAGE_KEY, LABEL_KEY


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Standardizes pixels with the mean and the standard deviation of the train split; Transform calls this.

    Args:
        inputs: `image` int64[n,28,28,1], 0 to 255, and `label` int64[n], 0 to 9.

    Returns:
        `image` float32[n,28,28,1] with mean 0 and standard deviation 1 over all pixels of train, and `label` int64[n].
    """
    # Sums of float32 depend on the order in which a Beam runner adds: on Flink the difference is 1e-6.
    image = tf.cast(inputs[IMAGE_KEY], tf.float64)
    return {
        IMAGE_KEY: tf.cast(tft.scale_to_z_score(image), tf.float32),
        LABEL_KEY: tf.identity(inputs[LABEL_KEY]),
    }
