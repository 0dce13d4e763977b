"""The one transformation between raw and trained pixels; Transform learns it, the exported model carries it."""

import tensorflow as tf
import tensorflow_transform as tft

from components.features import IMAGE_KEY, LABEL_KEY


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Standardizes pixels with the mean and the standard deviation of the train split.

    The Transform component calls this.

    Args:
        inputs: `image` int64[n,28,28,1], 0 to 255, and `label` int64[n], 0 to 9.

    Returns:
        `image` float32[n,28,28,1] of mean 0 and standard deviation 1 over all pixels of train, and `label` int64[n].
    """
    # Sums of float32 would depend on the order in which an engine adds: by 1e-6 of them, on Flink.
    image = tf.cast(inputs[IMAGE_KEY], tf.float64)
    return {
        IMAGE_KEY: tf.cast(tft.scale_to_z_score(image), tf.float32),
        LABEL_KEY: tf.identity(inputs[LABEL_KEY]),
    }
