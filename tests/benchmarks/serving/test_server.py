from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.serving.server import TwoModels, make_two_models
from serving.server.model import LoadedModel


class TinyClassifier(tf.Module):
    """Three numbers to the probabilities of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(1)
        self.hidden = tf.Variable(random.normal(size=(3, 4)).astype(np.float32))
        self.kernel = tf.Variable(random.normal(size=(4, 10)).astype(np.float32))
        self.bias = tf.Variable(random.normal(size=10).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="numbers")])
    def answer(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(tf.tanh(numbers @ self.hidden) @ self.kernel + self.bias)}


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> TwoModels:
    directory = tmp_path_factory.mktemp("models")
    model = TinyClassifier()
    tf.saved_model.save(model, str(directory / "saved"), signatures={"serving_default": model.answer})
    return make_two_models(directory / "saved", directory)


def probabilities(directory: Path) -> np.ndarray:
    numbers = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    return LoadedModel(directory).run("", {"numbers": numbers})["probabilities"]


def test_odd_versions_hold_the_original_and_even_ones_the_next_digit(two_models: TwoModels, tmp_path: Path) -> None:
    original = probabilities(two_models.original)
    assert len(set(original.argmax(axis=1))) > 3
    for number, shift in ((1, 0), (2, 1), (3, 0)):
        two_models.push(number, tmp_path / "digits")
        found = probabilities(tmp_path / "digits" / str(number))
        np.testing.assert_allclose(found, np.roll(original, shift, axis=1), rtol=1e-5)
