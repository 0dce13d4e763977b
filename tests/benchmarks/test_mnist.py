import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks.mnist import (
    ENCODINGS,
    LARGEST_SIDE,
    SMALLEST_SIDE,
    Split,
    load_mnist,
    our_example,
    re_render,
    tfx_example,
    to_digits,
)

PIXELS = np.arange(784).reshape(28, 28).astype(np.uint8)


def make_digit() -> np.ndarray:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 255
    return image


@pytest.mark.parametrize(("split", "num_images", "first_label"), [("train", 60_000, 5), ("test", 10_000, 7)])
def test_mnists_own_splits(split: Split, num_images: int, first_label: int) -> None:
    images, labels = load_mnist(split)
    assert (images.shape, labels.shape, labels[0]) == ((num_images, 28, 28), (num_images,), first_label)


def test_examples_hold_a_png_or_scaled_pixels() -> None:
    ours = tf.io.parse_single_example(our_example(PIXELS), {"image": tf.io.FixedLenFeature([], tf.string)})
    np.testing.assert_array_equal(tf.io.decode_png(ours["image"])[..., 0], PIXELS)
    spec = {
        "image_floats": tf.io.FixedLenFeature([784], tf.float32),
        "image_class": tf.io.FixedLenFeature([], tf.int64),
    }
    theirs = tf.io.parse_single_example(tfx_example(PIXELS, 7), spec)
    assert theirs["image_class"] == 7
    np.testing.assert_allclose(theirs["image_floats"], PIXELS.ravel() / 255 - 0.5, atol=1e-6)


def test_labels_of_both_apis_name_digits() -> None:
    assert to_digits(["7", "", "0"]).tolist() == to_digits([b"7", b"", b"0"]).tolist() == [7, -1, 0]


def test_re_rendered_digits_are_dark_on_light_and_of_any_size_and_place() -> None:
    random = np.random.default_rng(0)
    pages = [np.asarray(Image.open(io.BytesIO(re_render(make_digit(), random))), float) for _ in range(40)]
    assert len({page.shape for page in pages}) == 40
    assert all(SMALLEST_SIDE <= side <= LARGEST_SIDE for page in pages for side in page.shape)
    assert all(np.median(page) > 180 and np.percentile(page, 0.5) < 120 for page in pages)
    centers = [np.argwhere(page < 130).mean(axis=0) / page.shape for page in pages]
    assert np.std(centers, axis=0).min() > 0.05


def test_encodings_match_their_names() -> None:
    images = {name: Image.open(io.BytesIO(encode(make_digit()))) for name, encode in ENCODINGS.items()}
    assert {name: (image.size[0], image.format, image.mode) for name, image in images.items()} == {
        "28x28, gray PNG": (28, "PNG", "L"),
        "280x280, gray PNG": (280, "PNG", "L"),
        "280x280, transparent PNG": (280, "PNG", "RGBA"),
        "400x400, gray PNG": (400, "PNG", "L"),
        "400x400, JPEG": (400, "JPEG", "RGB"),
    }
