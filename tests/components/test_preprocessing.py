from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.components  # noqa: F401 (TFDV needs it imported first)
from tensorflow_transform.tf_metadata import schema_utils
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from components.features import Contract
from components.preprocessing import CONTRACT_KEY, preprocessing_fn
from components.schema import parse_schema
from tests.support.examples import DIGITS, SHAPES, png, raw_example, schema_text


@pytest.mark.parametrize("contract", [DIGITS, SHAPES])
def test_train_is_standardized_and_the_graph_applies_the_same_to_other_data(contract: Contract, tmp_path: Path) -> None:
    metadata = DatasetMetadata(parse_schema(schema_text(contract), "schema"))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, *contract.image_shape), dtype=np.uint8)
    num_classes = len(contract.classes)
    raw = [raw_example(image, contract.classes[number % num_classes]) for number, image in enumerate(images)]
    preprocess = partial(preprocessing_fn, custom_config={CONTRACT_KEY: asdict(contract)})
    with tft_beam.Context(temp_dir=str(tmp_path / "temp")):
        (transformed, transformed_metadata), transform_fn = (
            raw,
            metadata,
        ) | tft_beam.AnalyzeAndTransformDataset(preprocess)
        _ = transform_fn | tft_beam.WriteTransformFn(str(tmp_path / "transform"))

    pixels = np.stack([example["image"] for example in transformed])
    assert pixels.dtype == np.float32
    brightness = images @ (0.299, 0.587, 0.114) if contract.channels == 3 else images
    mean, deviation = brightness.mean(), brightness.std()
    np.testing.assert_allclose(pixels, (images - mean) / deviation, atol=1e-5)
    assert [int(example["label"]) for example in transformed] == [number % num_classes for number in range(20)]
    spec = schema_utils.schema_as_feature_spec(transformed_metadata.schema).feature_spec
    assert spec == {
        "image": tf.io.FixedLenFeature(list(contract.image_shape), tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    layer = tft.TFTransformOutput(str(tmp_path / "transform")).transform_features_layer()
    # Twice as large, and so resized.
    black = png(np.zeros((2 * contract.height, 2 * contract.width), np.uint8))
    names = tf.constant([contract.classes[-1], "no class", ""])
    other = layer({"image": tf.constant([black] * 3), "label": names})
    np.testing.assert_allclose(other["image"], (0 - mean) / deviation, rtol=1e-5)
    assert other["label"].numpy().tolist() == [num_classes - 1, -1, -1]


def test_the_analysis_needs_no_image() -> None:
    specs = schema_utils.schema_as_feature_spec(parse_schema(schema_text(DIGITS), "schema")).feature_spec
    types = {name: tf.TensorSpec([None], spec.dtype) for name, spec in specs.items()}
    preprocess = partial(preprocessing_fn, custom_config={CONTRACT_KEY: asdict(DIGITS)})
    assert tft.get_analyze_input_columns(preprocess, types) == ["brightness_mean", "brightness_deviation"]
