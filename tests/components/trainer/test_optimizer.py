import keras
import numpy as np
import pytest

from components.trainer.optimizer import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (1, 1, 32, 8), (3, 3, 4, 64)])
def test_orthogonalized_updates_have_similar_singular_values(shape: tuple[int, ...]) -> None:
    update = np.random.default_rng(0).normal(size=shape, scale=1e-4).astype(np.float32)
    matrix = np.asarray(orthogonalize(update)).reshape(-1, shape[-1])
    values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(max(matrix.shape)))
    assert matrix.shape == (np.prod(shape[:-1]), shape[-1])
    assert 0.6 < values.min() <= values.max() < 1.3
    # The directions stay.
    assert np.sum(matrix * update.reshape(matrix.shape)) > 0


def test_a_gradient_of_zero_changes_nothing() -> None:
    assert not np.asarray(orthogonalize(np.zeros((3, 3, 8, 8), np.float32))).any()


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((5,), keras.layers.Dense(3)),
        ((4, 4, 3), keras.layers.Conv2D(3, 4)),
        ((4, 4, 8), keras.layers.DepthwiseConv2D(4)),
    ],
)
def test_other_layers_are_trained_as_by_adamw(shape: tuple[int, ...], layer: keras.Layer) -> None:
    results = []
    for optimizer in (Muon(0.01, weight_decay=0.1), keras.optimizers.AdamW(0.01, weight_decay=0.1)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(shape), keras.layers.deserialize(keras.layers.serialize(layer))])
        model.compile(optimizer, "mse", jit_compile=False)
        random = np.random.default_rng(0)
        for _ in range(5):
            model.train_on_batch(random.normal(size=(4, *shape)), random.normal(size=(4, *model.output_shape[1:])))
        results.append(model.get_weights())
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_kernels_of_convolutions_are_updated_by_orthogonalized_momentum() -> None:
    rate, decay, momentum = 0.01, 0.1, 0.9
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(6, 3, use_bias=False)])
    optimizer = Muon(rate, weight_decay=decay)
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    expected, moment = model.get_weights()[0], np.zeros((3, 3, 4, 6), np.float32)
    for _ in range(3):
        gradient = random.normal(size=moment.shape).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
        moment = momentum * moment + (1 - momentum) * gradient
        ahead = momentum * moment + (1 - momentum) * gradient
        expected = expected * (1 - rate * decay) - rate * np.asarray(orthogonalize(ahead))
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-3, atol=1e-5)
