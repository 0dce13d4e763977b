"""The answers that TF Serving's must equal: those of TensorFlow's own loader for Python."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from components.serving_check.exchange import Kind, Request

Answers = Mapping[str, np.ndarray]
"""Outputs of a signature by name."""


def python_answers(model_path: str, requests: Iterable[Request]) -> dict[str, Answers]:
    """Asks the good requests through `tf.saved_model.load`, in this process.

    Args:
        model_path: Folder of the SavedModel.
        requests: Requests of any kind; the good ones are sent.

    Returns:
        The outputs of each signature that was asked.

    Raises:
        Exception: Whatever the loader or the graph raises.
    """
    # The fresh process has no GPU; one here would calculate differently.
    with tf.device("/CPU:0"):
        signatures = tf.saved_model.load(model_path).signatures
        return {
            request.signature: {
                name: values.numpy()
                for name, values in signatures[request.signature](
                    **{request.input_name: tf.constant(request.values)}
                ).items()
            }
            for request in requests
            if request.kind == Kind.GOOD
        }
