"""Tiny models whose answers contain the number of their version."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from registry import signatures as contract
from registry.signing import TrustPolicy
from serving.server.interface import ServerOptions
from serving.server.model_server import ModelServer
from tests.support.examples import DIGITS

Publish = Callable[..., Path]

v1 = tf.compat.v1


class VersionChanges:
    """The version changes of a server, and events for those who wait for one."""

    def __init__(self) -> None:
        self.reached: dict[tuple[str, int, str], asyncio.Event] = {}

    def __call__(self, model: str, status: ModelVersionStatus) -> None:
        self._event(model, status.version, ModelVersionStatus.State.Name(status.state)).set()

    async def wait_for(self, version: int, state: str, model: str = "digits") -> None:
        async with asyncio.timeout(60):
            await self._event(model, version, state).wait()

    def _event(self, *change: Any) -> asyncio.Event:
        return self.reached.setdefault(change, asyncio.Event())


@pytest.fixture(scope="session")
def tiny_model() -> Publish:
    """Publishes a tiny model with all signatures as a version, whole or not at all.

    Called with the folder of the model and the number of the version. `label` of each answer is the last digit of the
    number, `confidence` the number itself. Images must be 28x28 already.
    """

    def publish(directory: Path, version: int, warm_up: bool = True) -> Path:
        staging = directory / f".publishing-{version}"
        _write(staging, version)
        if warm_up:
            _write_warm_up(staging, directory.name)
        return staging.rename(directory / str(version))

    return publish


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """Two images, float32[2,28,28]."""
    return np.random.default_rng(0).uniform(0, 255, (2, 28, 28)).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A serving folder with the model `digits`, which has no version yet."""
    (tmp_path / "digits").mkdir()
    return tmp_path


@pytest.fixture
def changes() -> VersionChanges:
    """Records version changes: the callback of a server."""
    return VersionChanges()


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Runs a model server in a context: called with the folder and options; yields it and its VersionChanges."""
    return _serving


@pytest.fixture(scope="session")
def png() -> bytes:
    """A gray image of 28x28 pixels."""
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    return tf.io.encode_png(image).numpy()


@asynccontextmanager
async def _serving(root: Path, **options: Any) -> AsyncIterator[tuple[ModelServer, VersionChanges]]:
    changes = VersionChanges()
    server = ModelServer(
        ServerOptions(
            root, TrustPolicy(allow_unverified=True), **{"poll_seconds": 0.01, "max_concurrency": 2, **options}
        ),
        changes,
    )
    await server.start()
    try:
        yield server, changes
    finally:
        await server.stop()


def _write(directory: Path, version: int) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        # A resource: answers come from what is stored as variables, not from the graph alone.
        number = v1.get_variable("version", initializer=float(version), use_resource=True)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], signature_def_map=_signatures(number), strip_default_attrs=True
        )
        builder.save()


def _signatures(number: tf.Variable) -> dict[str, SignatureDef]:
    image = v1.placeholder(tf.float32, name="pixels")
    encoded = v1.placeholder(tf.string, [None], name="encoded")
    records = v1.placeholder(tf.string, [None], name="records")
    decoded = tf.map_fn(_decode, encoded, fn_output_signature=tf.TensorSpec((28, 28), tf.float32))
    files = tf.io.parse_example(records, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
    parsed = tf.map_fn(_decode, files, fn_output_signature=tf.TensorSpec((28, 28), tf.float32))
    return {
        contract.SERVING_DEFAULT: _signature(contract.IMAGE_BYTES_INPUT, encoded, _answer(decoded, number)),
        contract.PIXELS: _signature(contract.IMAGE_INPUT, image, _answer(image, number)),
        contract.EXAMPLES: _signature(contract.EXAMPLES_INPUT, records, _answer(parsed, number)),
        contract.NORMALIZE: _signature(
            contract.IMAGE_BYTES_INPUT, encoded, {contract.NORMALIZED_IMAGE_OUTPUT: decoded}
        ),
    }


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=1, expand_animations=False)
    return tf.ensure_shape(tf.cast(image[..., 0], tf.float32), (28, 28))


def _answer(image: tf.Tensor, number: tf.Variable) -> dict[str, tf.Tensor]:
    checked = tf.debugging.check_numerics(tf.ensure_shape(image, [None, 28, 28]), "a pixel is not a number")
    # Zero, but only the graph knows: an answer needs its image.
    ones = tf.reduce_max(checked, axis=[1, 2]) * 0 + 1
    version = number * ones
    digit = tf.cast(version, tf.int64) % 10
    return {
        contract.LABEL_OUTPUT: tf.strings.as_string(digit),
        contract.CLASSES_OUTPUT: tf.tile(tf.constant([DIGITS.classes]), [tf.size(digit), 1]),
        contract.PROBABILITIES_OUTPUT: tf.one_hot(digit, len(DIGITS.classes)),
        contract.CONFIDENCE_OUTPUT: version,
        contract.STATUS_OUTPUT: tf.fill(tf.shape(digit), contract.STATUS_OK),
    }


def _signature(name: str, value: tf.Tensor, outputs: dict[str, tf.Tensor]) -> SignatureDef:
    return v1.saved_model.predict_signature_def({name: value}, outputs)


def _write_warm_up(directory: Path, model: str) -> None:
    folder = directory / "assets.extra"
    folder.mkdir()
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, contract.PIXELS
    request.inputs[contract.IMAGE_INPUT].CopyFrom(tf.make_tensor_proto(np.zeros((1, 28, 28), np.float32)))
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
