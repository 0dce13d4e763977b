"""Exchanges as clients record them, without a server."""

from collections.abc import Callable

import numpy as np
import orjson
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from benchmarks.serving.traffic import Answer, Exchange, Request
from serving.server.metrics import Api


def response_content(api: Api, digits: tuple[int, ...], version: int) -> bytes:
    if api == "REST":
        return orjson.dumps({"predictions": [{"label": str(digit), "status": "ok"} for digit in digits]})
    response = PredictResponse()
    response.model_spec.version.value = version
    response.outputs["label"].CopyFrom(tf.make_tensor_proto([str(digit) for digit in digits]))
    response.outputs["status"].CopyFrom(tf.make_tensor_proto(["ok"] * len(digits)))
    content: bytes = response.SerializeToString()
    return content


@pytest.fixture
def make_exchange() -> Callable[..., Exchange]:
    """Records a response to a request with a nine and a three."""

    def make(
        api: Api,
        digits: tuple[int, ...] = (9, 3),
        version: int = 1,
        sent: float = 0.0,
        answered: float = 1.0,
        client: int = 0,
        error: str = "",
        content: bytes = b"",
    ) -> Exchange:
        expected = Answer(np.array([9, 3]), np.array([b"ok", b"ok"]))
        content = content or (b"" if error else response_content(api, digits, version))
        return Exchange(client, Request(api, "pixels", b"", expected), content, error, sent, answered)

    return make
