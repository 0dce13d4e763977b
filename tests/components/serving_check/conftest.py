"""Tiny exports that keep the contract, and the ways in which they can break it."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tfx.components  # noqa: F401 (before tensorflow_data_validation, which it prepares)
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tfx.types.standard_artifacts import Examples

from components.example_gen.executor import encode_example
from components.example_gen.sources.source import Record
from components.serving_check.limits import ServingLimits
from components.trainer.model import build_model
from components.trainer.signatures import DigitAnswers

Answers = dict[str, tf.Tensor]


class TinyModel(tf.Module):
    """A linear classifier with the signatures of the contract; sub-classes break them."""

    def __init__(self) -> None:
        super().__init__()
        weights = np.random.default_rng(1).normal(0, 1, (784, 10)).astype(np.float32)
        self.weights = tf.Variable(weights, name="weights")

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.reshape(pixels / 255, [-1, 784]) @ self.weights

    def answer(self, pixels: tf.Tensor) -> Answers:
        probabilities = tf.nn.softmax(self.logits(pixels))
        confidence = tf.reduce_max(probabilities, axis=-1)
        return {
            "probabilities": probabilities,
            "digit": tf.argmax(probabilities, axis=-1),
            "confidence": confidence,
            "status": tf.where(confidence < 0.5, "low_confidence", "ok"),
        }

    def from_pixels(self, image: tf.Tensor) -> Answers:
        checked = tf.ensure_shape(image, [None, 28, 28])
        return self.answer(tf.debugging.check_numerics(checked, "a pixel is no number"))

    def from_examples(self, examples: tf.Tensor) -> Answers:
        spec = {"image": tf.io.FixedLenFeature([28, 28], tf.int64)}
        return self.answer(tf.cast(tf.io.parse_example(examples, spec)["image"], tf.float32))

    def from_image_bytes(self, image_bytes: tf.Tensor) -> Answers:
        return self.answer(self.normalized(image_bytes)["image"])

    def normalized(self, image_bytes: tf.Tensor) -> Answers:
        return {"image": self.decoded(image_bytes)}

    def decoded(self, image_bytes: tf.Tensor) -> tf.Tensor:
        def decode(encoded: tf.Tensor) -> tf.Tensor:
            return tf.image.resize(tf.io.decode_image(encoded, 1, expand_animations=False), (28, 28))[..., 0]

        return tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec((28, 28), tf.float32))


def save(model: TinyModel, directory: Path) -> Path:
    inputs = {
        "serving_default": (model.from_image_bytes, tf.TensorSpec([None], tf.string, name="image_bytes")),
        "pixels": (model.from_pixels, tf.TensorSpec([None, 28, 28], tf.float32, name="image")),
        "examples": (model.from_examples, tf.TensorSpec([None], tf.string, name="examples")),
        "normalize": (model.normalized, tf.TensorSpec([None], tf.string, name="image_bytes")),
    }
    signatures = {name: tf.function(ask, input_signature=[spec]) for name, (ask, spec) in inputs.items()}
    tf.saved_model.save(model, str(directory), signatures=signatures)
    return directory


class Standardization(tf.Module):
    """Stands in for a Transform graph."""

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"image": tf.cast(features["image"], tf.float32) / 255}

    def transform_features_layer(self) -> "Standardization":
        return self

    def raw_feature_spec(self) -> dict[str, Any]:
        return {"image": tf.io.FixedLenFeature([28, 28, 1], tf.int64)}


@pytest.fixture
def digit_answers() -> DigitAnswers:
    """What the Trainer exports, untrained."""
    keras.utils.set_random_seed(1)
    return DigitAnswers(build_model(dropout=0.0), Standardization(), temperature=0.5, low_confidence=0.99)


@pytest.fixture(scope="session")
def tiny_model() -> type[TinyModel]:
    return TinyModel


@pytest.fixture(scope="session")
def save_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TinyModel], Path]:
    """Exports a tiny model."""
    return lambda model: save(model, tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="session")
def good_export(save_export: Callable[[TinyModel], Path]) -> Path:
    return save_export(TinyModel())


@pytest.fixture
def edit_export(tmp_path: Path) -> Callable[[Path, Callable[[MetaGraphDef], None]], Path]:
    """Copies an export and edits its description."""

    def copy(export: Path, edit: Callable[[MetaGraphDef], None]) -> Path:
        model = Path(shutil.copytree(export, tmp_path / "edited"))
        saved_model = SavedModel.FromString((model / "saved_model.pb").read_bytes())
        edit(saved_model.meta_graphs[0])
        (model / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        return model

    return copy


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Noise that is normalized as MNIST is: it fills a box of 20x20 pixels, its centre of mass in the middle."""
    images = np.zeros((8, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = np.random.default_rng(0).integers(100, 256, (8, 20, 20), dtype=np.uint8)
    # The middle is that of a pixel, half a pixel further than that of the box.
    images[:, 18:23, 18:23] = 255
    return images


@pytest.fixture(scope="session")
def limits() -> ServingLimits:
    # Nothing here is about speed, and tests share their machine.
    return ServingLimits(num_requests=8, huge_batch=24, max_latency_ms=60_000)


@pytest.fixture(scope="session")
def refusals() -> Callable[[Iterable[Any]], list[tuple[str, str]]]:
    """Returns metric and slice of the findings that refuse."""
    return lambda findings: [(str(finding.metric), finding.slice) for finding in findings if not finding.passed]


@pytest.fixture(scope="session")
def make_examples() -> Callable[[Path, np.ndarray], Examples]:
    """Writes images as the split `test` of raw tf.Examples, in two files."""

    def make(folder: Path, images: np.ndarray) -> Examples:
        examples = Examples()
        examples.uri = str(folder / "examples")
        examples.split_names = '["test"]'
        (folder / "examples" / "Split-test").mkdir(parents=True)
        half = len(images) // 2
        for number, shard in enumerate((images[:half], images[half:])):
            file = folder / "examples" / "Split-test" / f"data_tfrecord-{number:05d}-of-00002.gz"
            with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
                for image in shard:
                    writer.write(encode_example(Record("test", "test/000000", image.tobytes(), 3)))
        return examples

    return make
