import ast
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.trainer import augmentation
from components.trainer.augmentation import STAGES, augment, disturb
from components.trainer.hyperparameters import NO_AUGMENTATION, Hyperparameters

STILL = Hyperparameters(**NO_AUGMENTATION)
SEED = tf.constant([1, 2], tf.int64)


@pytest.fixture
def images() -> tf.Tensor:
    images = np.full((200, 28, 28, 1), -0.4, np.float32)
    images[:, 10:18, 12:16] = 2.8
    return tf.constant(images)


def changed(before: tf.Tensor, after: tf.Tensor) -> np.ndarray:
    return np.abs(np.asarray(before) - np.asarray(after)).max(axis=(1, 2, 3)) > 1e-4


def test_strengths_of_zero_change_nothing(images: tf.Tensor) -> None:
    np.testing.assert_array_equal(augment(images, STILL, SEED), images)


def test_the_share_of_disturbed_images_is_kept(images: tf.Tensor) -> None:
    augmented = augment(images, STILL.model_copy(update={"disturbed_share": 0.4}), SEED)
    # Of those chosen each of the three stages leaves half as they are.
    assert changed(images, augmented).mean() == pytest.approx(0.4 * (1 - 0.5**3), abs=0.08)


def test_undisturbed_images_move_within_the_limits_and_the_others_further(images: tf.Tensor) -> None:
    shifted = augment(images, STILL.model_copy(update={"shift": 2.0}), SEED).numpy()
    # Nothing of the image is further than the limit from where it was.
    assert shifted[:, :8].max() == shifted[:, :, :10].max() == pytest.approx(-0.4)
    assert shifted[:, 8:20, 10:18].max() > 2
    both = Hyperparameters(rotation=0, zoom=0, shear=0, shift=2.0, disturbed_share=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "STAGES", ())
        further = augment(images, both, SEED).numpy()
    outside = further[:, :8].max(axis=(1, 2, 3)) > 0
    assert 0.05 < outside.mean() < 0.4


def test_standardized_images_stay_between_background_and_ink(images: tf.Tensor) -> None:
    augmented = augment(images, Hyperparameters(disturbed_share=1), SEED).numpy()
    assert augmented.shape == images.shape
    assert augmented.min() >= -0.4 - 1e-5
    assert augmented.max() <= 2.8 + 1e-5


def test_each_stage_changes_half_of_the_images_and_each_of_its_disturbances_some(
    images: tf.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ((lambda part, _: part + 1, lambda part, _: part + 2), (lambda part, _: part + 10,))
    monkeypatch.setattr(augmentation, "STAGES", stages)
    chosen = tf.range(200) < 160
    added = (disturb(images, chosen, SEED) - images).numpy().max(axis=(1, 2, 3)).round().astype(int)
    assert (added[160:] == 0).all()
    assert {int(number): int((added[:160] == number).sum()) for number in np.unique(added[:160])} == pytest.approx(
        {0: 40, 1: 20, 2: 20, 10: 40, 11: 20, 12: 20}, abs=12
    )


def test_images_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "STAGES", ((lambda part, _: part, lambda part, _: part),))
    numbered = tf.broadcast_to(tf.reshape(tf.range(50.0), [50, 1, 1, 1]), [50, 28, 28, 1])
    np.testing.assert_array_equal(disturb(numbered, tf.fill([50], True), SEED), numbered)


@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_batches_of_any_size(num_images: int) -> None:
    images = tf.zeros([num_images, 28, 28, 1])
    assert augment(images, Hyperparameters(disturbed_share=1), SEED).shape == (num_images, 28, 28, 1)


def test_blank_batches_stay_finite() -> None:
    assert np.isfinite(augment(tf.fill([20, 28, 28, 1], -0.4), Hyperparameters(disturbed_share=1), SEED)).all()


def test_the_seed_decides_in_a_graph_as_eagerly(images: tf.Tensor) -> None:
    hyperparameters = Hyperparameters()
    first = augment(images, hyperparameters, SEED)
    np.testing.assert_array_equal(first, augment(images, hyperparameters, SEED))
    in_graph = tf.function(lambda batch: augment(batch, hyperparameters, SEED))(images)
    np.testing.assert_allclose(first, in_graph, atol=1e-3)
    assert not np.array_equal(first, augment(images, hyperparameters, SEED + 1))


def test_training_imports_nothing_of_what_robustness_is_judged_by() -> None:
    for module in Path(augmentation.__file__).parent.glob("*.py"):
        imported = [
            name
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        ]
        assert not [name for name in imported if "robustness" in name], module


def test_every_disturbance_is_used_once() -> None:
    used = [disturbance.__name__ for stage in STAGES for disturbance in stage]
    assert sorted(used) == sorted(set(used))
    assert len(used) == 6
