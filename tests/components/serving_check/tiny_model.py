"""A tiny export that keeps the signature contract."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.features import Contract
from components.trainer.request_limits import check_batch
from tests.support.examples import DIGITS

Answers = dict[str, tf.Tensor]


class TinyModel(tf.Module):
    """A linear classifier with the signatures of the contract; subclasses break them."""

    def __init__(self, contract: Contract = DIGITS) -> None:
        super().__init__()
        self.contract = contract
        shape = (math.prod(contract.image_shape), len(contract.classes))
        weights = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
        self.weights = tf.Variable(weights, name="weights")

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.reshape(pixels / 255, [-1, self.weights.shape[0]]) @ self.weights

    def answer(self, pixels: tf.Tensor) -> Answers:
        probabilities = tf.nn.softmax(self.logits(pixels))
        confidence = tf.reduce_max(probabilities, axis=-1)
        classes = tf.constant(self.contract.classes)
        return {
            "probabilities": probabilities,
            "classes": tf.repeat(classes[tf.newaxis], tf.shape(probabilities)[0], axis=0),
            "label": tf.gather(classes, tf.argmax(probabilities, axis=-1)),
            "confidence": confidence,
            "status": tf.where(confidence < 0.5, "unsure", "ok"),
        }

    def classify_pixels(self, image: tf.Tensor) -> Answers:
        checked = tf.ensure_shape(check_batch("pixels", image), [None, *pixels_shape(self.contract)])
        return self.answer(tf.debugging.check_numerics(checked, "a pixel is not a number"))

    def classify_examples(self, examples: tf.Tensor) -> Answers:
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        return self.answer(self.decode(tf.io.parse_example(check_batch("examples", examples), spec)["image"]))

    def classify_image_bytes(self, image_bytes: tf.Tensor) -> Answers:
        return self.answer(self.normalize(image_bytes)["image"])

    def normalize(self, image_bytes: tf.Tensor) -> Answers:
        return {"image": self.decode(check_batch("normalize", image_bytes))}

    def decode(self, files: tf.Tensor) -> tf.Tensor:
        def decode(encoded: tf.Tensor) -> tf.Tensor:
            image = tf.io.decode_image(encoded, self.contract.channels, expand_animations=False)
            return tf.reshape(tf.image.resize(image, self.contract.image_shape[:2]), shape)

        shape = pixels_shape(self.contract)
        return tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def pixels_shape(contract: Contract) -> tuple[int, ...]:
    """Returns the shape of an image in the signature `pixels`."""
    return contract.image_shape if contract.channels > 1 else contract.image_shape[:2]


def save(model: Any, directory: Path) -> Path:
    """Exports a model in a way that loads in a session only if it is no Keras 3 model."""
    pixels = tf.TensorSpec([None, *pixels_shape(model.contract)], tf.float32, name="image")
    inputs = {
        "serving_default": (model.classify_image_bytes, tf.TensorSpec([None], tf.string, name="image_bytes")),
        "pixels": (model.classify_pixels, pixels),
        "examples": (model.classify_examples, tf.TensorSpec([None], tf.string, name="examples")),
        "normalize": (model.normalize, tf.TensorSpec([None], tf.string, name="image_bytes")),
    }
    signatures = {name: tf.function(ask, input_signature=[spec]) for name, (ask, spec) in inputs.items()}
    tf.saved_model.save(model, str(directory), signatures=signatures)
    return directory
