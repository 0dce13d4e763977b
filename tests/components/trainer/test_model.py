import keras
import numpy as np
import pytest

from components.features import Contract
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.model import build_model, compile_model
from tests.support.examples import DIGITS


def test_the_model_maps_images_to_logits() -> None:
    model = build_model(DIGITS, Hyperparameters())
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))
    assert model.count_params() == 171_882
    logits = model(np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)).numpy()
    assert (logits < 0).any()
    assert not np.allclose(logits.sum(axis=-1), 1)


@pytest.mark.parametrize(
    ("size", "num_params", "last_size"),
    [
        ((28, 28, 1), 171_427, (7, 7)),
        ((28, 28, 3), 173_027, (7, 7)),
        ((64, 64, 3), 183_331, (8, 8)),
        ((128, 128, 3), 192_675, (8, 8)),
        ((20, 32, 3), 172_451, (5, 8)),
        ((14, 14, 1), 171_427, (7, 7)),
        ((1, 1, 1), 168_355, (1, 1)),
    ],
)
def test_layers_follow_from_the_size(size: tuple[int, int, int], num_params: int, last_size: tuple[int, int]) -> None:
    model = build_model(Contract(("a", "b", "c"), *size), Hyperparameters())
    assert (model.input_shape, model.output_shape) == ((None, *size), (None, 3))
    [means] = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert means.input.shape == (None, *last_size, 64)
    assert model.count_params() == num_params
    images = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    assert np.isfinite(model(images)).all()


@pytest.mark.parametrize(("width", "depth", "num_params"), [(64, 0, 23_402), (8, 3, 4_566), (3, 1, 441)])
def test_width_and_depth(width: int, depth: int, num_params: int) -> None:
    model = build_model(DIGITS, Hyperparameters(width=width, depth=depth))
    filters = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [width // 2, *[width] * (1 + 2 * depth)]
    assert model.count_params() == num_params


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    model = build_model(DIGITS, Hyperparameters())
    compile_model(model, Hyperparameters(learning_rate=0.02), num_steps=100)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert max(rates) == rates[10]
    np.testing.assert_allclose([rates[0], rates[10], rates[100]], [0.001, 0.02, 0.0], atol=1e-6)


def test_one_training_step_on_eight_images_changes_every_weight() -> None:
    model = build_model(DIGITS, Hyperparameters())
    compile_model(model, Hyperparameters(), num_steps=10)
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    images = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    model.train_on_batch(images, np.eye(10, dtype=np.float32)[:8])
    assert all(not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_weights, strict=True))
