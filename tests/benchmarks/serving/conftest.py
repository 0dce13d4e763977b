"""Exchanges as clients record them, without a server."""

from collections.abc import Callable

import numpy as np
import orjson
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from benchmarks.serving.clients import Exchange, Reply
from benchmarks.serving.messages import Api, Expected, Request

MakeExchange = Callable[..., Exchange]


def expected(*digits: int) -> Expected:
    return Expected(np.array(digits, np.int64), np.array([b"ok"] * len(digits)))


def reply(api: Api, digits: tuple[int, ...], version: int, status: str) -> bytes:
    if api is Api.REST:
        return orjson.dumps({"predictions": [{"digit": digit, "status": status} for digit in digits]})
    response = PredictResponse()
    response.model_spec.version.value = version
    response.outputs["digit"].CopyFrom(tf.make_tensor_proto(np.array(digits, np.int64)))
    response.outputs["status"].CopyFrom(tf.make_tensor_proto([status] * len(digits)))
    content: bytes = response.SerializeToString()
    return content


@pytest.fixture
def make_exchange() -> MakeExchange:
    """Records an answer to a request with a nine and a three."""

    def make(
        api: Api,
        digits: tuple[int, ...] = (9, 3),
        version: int = 1,
        sent: float = 0.0,
        answered: float = 1.0,
        client: int = 0,
        status: str = "ok",
        error: str = "",
    ) -> Exchange:
        request = Request(api, "pixels", b"", expected(9, 3))
        content = b"" if error else reply(api, digits, version, status)
        return Exchange(client, request, Reply(content, error), sent, answered)

    return make
