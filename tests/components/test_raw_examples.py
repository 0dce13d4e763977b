import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types.standard_artifacts import Examples

from components.features import Contract
from components.raw_examples import encode_png, find_files, read_images, read_labels, serialize_examples

CONTRACT = Contract(("A", "B"), 28, 28, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (1100, *CONTRACT.image_shape), dtype=np.uint8)
LABELS = [CONTRACT.classes[number % 2].encode() for number in range(len(IMAGES))]


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    """A split `test` in three files: two images, none, and more than are parsed at once."""
    (tmp_path / "Split-test").mkdir()
    records = serialize_examples({"image": pa.array(encode_png(IMAGES)), "label": pa.array(LABELS)})
    for number, part in enumerate((records[:2], [], records[2:])):
        with tf.io.TFRecordWriter(str(tmp_path / "Split-test" / f"data-{number}.gz"), options="GZIP") as writer:
            for record in part:
                writer.write(record)
    examples = Examples()
    examples.uri, examples.split_names = str(tmp_path), '["test", "empty"]'
    return examples


@pytest.mark.parametrize(("max_images", "num_images"), [(-1, 1100), (5000, 1100), (5, 5), (0, 0)])
def test_images_are_read_in_order(examples: Examples, max_images: int, num_images: int) -> None:
    images, labels = read_images(find_files(examples, "test"), CONTRACT, max_images)
    np.testing.assert_array_equal(images, IMAGES[:num_images])
    assert labels.tolist() == LABELS[:num_images]
    assert (images.dtype, labels.dtype) == (np.uint8, object)


@pytest.mark.parametrize(("max_images", "num_images"), [(-1, 1100), (5, 5), (0, 0)])
def test_labels_are_read_in_order(examples: Examples, max_images: int, num_images: int) -> None:
    assert read_labels(find_files(examples, "test"), max_images) == LABELS[:num_images]


def test_a_split_without_files_is_an_error(examples: Examples) -> None:
    with pytest.raises(FileNotFoundError, match="Split-empty: no files found, expected the TFRecords of a split"):
        find_files(examples, "empty")


def test_a_null_is_a_missing_feature() -> None:
    columns = {"ink_top": pa.array([0.5, None, 0.25], pa.float32()), "height": pa.array([28, 29, 30])}
    spec = {"ink_top": tf.io.VarLenFeature(tf.float32), "height": tf.io.FixedLenFeature([], tf.int64)}
    parsed = tf.io.parse_example(serialize_examples(columns), spec)
    assert parsed["ink_top"].indices[:, 0].numpy().tolist() == [0, 2]
    assert parsed["ink_top"].values.numpy().tolist() == [0.5, 0.25]
    assert parsed["height"].numpy().tolist() == [28, 29, 30]


def test_a_feature_can_be_missing_everywhere() -> None:
    [content] = serialize_examples({"ink_top": pa.array([None], pa.float32()), "label": pa.array([b"A"])})
    example = tf.train.Example.FromString(content)
    assert example.features.feature["ink_top"].WhichOneof("kind") is None
    assert example.features.feature["label"].bytes_list.value == [b"A"]


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (2, 5, 7, 3), (1, 1, 300, 1), (0, 4, 4, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    files = encode_png(images)
    assert len(files) == len(images)
    for file, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(file), image)
        with Image.open(io.BytesIO(file)) as opened:
            opened.verify()
