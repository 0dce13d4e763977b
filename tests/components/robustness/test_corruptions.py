import numpy as np
import pytest

from components.robustness.corruptions import CORRUPTIONS, corrupt
from components.robustness.pixels import Images

PUBLISHED = [
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "shear",
    "scale",
    "rotate",
    "brightness",
    "translate",
    "stripe",
    "fog",
    "spatter",
    "dotted_line",
    "zigzag",
    "canny_edges",
]
WITHOUT_CHANCE = {"scale", "brightness", "stripe", "canny_edges"}


def corrupted(name: str, images: Images, seed: int = 0) -> Images:
    return corrupt(name, images, np.random.default_rng(seed))


def test_all_corruptions_of_the_paper_are_there_in_its_order() -> None:
    assert list(CORRUPTIONS) == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_image_changes_and_keeps_its_form(name: str, digits: Images) -> None:
    original = digits.copy()
    result = corrupted(name, digits)
    assert (result.shape, result.dtype) == (digits.shape, np.uint8)
    assert (result != digits).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(digits, original)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_seed_decides(name: str, digits: Images) -> None:
    np.testing.assert_array_equal(corrupted(name, digits), corrupted(name, digits))
    same = (corrupted(name, digits, seed=1) == corrupted(name, digits)).all()
    assert same == (name in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - WITHOUT_CHANCE))
def test_images_of_a_batch_are_corrupted_differently(name: str, digits: Images) -> None:
    copies = np.repeat(digits[:1], 20, axis=0)
    assert len(np.unique(corrupted(name, copies), axis=0)) > 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_images_of_a_batch_do_not_touch_each_other(name: str, digits: Images) -> None:
    expected = corrupted(name, digits)
    for replacement in (0, 255):
        changed = digits.copy()
        changed[9] = replacement
        result = corrupted(name, changed)
        np.testing.assert_array_equal(result[:9], expected[:9])
        # How many random numbers a Poisson distribution takes depends on its mean: later images get others.
        if name != "shot_noise":
            np.testing.assert_array_equal(result[10:], expected[10:])


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("count", [0, 1])
def test_small_batches(name: str, count: int, digits: Images) -> None:
    result = corrupted(name, digits[:count])
    assert (result.shape, result.dtype) == ((count, 28, 28), np.uint8)


def test_an_unknown_name_is_refused_with_the_known_ones(digits: Images) -> None:
    with pytest.raises(ValueError, match=r"'snow' is not known; expected one of shot_noise, .*, canny_edges\."):
        corrupted("snow", digits)
