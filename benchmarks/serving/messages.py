"""Requests in the bytes of both APIs, made before they are timed; and what the bytes of an answer say."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import orjson
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from benchmarks.serving.images import INPUTS
from components.features import NUM_CLASSES
from registry.signatures import DEFAULT_MODEL_NAME, DIGIT_OUTPUT, STATUS_OUTPUT


class Api(StrEnum):
    """How a request is sent."""

    REST = "REST"
    GRPC = "gRPC"


@dataclass(frozen=True)
class Expected:
    """What the original model answers to a batch, calculated without a server.

    Attributes:
        digits: int64[n].
        statuses: bytes[n].
    """

    digits: NDArray[np.int64]
    statuses: NDArray[np.bytes_]

    def take(self, positions: NDArray[np.intp]) -> "Expected":
        """Returns those of the images at `positions`."""
        return Expected(self.digits[positions], self.statuses[positions])


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent.

    Attributes:
        api: How it is sent.
        signature: Which signature it asks.
        content: Its body or message.
        expected: What the original model answers.
    """

    api: Api
    signature: str
    content: bytes
    expected: Expected


@dataclass(frozen=True)
class Answer:
    """What an answer says.

    Attributes:
        digits: int64[n].
        statuses: bytes[n].
        version: The version that answered; None over REST, which does not tell.
    """

    digits: NDArray[np.int64]
    statuses: NDArray[np.bytes_]
    version: int | None

    def is_right(self, expected: Expected, digit_shift: int) -> bool:
        """Says whether a model whose digits are `digit_shift` further on answers so."""
        # A blank image is -1 to all models.
        digits = np.where(expected.digits < 0, expected.digits, (expected.digits + digit_shift) % NUM_CLASSES)
        return np.array_equal(self.digits, digits) and np.array_equal(self.statuses, expected.statuses)


def encode(api: Api, signature: str, batch: NDArray[np.generic], expected: Expected) -> Request:
    """Makes a request.

    Args:
        api: How it is to be sent.
        signature: Which signature is asked.
        batch: Its input, as `make_images` makes it.
        expected: What the original model answers.
    """
    encoders: Mapping[Api, Callable[[str, NDArray[np.generic]], bytes]] = {
        Api.REST: rest_body,
        Api.GRPC: grpc_message,
    }
    return Request(api, signature, encoders[api](signature, batch), expected)


def decode(api: Api, content: bytes) -> Answer:
    """Reads an answer.

    Raises:
        ValueError: It is none of a model that keeps the contract.
    """
    try:
        return _rest_answer(content) if api is Api.REST else _grpc_answer(content)
    except Exception as error:
        raise ValueError(f"not an answer of the contract: {content[:200]!r}") from error


def rest_body(signature: str, batch: NDArray[np.generic]) -> bytes:
    """Makes the JSON of a request in the row format."""
    # Whole numbers, as most programs send them.
    rows = (
        [{"b64": base64.b64encode(each).decode()} for each in batch] if _is_text(batch) else batch.astype(int).tolist()
    )
    return orjson.dumps({"signature_name": signature, "instances": rows})


def grpc_message(signature: str, batch: NDArray[np.generic]) -> bytes:
    """Makes a serialized `PredictRequest`."""
    request = PredictRequest()
    request.model_spec.name = DEFAULT_MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(batch))
    content: bytes = request.SerializeToString()
    return content


def _is_text(batch: NDArray[np.generic]) -> bool:
    return batch.dtype == object


def _rest_answer(content: bytes) -> Answer:
    rows = orjson.loads(content)["predictions"]
    digits = np.array([row[DIGIT_OUTPUT] for row in rows], np.int64)
    return Answer(digits, np.array([row[STATUS_OUTPUT].encode() for row in rows]), version=None)


def _grpc_answer(content: bytes) -> Answer:
    response = PredictResponse.FromString(content)
    digits = tf.make_ndarray(response.outputs[DIGIT_OUTPUT])
    statuses = tf.make_ndarray(response.outputs[STATUS_OUTPUT]).astype(np.bytes_)
    return Answer(digits, statuses, version=response.model_spec.version.value)
