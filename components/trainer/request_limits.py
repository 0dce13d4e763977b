"""Limits the size of a request to a signature; TF Serving itself has no such limits."""

import tensorflow as tf

from components.features import IMAGE_KEY
from registry.signatures import EXAMPLES, INPUTS, MAX_BATCH

MAX_EXAMPLES_BYTES = 64 * 1024**2
"""Maximum number of bytes of all tf.Examples of a request, enough for any image of 16 megapixels."""
MAX_IMAGE_NAMES = 20_000
"""Maximum number of occurrences of the name `image` in a request; it also occurs in the metadata of photos."""


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Tensor:
    """Makes a request fail unless a condition is met; returns a tensor for later ops to depend on.

    Unlike `tf.debugging.Assert`, it formats the message only if the condition is not met.

    Args:
        condition: bool[].
        message: A template for `tf.strings.format`.
        values: Its values.

    Raises:
        tf.errors.InvalidArgumentError: At run time: the condition is not met.
    """

    def fail() -> tf.Tensor:
        text = tf.strings.format(message, values)
        with tf.control_dependencies([tf.debugging.Assert(condition, [text])]):
            return tf.identity(condition)

    return tf.cond(condition, lambda: condition, fail)


def check_batch(signature: str, values: tf.Tensor) -> tf.Tensor:
    """Returns the input of a signature, [n,...], if it has no more images than `MAX_BATCH` allows."""
    num_images, most = tf.shape(values)[0], MAX_BATCH[signature]
    message = f"{INPUTS[signature]} has {{}} images, but at most {most} are allowed: send fewer per request"
    with tf.control_dependencies([require(num_images <= most, message, num_images)]):
        return tf.identity(values)


def check_examples(examples: tf.Tensor) -> tf.Tensor:
    """Returns tf.Examples, string[n], if they are not too long: the parser logs each image that it does not expect."""
    num_bytes = tf.reduce_sum(tf.strings.length(examples))
    message = f"{INPUTS[EXAMPLES]} has {{}} bytes, but at most {MAX_EXAMPLES_BYTES} are allowed: send fewer per request"
    with tf.control_dependencies([require(num_bytes <= MAX_EXAMPLES_BYTES, message, num_bytes)]):
        pieces = tf.strings.split(examples, IMAGE_KEY, maxsplit=MAX_IMAGE_NAMES + 1)
    is_allowed = tf.size(pieces.values) - tf.size(examples) <= MAX_IMAGE_NAMES
    message = (
        f"{INPUTS[EXAMPLES]} contains {IMAGE_KEY!r} more than {MAX_IMAGE_NAMES} times: send one image per tf.Example"
    )
    with tf.control_dependencies([require(is_allowed, message)]):
        return tf.identity(examples)
