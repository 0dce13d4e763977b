"""A transform graph, and small datasets in its output format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.components  # noqa: F401 (TFDV needs it imported first)
from tensorflow_data_validation import load_schema_text
from tensorflow_transform.tf_metadata import metadata_io
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from components.preprocessing import preprocessing_fn

SCHEMA_FILE = Path(__file__).parents[3] / "data" / "schema.pbtxt"


@pytest.fixture(scope="session")
def transform(tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    """Standardization of images with a mean of 60 and a standard deviation of 60."""
    folder = tmp_path_factory.mktemp("transform")
    metadata = DatasetMetadata(load_schema_text(str(SCHEMA_FILE)))
    raw = [{"image": np.full((28, 28, 1), value), "label": 0} for value in (0, 120)]
    with tft_beam.Context(temp_dir=str(folder / "temp")):
        transform_fn = (raw, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
    metadata_io.write_metadata(metadata, str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR))
    return tft.TFTransformOutput(str(folder / "output"))


@pytest.fixture(scope="session")
def make_examples() -> Callable[[int, int], tf.data.Dataset]:
    """Makes standardized images that can be learned: label k has bright rows of pixels from height 2k + 4."""

    def make(num_images: int, seed: int) -> tf.data.Dataset:
        random = np.random.default_rng(seed)
        labels = np.arange(num_images, dtype=np.int64) % 10
        images = random.normal(-1, 0.2, (num_images, 28, 28, 1)).astype(np.float32)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] += 3
        return tf.data.Dataset.from_tensor_slices((images, labels))

    return make
