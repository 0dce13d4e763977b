from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from benchmarks import deformations
from benchmarks.deformations import deform_smoothly, vary_affinely
from benchmarks.mnist import load_mnist

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
CHANGES = [partial(deform_smoothly, strength=60.0), vary_affinely]


def load_digits() -> np.ndarray:
    return load_mnist("test")[0][:100]


@pytest.mark.parametrize("change", CHANGES)
def test_each_image_changes_in_its_own_way_and_always_the_same(change: Change) -> None:
    same = np.repeat(load_digits()[:1], 50, axis=0)
    changed = change(same, np.random.default_rng(0))
    assert (changed.shape, changed.dtype) == (same.shape, np.uint8)
    assert len({image.tobytes() for image in changed}) == 50
    np.testing.assert_array_equal(changed, change(same, np.random.default_rng(0)))


@pytest.mark.parametrize("change", CHANGES)
def test_outside_of_the_image_is_background(change: Change) -> None:
    white = np.full((20, 28, 28), 255, np.uint8)
    changed = change(white, np.random.default_rng(0))
    assert np.all(changed[:, 12:16, 12:16] == 255)
    assert np.all(changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].min(axis=1) < 255)


@pytest.mark.parametrize("change", [partial(deform_smoothly, strength=0.0), vary_affinely])
def test_nothing_to_do_leaves_images_as_they_are(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_ROTATION", "MAX_SCALING", "MAX_SHEAR", "MAX_TRANSLATION"):
        monkeypatch.setattr(deformations, name, 0.0)
    np.testing.assert_array_equal(change(load_digits(), np.random.default_rng(0)), load_digits())


def test_variations_stay_close_to_the_image() -> None:
    digits = load_digits()
    varied = vary_affinely(digits, np.random.default_rng(0))
    moved = [
        np.subtract(center_of_mass(after), center_of_mass(before)) for before, after in zip(digits, varied, strict=True)
    ]
    assert 0.5 < np.abs(moved).mean() < np.abs(moved).max() < 3
    ratios = varied.sum((1, 2)) / digits.sum((1, 2))
    assert 0.7 < ratios.min() < 0.9 < 1.1 < ratios.max() < 1.4


def test_smooth_deformation_has_its_strength_and_moves_neighbors_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}

    def sample(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found["field"] = np.stack([rows, columns], 1) - np.indices(images.shape[1:])
        return images

    monkeypatch.setattr(deformations, "_sample", sample)
    deform_smoothly(np.zeros((200, 28, 28), np.uint8), np.random.default_rng(0), strength=60.0)
    field = found["field"]
    assert np.sqrt(np.mean(field[..., 12:16, 12:16] ** 2)) == pytest.approx(2.44, rel=0.1)
    # The difference of neighbors in Gaussian noise of this smoothness.
    assert np.std(np.diff(field, axis=-1)) == pytest.approx(2.44 / (4 * np.sqrt(2)), rel=0.2)
