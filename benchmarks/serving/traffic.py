"""The traffic that the benchmark sends: images, requests in the bytes of both APIs, and clients."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, get_args

import aiohttp
import grpc
import numpy as np
import orjson
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from benchmarks.mnist import NUM_DIGITS, dark_on_light, encode, load_mnist, to_digits
from registry.signatures import (
    DEFAULT_MODEL_NAME,
    IMAGE_BYTES_INPUT,
    IMAGE_INPUT,
    LABEL_OUTPUT,
    PIXELS,
    SERVING_DEFAULT,
    STATUS_OUTPUT,
)
from serving.server.metrics import Api

APIS: tuple[Api, ...] = get_args(Api)
INPUTS = {PIXELS: IMAGE_INPUT, SERVING_DEFAULT: IMAGE_BYTES_INPUT}
"""Name of the input of each signature that is measured."""

NUM_CLIENTS = 32
NUM_IMAGES = 128
CANVAS_SIZE = 280
TIMEOUT_SECONDS = 60.0

_DIGIT_SIZE = 160
_SEED = 20
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_CHANNEL_OPTIONS = [
    # Otherwise all channels of a process to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
]


class Address(NamedTuple):
    """URL of the model over REST, and target of the gRPC API."""

    model_url: str
    grpc_target: str


@dataclass(frozen=True)
class Answer:
    """The answer to a batch, from a server or, as the expected one, from the original model.

    Attributes:
        digits: int64[n], -1 for a blank image.
        statuses: bytes[n].
        version: The version that answered; None if unknown, as over REST.
    """

    digits: NDArray[np.int64]
    statuses: NDArray[np.bytes_]
    version: int | None = None

    def take(self, positions: NDArray[np.intp]) -> "Answer":
        """Returns the answer for the images at `positions`."""
        return Answer(self.digits[positions], self.statuses[positions])

    def is_right(self, expected: "Answer", digit_shift: int) -> bool:
        """Returns whether it is the answer of a model whose digits are `digit_shift` higher than expected."""
        # A blank image is -1 to all models.
        digits = np.where(expected.digits < 0, expected.digits, (expected.digits + digit_shift) % NUM_DIGITS)
        return np.array_equal(self.digits, digits) and np.array_equal(self.statuses, expected.statuses)


@dataclass(frozen=True)
class Request:
    """One request in the bytes of its API, with the answer of the original model."""

    api: Api
    signature: str
    content: bytes
    expected: Answer


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response.

    Attributes:
        client: Number of the client; each sends its next request after a response.
        request: The request.
        content: Body or message of the response; empty if gRPC failed.
        error: Code, such as `400` or `INVALID_ARGUMENT`, and message; empty if there is none.
        sent: Time of sending, in seconds of `time.perf_counter`.
        answered: Time of the complete response.
    """

    client: int
    request: Request
    content: bytes
    error: str
    sent: float
    answered: float

    @property
    def seconds(self) -> float:
        """How long the client waited."""
        return self.answered - self.sent


Send = Callable[[bytes], Awaitable[tuple[bytes, str]]]
"""Sends a body or message over a connection; returns the content and the error of the response."""


def make_images(signature: str) -> NDArray[np.generic]:
    """Returns the inputs of a signature, made from the first of MNIST's test images.

    Returns:
        For `pixels` float32[NUM_IMAGES,28,28], 0 background to 255 ink. For `serving_default` object[NUM_IMAGES], PNGs
        of canvases of 280x280 pixels, as the web page sends them: dark ink on white, anywhere on the canvas.
    """
    digits = load_mnist("test")[0][:NUM_IMAGES]
    if signature == PIXELS:
        return digits.astype(np.float32)
    corners = np.random.default_rng(_SEED).integers(0, CANVAS_SIZE - _DIGIT_SIZE, (NUM_IMAGES, 2))
    canvases = np.empty(NUM_IMAGES, object)
    for number, (digit, corner) in enumerate(zip(digits, corners.tolist(), strict=True)):
        canvas = Image.new("L", (CANVAS_SIZE, CANVAS_SIZE), 255)
        canvas.paste(dark_on_light(digit, _DIGIT_SIZE), tuple(corner))
        canvases[number] = encode(canvas)
    return canvases


