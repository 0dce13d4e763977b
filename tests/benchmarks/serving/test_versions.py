from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.serving.versions import TwoModels, make_two_models
from serving.server.model import LoadedModel


class TinyClassifier(tf.Module):
    """Three numbers to the probabilities of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(1)
        self.scale = tf.Variable(2.0)
        self.hidden = tf.Variable(random.normal(size=(3, 4)).astype(np.float32))
        self.kernel = tf.Variable(random.normal(size=(4, 10)).astype(np.float32))
        self.bias = tf.Variable(random.normal(size=10).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="numbers")])
    def answer(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.tanh(self.scale * numbers @ self.hidden) @ self.kernel + self.bias
        return {"probabilities": tf.nn.softmax(logits)}


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> TwoModels:
    directory = tmp_path_factory.mktemp("models")
    model = TinyClassifier()
    tf.saved_model.save(model, str(directory / "saved"), signatures={"serving_default": model.answer})
    return make_two_models(directory / "saved", directory)


def probabilities(directory: Path) -> np.ndarray:
    model = LoadedModel(directory)
    numbers = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    return model.run("", {"numbers": numbers})["probabilities"]


def test_the_shifted_model_is_as_sure_of_the_next_digit(two_models: TwoModels) -> None:
    original, shifted = probabilities(two_models.original), probabilities(two_models.shifted)
    assert len(set(original.argmax(axis=1))) > 3
    np.testing.assert_allclose(shifted, np.roll(original, 1, axis=1), rtol=1e-5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_odd_versions_hold_the_original_and_even_ones_the_other(
    two_models: TwoModels, tmp_path: Path, number: int
) -> None:
    two_models.push(number, tmp_path / "digits")
    model = two_models.original if number % 2 else two_models.shifted
    np.testing.assert_array_equal(probabilities(tmp_path / "digits" / str(number)), probabilities(model))
    assert [path.name for path in (tmp_path / "digits").iterdir() if not path.name.startswith(".")] == [str(number)]
