import numpy as np

from components.robustness.pixels import Images
from components.robustness.tone import brightness, stripe


def test_brightness_adds_half_of_the_range(generator: np.random.Generator) -> None:
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    difference = brightness(images, generator) - np.minimum(images + 127.5, 255)
    assert np.abs(difference).max() <= 0.5


def test_stripe_inverts_seven_columns_at_each_edge(digits: Images, generator: np.random.Generator) -> None:
    striped = stripe(digits, generator)
    np.testing.assert_array_equal(striped[:, :, 7:21], digits[:, :, 7:21])
    for edge in (slice(0, 7), slice(21, 28)):
        np.testing.assert_array_equal(striped[:, :, edge], 255 - digits[:, :, edge])
