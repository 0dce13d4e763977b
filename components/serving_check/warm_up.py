"""Warm-up requests: what TF Serving sends a model before it shows it to clients, so that the first is not kept waiting.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup, at most 1000 records.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from components.serving_check.contract import SIGNATURES, input_name
from components.serving_check.requests import encode_images
from registry.signatures import NORMALIZE, SERVING_DEFAULT

_NUM_SINGLE_IMAGES = 3
_BATCH_SIZE = 32
_OF_ENCODED_IMAGES = (SERVING_DEFAULT, NORMALIZE)
_CANVAS_SCALE = 10


def warm_up_requests(images: np.ndarray, model_name: str) -> Iterator[PredictionLog]:
    """Makes the warm-up requests: to every signature a few single images and a batch.

    Those that take encoded images get them as a canvas in a browser gives them.

    Args:
        images: uint8[n,28,28], at least one; fewer than a batch are repeated.
        model_name: Name under which the model is served.
    """
    batch = np.resize(images, (_BATCH_SIZE, *images.shape[1:]))
    for signature in SIGNATURES:
        for request in (*np.split(batch[:_NUM_SINGLE_IMAGES], _NUM_SINGLE_IMAGES), batch):
            values = _canvases(request) if signature in _OF_ENCODED_IMAGES else encode_images(signature, request)
            yield _prediction_log(signature, values, model_name)


def _canvases(images: np.ndarray) -> np.ndarray:
    """Draws images in black on transparent PNGs of 280x280 pixels."""
    alpha = images.repeat(_CANVAS_SCALE, axis=1).repeat(_CANVAS_SCALE, axis=2)
    black = np.zeros_like(alpha)
    canvases = np.stack([black, black, black, alpha], axis=-1)
    return np.array([tf.io.encode_png(canvas).numpy() for canvas in canvases], dtype=object)


def _prediction_log(signature: str, values: np.ndarray, model_name: str) -> PredictionLog:
    request = PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs[input_name(signature)].CopyFrom(tf.make_tensor_proto(values))
    return PredictionLog(predict_log=PredictLog(request=request))
