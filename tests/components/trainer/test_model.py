import numpy as np

from components.trainer.hyperparameters import Hyperparameters
from components.trainer.model import build_model, compile_model


def test_the_model_maps_images_to_logits() -> None:
    model = build_model(dropout=0.3)
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))
    assert model.count_params() == 253_354
    logits = model(np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)).numpy()
    assert (logits < 0).any()
    assert not np.allclose(logits.sum(axis=-1), 1)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    model = build_model(dropout=0.0)
    compile_model(model, Hyperparameters(learning_rate=0.02), num_steps=100)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert max(rates) == rates[10]
    np.testing.assert_allclose([rates[0], rates[10], rates[100]], [0.001, 0.02, 0.0], atol=1e-6)


def test_one_training_step_on_eight_images_changes_every_weight() -> None:
    model = build_model(dropout=0.0)
    compile_model(model, Hyperparameters(), num_steps=10)
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    images = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    model.train_on_batch(images, np.eye(10, dtype=np.float32)[:8])
    assert all(not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_weights, strict=True))
