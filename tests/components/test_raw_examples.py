from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples

from components.example_gen.executor import encode_example
from components.example_gen.sources.source import Record
from components.raw_examples import find_files, read_images

IMAGES = np.random.default_rng(0).integers(0, 256, (1100, 28, 28), dtype=np.uint8)


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    """A split `test` in three files: two images, none, and more than are parsed at once."""
    (tmp_path / "Split-test").mkdir()
    for number, numbers in enumerate((range(2), range(0), range(2, 1100))):
        with tf.io.TFRecordWriter(str(tmp_path / "Split-test" / f"data-{number}.gz"), options="GZIP") as writer:
            for each in numbers:
                writer.write(encode_example(Record("test", "test/000000", IMAGES[each].tobytes(), each % 10)))
    examples = Examples()
    examples.uri, examples.split_names = str(tmp_path), '["test", "empty"]'
    return examples


@pytest.mark.parametrize(("max_images", "num_images"), [(-1, 1100), (5000, 1100), (5, 5), (0, 0)])
def test_images_are_read_in_order(examples: Examples, max_images: int, num_images: int) -> None:
    images, labels = read_images(find_files(examples, "test"), max_images)
    np.testing.assert_array_equal(images, IMAGES[:num_images])
    assert labels.tolist() == [number % 10 for number in range(num_images)]
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_a_split_without_files_is_an_error(examples: Examples) -> None:
    with pytest.raises(FileNotFoundError, match="Split-empty: no files found, expected the TFRecords of a split"):
        find_files(examples, "empty")
