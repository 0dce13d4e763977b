"""Limits how much one request to a signature may hold; TF Serving has no such limits of its own."""

import tensorflow as tf

from registry.signatures import EXAMPLES, INPUTS, MAX_BATCH

MAX_EXAMPLES_BYTES = 4 * 1024**2
"""Bytes of all tf.Examples of a request; a raw one has about 1 KB."""


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Tensor:
    """Makes a request fail unless a condition is met; returns what later ops must depend on.

    Unlike `tf.debugging.Assert`, it formats its message only if it is needed.

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
    """Returns the input of a signature, [n,...], if it has no more rows than `MAX_BATCH` allows."""
    num_rows, most = tf.shape(values)[0], MAX_BATCH[signature]
    message = f"{INPUTS[signature]} has {{}} rows, {most} at most: send fewer per request"
    with tf.control_dependencies([require(num_rows <= most, message, num_rows)]):
        return tf.identity(values)


def check_examples(examples: tf.Tensor) -> tf.Tensor:
    """Returns tf.Examples, string[n], if they are not longer than allowed: the parser logs each of their flaws."""
    num_bytes = tf.reduce_sum(tf.strings.length(examples))
    message = f"{INPUTS[EXAMPLES]} has {{}} bytes, {MAX_EXAMPLES_BYTES} at most: send fewer per request"
    with tf.control_dependencies([require(num_bytes <= MAX_EXAMPLES_BYTES, message, num_bytes)]):
        return tf.identity(examples)
