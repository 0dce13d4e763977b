"""Reads the requests that a version brings with it, to be sent to it before it is shown to clients.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_PREDICT = "predict_log"


class WarmUpError(ValueError):
    """A file of warm-up requests cannot be used; the message says why."""


@dataclass(frozen=True)
class WarmUpRequest:
    """A request to a signature: its name and its inputs by name."""

    signature: str
    inputs: dict[str, np.ndarray]


def read_warm_up(directory: Path) -> Iterator[WarmUpRequest]:
    """Reads the warm-up requests of a version.

    Args:
        directory: Folder of the SavedModel.

    Yields:
        Its requests, in their order; none where it has none.

    Raises:
        WarmUpError: The file is damaged, or holds other requests than those of Predict.
    """
    file = directory / _FILE
    if not file.is_file():
        return
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            yield _parse(record)
    except (tf.errors.DataLossError, DecodeError) as error:
        raise WarmUpError(f"{file} is damaged: {error}") from error


def _parse(record: bytes) -> WarmUpRequest:
    log = PredictionLog.FromString(record)
    if log.WhichOneof("log_type") != _PREDICT:
        raise WarmUpError(f"{_FILE} holds a {log.WhichOneof('log_type')}; expected a {_PREDICT}.")
    request = log.predict_log.request
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    return WarmUpRequest(request.model_spec.signature_name, inputs)
