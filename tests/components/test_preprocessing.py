from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tfx.components  # noqa: F401 (TFDV needs it imported first)
from tensorflow_data_validation import load_schema_text
from tensorflow_transform.tf_metadata import schema_utils
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from components.preprocessing import preprocessing_fn

SCHEMA_FILE = Path(__file__).parents[2] / "data" / "schema.pbtxt"


def test_train_is_standardized_and_the_graph_applies_the_same_to_other_data(tmp_path: Path) -> None:
    schema = load_schema_text(str(SCHEMA_FILE))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 28, 28, 1))
    raw = [{"image": image, "label": label % 10} for label, image in enumerate(images)]
    with tft_beam.Context(temp_dir=str(tmp_path / "temp")):
        (transformed, metadata), transform_fn = (raw, DatasetMetadata(schema)) | tft_beam.AnalyzeAndTransformDataset(
            preprocessing_fn
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(tmp_path / "transform"))

    pixels = np.stack([example["image"] for example in transformed])
    assert pixels.dtype == np.float32
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0, 1], atol=1e-5)
    assert [int(example["label"]) for example in transformed] == [label % 10 for label in range(20)]
    spec = schema_utils.schema_as_feature_spec(metadata.schema).feature_spec
    assert spec == {
        "image": tf.io.FixedLenFeature([28, 28, 1], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    layer = tft.TFTransformOutput(str(tmp_path / "transform")).transform_features_layer()
    blank = layer({"image": tf.zeros([1, 28, 28, 1], tf.int64)})["image"]
    np.testing.assert_allclose(blank, (0 - images.mean()) / images.std(), rtol=1e-7)


def test_the_schema_matches_the_code() -> None:
    features = {feature.name: feature for feature in load_schema_text(str(SCHEMA_FILE)).feature}
    assert set(features) == {"image", "label"}
    assert [dim.size for dim in features["image"].shape.dim] == [28, 28, 1]
    assert (features["image"].int_domain.min, features["image"].int_domain.max) == (0, 255)
    assert (features["label"].int_domain.min, features["label"].int_domain.max) == (0, 9)
    assert all(feature.presence.min_fraction == 1 for feature in features.values())
