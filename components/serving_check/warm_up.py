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

_NUM_SINGLE_IMAGES = 3
_BATCH_SIZE = 32


def warm_up_requests(images: np.ndarray, model_name: str) -> Iterator[PredictionLog]:
    """Makes the warm-up requests: to every signature a few single images and a batch.

    Args:
        images: uint8[n,28,28], at least one; fewer than a batch are repeated.
        model_name: Name under which the model is served.
    """
    batch = np.resize(images, (_BATCH_SIZE, *images.shape[1:]))
    for signature in SIGNATURES:
        for request in (*np.split(batch[:_NUM_SINGLE_IMAGES], _NUM_SINGLE_IMAGES), batch):
            yield _prediction_log(signature, encode_images(signature, request), model_name)


def _prediction_log(signature: str, values: np.ndarray, model_name: str) -> PredictionLog:
    request = PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs[input_name(signature)].CopyFrom(tf.make_tensor_proto(values))
    return PredictionLog(predict_log=PredictLog(request=request))
