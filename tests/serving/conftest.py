"""Tiny models whose answers contain the number of their version."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
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

    Called with the folder of the model, the number of the version and, optionally, the classes and the shape of an
    image in `pixels`. `label` of each answer is the class whose index is the number modulo the number of classes,
    `confidence` the number itself. Images must have the size of the model already.
    """

    def publish(
        directory: Path,
        version: int,
        classes: Sequence[str] = DIGITS.classes,
        image_shape: tuple[int, ...] = (28, 28),
        warm_up: bool = True,
    ) -> Path:
        staging = directory / f".publishing-{version}"
        _write(staging, version, classes, image_shape)
        if warm_up:
            _write_warm_up(staging, directory.name, image_shape)
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


def _write(directory: Path, version: int, classes: Sequence[str], image_shape: tuple[int, ...]) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        # A resource: answers come from what is stored as variables, not from the graph alone.
        number = v1.get_variable("version", initializer=float(version), use_resource=True)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map=_signatures(number, classes, image_shape),
            strip_default_attrs=True,
        )
        builder.save()


def _signatures(number: tf.Variable, classes: Sequence[str], image_shape: tuple[int, ...]) -> dict[str, SignatureDef]:
    def decode(files: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(decode_one, files, fn_output_signature=tf.TensorSpec(image_shape))

    def decode_one(file: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(file, channels=3 if len(image_shape) == 3 else 1, expand_animations=False)
        image = image if len(image_shape) == 3 else image[..., 0]
        return tf.ensure_shape(tf.cast(image, tf.float32), image_shape)

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        checked = tf.debugging.check_numerics(tf.ensure_shape(images, [None, *image_shape]), "a pixel is not a number")
        # Zero, but only the graph knows: an answer needs its image.
        ones = tf.reduce_max(checked, axis=range(1, len(image_shape) + 1)) * 0 + 1
        version = number * ones
        index = tf.cast(version, tf.int64) % len(classes)
        return {
            contract.LABEL_OUTPUT: tf.gather(tf.constant(classes), index),
            contract.CLASSES_OUTPUT: tf.tile([classes], [tf.size(index), 1]),
            contract.PROBABILITIES_OUTPUT: tf.one_hot(index, len(classes)),
            contract.CONFIDENCE_OUTPUT: version,
            contract.STATUS_OUTPUT: tf.fill(tf.shape(index), contract.STATUS_OK),
        }

    pixels = v1.placeholder(tf.float32, [None, *image_shape], name="pixels")
    files = v1.placeholder(tf.string, [None], name="encoded")
    records = v1.placeholder(tf.string, [None], name="records")
    parsed = tf.io.parse_example(records, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
    normalized = decode(files)
    return {
        contract.SERVING_DEFAULT: _signature(contract.IMAGE_BYTES_INPUT, files, answer(normalized)),
        contract.PIXELS: _signature(contract.IMAGE_INPUT, pixels, answer(pixels)),
        contract.EXAMPLES: _signature(contract.EXAMPLES_INPUT, records, answer(decode(parsed))),
        contract.NORMALIZE: _signature(
            contract.IMAGE_BYTES_INPUT, files, {contract.NORMALIZED_IMAGE_OUTPUT: normalized}
        ),
    }


def _signature(name: str, value: tf.Tensor, outputs: dict[str, tf.Tensor]) -> SignatureDef:
    return v1.saved_model.predict_signature_def({name: value}, outputs)


def _write_warm_up(directory: Path, model: str, image_shape: tuple[int, ...]) -> None:
    folder = directory / "assets.extra"
    folder.mkdir()
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, contract.PIXELS
    request.inputs[contract.IMAGE_INPUT].CopyFrom(tf.make_tensor_proto(np.zeros((1, *image_shape), np.float32)))
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