def make_requests(api: Api, signature: str, batch_size: int, expected: Answer) -> list[Request]:
    """Makes requests that send all images, in batches of a size that divides `NUM_IMAGES`."""
    images = make_images(signature)
    to_bytes = rest_body if api == "REST" else grpc_message
    batches = np.split(np.arange(NUM_IMAGES), NUM_IMAGES // batch_size)
    return [Request(api, signature, to_bytes(signature, images[batch]), expected.take(batch)) for batch in batches]


def mixed_requests(api: Api, expected: Mapping[str, Answer]) -> list[Request]:
    """Makes requests with one image each, to all signatures in turn."""
    of_signatures = [make_requests(api, name, 1, answer) for name, answer in expected.items()]
    return [request for in_turn in zip(*of_signatures, strict=True) for request in in_turn]


def rest_body(signature: str, batch: NDArray[np.generic]) -> bytes:
    """Returns the JSON of a request in the row format."""
    # Whole numbers, as most programs send them.
    rows = (
        [{"b64": base64.b64encode(each).decode()} for each in batch]
        if batch.dtype == object
        else batch.astype(int).tolist()
    )
    return orjson.dumps({"signature_name": signature, "instances": rows})


def grpc_message(signature: str, batch: NDArray[np.generic]) -> bytes:
    """Returns a serialized `PredictRequest`."""
    request = PredictRequest()
    request.model_spec.name = DEFAULT_MODEL_NAME
    request.model_spec.signature_name = signature
    request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(batch))
    content: bytes = request.SerializeToString()
    return content


def decode(api: Api, content: bytes) -> Answer:
    """Reads the answer in a response.

    Raises:
        ValueError: The content does not match the signature contract.
    """
    try:
        if api == "REST":
            rows = orjson.loads(content)["predictions"]
            digits = to_digits(row[LABEL_OUTPUT] for row in rows)
            return Answer(digits, np.array([row[STATUS_OUTPUT].encode() for row in rows]))
        response = PredictResponse.FromString(content)
        statuses = tf.make_ndarray(response.outputs[STATUS_OUTPUT]).astype(np.bytes_)
        digits = to_digits(response.outputs[LABEL_OUTPUT].string_val)
        return Answer(digits, statuses, response.model_spec.version.value)
    except Exception as error:
        raise ValueError(f"not an answer of the contract: {content[:200]!r}") from error


@asynccontextmanager
async def connect(api: Api, address: Address) -> AsyncIterator[Send]:
    """Opens a connection and yields the function that sends over it."""
    if api == "GRPC":
        async with grpc.aio.insecure_channel(address.grpc_target, options=_CHANNEL_OPTIONS) as channel:
            predict = channel.unary_unary(_PREDICT)

            async def send_message(content: bytes) -> tuple[bytes, str]:
                try:
                    return await predict(content, timeout=TIMEOUT_SECONDS), ""
                except grpc.aio.AioRpcError as error:
                    return b"", f"{error.code().name}: {error.details()}"

            yield send_message
        return
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Content-Type": "application/json"}) as session:

        async def send_body(content: bytes) -> tuple[bytes, str]:
            try:
                async with session.post(f"{address.model_url}:predict", data=content) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                return b"", f"{type(error).__name__}: {error}"
            return body, "" if response.status == 200 else f"{response.status}: {body.decode(errors='replace')}"

        yield send_body


async def exchange(send: Send, client: int, request: Request) -> Exchange:
    """Sends one request and waits for its response."""
    sent = time.perf_counter()
    content, error = await send(request.content)
    return Exchange(client, request, content, error, sent, time.perf_counter())


async def send_until(
    stop: asyncio.Event, address: Address, requests_of_clients: Sequence[Sequence[Request]]
) -> list[Exchange]:
    """Lets clients send one request after the other until they are stopped.

    Args:
        stop: Set to stop; each client waits for its last response.
        address: The server.
        requests_of_clients: The requests of each client, over and over; each client uses one API.

    Returns:
        All exchanges, in the order of the clients.
    """

    async def run_client(number: int, requests: Sequence[Request]) -> list[Exchange]:
        exchanges: list[Exchange] = []
        async with connect(requests[0].api, address) as send:
            while not stop.is_set():
                exchanges.append(await exchange(send, number, requests[len(exchanges) % len(requests)]))
        return exchanges

    clients = await asyncio.gather(*(run_client(*each) for each in enumerate(requests_of_clients)))
    return [each for exchanges in clients for each in exchanges]
