"""The extractor of batches, with a tiny model that sees which example it gets."""

from collections import Counter
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that

from components.evaluator.predictions import batch_extractor, divide
from pipeline.beam.options import direct_runner_args
from tests.support.examples import serialize, write_records

# isort: split
import tensorflow_model_analysis as tfma


class Reader(tf.Module):
    """Predicts the number in the label of each example."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = tf.io.parse_example(examples, {"label": tf.io.FixedLenFeature([], tf.string)})["label"]
        return {"numbers": tf.strings.to_number(labels)[:, tf.newaxis]}


@pytest.mark.parametrize("num_files", [1, 16, 40])
def test_each_file_is_in_one_part(num_files: int) -> None:
    files = [f"file {number}.gz" for number in range(num_files)]
    parts = [part[tfma.INPUT_KEY] for part in divide(files)]
    assert len(parts) == min(num_files, 16)
    assert [file for part in parts for file in part] == files


def test_all_images_of_a_batch_are_in_the_same_slices(tmp_path: Path) -> None:
    model = Reader()
    tf.saved_model.save(model, str(tmp_path / "model"), {"examples": model.answer})
    slices = [(color, size) for color in (b"red", b"blue") for size in (b"small", b"large")]
    numbers = np.random.default_rng(0).permutation(600)
    records = [
        serialize(label=str(number).encode(), color=slices[number % 4][0], size=slices[number % 4][1])
        for number in numbers
    ]
    files = [str(tmp_path / f"{shard}.gz") for shard in range(2)]
    for file, part in zip(files, (records[:500], records[500:]), strict=True):
        write_records(Path(file), part)
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key="label", prediction_key="numbers", signature_name="examples")],
        slicing_specs=[
            tfma.SlicingSpec(),
            tfma.SlicingSpec(feature_keys=["color"]),
            tfma.SlicingSpec(feature_values={"size": "small"}),
        ],
    )

    def check(batches: list[tfma.Extracts]) -> None:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        labels = np.concatenate([batch[tfma.LABELS_KEY] for batch in batches])
        predictions = np.concatenate([batch[tfma.PREDICTIONS_KEY]["numbers"][:, 0] for batch in batches])
        np.testing.assert_array_equal(predictions, labels.astype(float))
        assert sorted(predictions) == list(range(600))
        for batch in batches:
            [combination] = set(zip(*(batch[tfma.FEATURES_KEY][key] for key in ("color", "size")), strict=True))
            counts[combination] += len(batch[tfma.LABELS_KEY])
        assert counts == dict.fromkeys(slices, 150)

    extractor = batch_extractor(config, {"": str(tmp_path / "model")})
    with beam.Pipeline(argv=direct_runner_args()) as pipeline:
        batches = pipeline | beam.Create(divide(files)) | extractor.ptransform
        assert_that(batches, check)
