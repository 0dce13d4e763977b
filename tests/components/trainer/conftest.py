"""Transform graphs, and small datasets of standardized images."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.components  # noqa: F401 (TFDV needs it imported first)
from tensorflow_transform.tf_metadata import metadata_io
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from components.features import Contract
from components.preprocessing import CONTRACT_KEY, preprocessing_fn
from components.schema import parse_schema
from tests.support.examples import DIGITS, raw_example, schema_text


@pytest.fixture(scope="session")
def fit_transform(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tft.TFTransformOutput]:
    """Fits a Transform graph to images, uint8[n,height,width,channels]."""

    def fit(contract: Contract, images: np.ndarray) -> tft.TFTransformOutput:
        folder = tmp_path_factory.mktemp("transform")
        metadata = DatasetMetadata(parse_schema(schema_text(contract), "schema"))
        raw = [raw_example(image, contract.classes[0]) for image in images]
        preprocess = partial(preprocessing_fn, custom_config={CONTRACT_KEY: asdict(contract)})
        with tft_beam.Context(temp_dir=str(folder / "temp")):
            transform_fn = (raw, metadata) | tft_beam.AnalyzeDataset(preprocess)
            _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
        metadata_io.write_metadata(metadata, str(folder / "output" / tft.TFTransformOutput.RAW_METADATA_DIR))
        return tft.TFTransformOutput(str(folder / "output"))

    return fit


@pytest.fixture(scope="session")
def transform(fit_transform: Callable[..., tft.TFTransformOutput]) -> tft.TFTransformOutput:
    """Standardization of digits with a mean of 60 and a standard deviation of 60."""
    return fit_transform(DIGITS, np.stack([np.full((28, 28, 1), level, np.uint8) for level in (0, 120)]))


@pytest.fixture(scope="session")
def make_standardized() -> Callable[[int, int], tf.data.Dataset]:
    """Makes standardized images that can be learned: label k has bright rows of pixels from height 2k + 4."""

    def make(num_images: int, seed: int) -> tf.data.Dataset:
        random = np.random.default_rng(seed)
        labels = np.arange(num_images, dtype=np.int64) % 10
        images = random.normal(-1, 0.2, (num_images, 28, 28, 1)).astype(np.float32)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] += 3
        return tf.data.Dataset.from_tensor_slices((images, labels))

    return make
