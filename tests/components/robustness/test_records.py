from pathlib import Path

import numpy as np
import tensorflow as tf

from components.robustness.pixels import Images
from components.robustness.records import LabelledImages, encode_examples, read_images, write_images


def labelled(digits: Images) -> LabelledImages:
    return LabelledImages(digits, np.arange(len(digits)) % 10)


def test_what_is_written_is_read(tmp_path: Path, digits: Images) -> None:
    path = str(tmp_path / "fog.gz")
    expected = labelled(np.tile(digits, (60, 1, 1)))  # More than are read at once.
    assert write_images(path, expected, "fog") == 1200
    found = read_images(path)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int64)


def test_nothing_is_written_and_read(tmp_path: Path, digits: Images) -> None:
    path = str(tmp_path / "fog.gz")
    assert write_images(path, labelled(digits[:0]), "fog") == 0
    found = read_images(path)
    assert found.images.shape == (0, 28, 28)
    assert found.labels.shape == (0,)


def test_an_example_holds_integers_and_the_name(digits: Images) -> None:
    examples = encode_examples(labelled(digits), "canny_edges")
    assert len(examples) == 20
    features = tf.train.Example.FromString(examples[13]).features.feature
    assert set(features) == {"image", "label", "corruption"}
    assert bytes(features["image"].int64_list.value) == digits[13].tobytes()
    assert list(features["label"].int64_list.value) == [3]
    assert list(features["corruption"].bytes_list.value) == [b"canny_edges"]


def test_the_first_ones_can_be_taken(digits: Images) -> None:
    first = labelled(digits).first(3)
    assert len(first) == 3
    assert first.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(first.images, digits[:3])
