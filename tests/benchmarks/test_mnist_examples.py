import numpy as np
import pytest
import tensorflow as tf

from benchmarks.mnist_examples import Split, load_mnist, our_example, tfx_example

IMAGE = np.arange(784).reshape(28, 28).astype(np.uint8)


@pytest.mark.parametrize(("split", "num_images", "first_label"), [("train", 60_000, 5), ("test", 10_000, 7)])
def test_loads_mnists_own_splits(split: Split, num_images: int, first_label: int) -> None:
    images, labels = load_mnist(split)
    assert (images.shape, labels.shape) == ((num_images, 28, 28), (num_images,))
    assert labels[0] == first_label


def test_our_example_holds_the_raw_pixels() -> None:
    features = tf.io.parse_single_example(our_example(IMAGE), {"image": tf.io.FixedLenFeature([784], tf.int64)})
    np.testing.assert_array_equal(features["image"], IMAGE.ravel())


def test_tfx_example_holds_scaled_pixels_and_the_label() -> None:
    spec = {
        "image_floats": tf.io.FixedLenFeature([784], tf.float32),
        "image_class": tf.io.FixedLenFeature([], tf.int64),
    }
    features = tf.io.parse_single_example(tfx_example(IMAGE, 7), spec)
    assert features["image_class"] == 7
    floats = features["image_floats"].numpy()
    assert (floats[0], floats[255]) == (-0.5, 0.5)
    np.testing.assert_allclose((floats + 0.5) * 255, IMAGE.ravel(), atol=1e-4)
