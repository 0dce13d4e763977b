"""A tiny export that keeps the signature contract."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from components.trainer.request_limits import check_batch

Answers = dict[str, tf.Tensor]


class TinyModel(tf.Module):
    """A linear classifier with the signatures of the contract; subclasses break them."""

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

    def classify_pixels(self, image: tf.Tensor) -> Answers:
        checked = tf.ensure_shape(check_batch("pixels", image), [None, 28, 28])
        return self.answer(tf.debugging.check_numerics(checked, "a pixel is not a number"))

    def classify_examples(self, examples: tf.Tensor) -> Answers:
        spec = {"image": tf.io.FixedLenFeature([28, 28], tf.int64)}
        return self.answer(tf.cast(tf.io.parse_example(check_batch("examples", examples), spec)["image"], tf.float32))

    def classify_image_bytes(self, image_bytes: tf.Tensor) -> Answers:
        return self.answer(self.normalize(image_bytes)["image"])

    def normalize(self, image_bytes: tf.Tensor) -> Answers:
        def decode(encoded: tf.Tensor) -> tf.Tensor:
            return tf.image.resize(tf.io.decode_image(encoded, 1, expand_animations=False), (28, 28))[..., 0]

        files = check_batch("normalize", image_bytes)
        return {"image": tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec((28, 28), tf.float32))}


def save(model: tf.Module, directory: Path) -> Path:
    """Exports a model in a way that loads in a session only if it is no Keras 3 model."""
    inputs = {
        "serving_default": (model.classify_image_bytes, tf.TensorSpec([None], tf.string, name="image_bytes")),
        "pixels": (model.classify_pixels, tf.TensorSpec([None, 28, 28], tf.float32, name="image")),
        "examples": (model.classify_examples, tf.TensorSpec([None], tf.string, name="examples")),
        "normalize": (model.normalize, tf.TensorSpec([None], tf.string, name="image_bytes")),
    }
    signatures = {name: tf.function(ask, input_signature=[spec]) for name, (ask, spec) in inputs.items()}
    tf.saved_model.save(model, str(directory), signatures=signatures)
    return directory
