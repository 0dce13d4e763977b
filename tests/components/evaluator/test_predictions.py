"""The extractor of batches, with tiny models that see which example they get."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that

from components.evaluator.prediction_files import prediction_file, read_predictions
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
        serialize(image=b"", label=str(number).encode(), color=slices[number % 4][0], size=slices[number % 4][1])
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

    extractor = batch_extractor(config, {"": str(tmp_path / "model")}, ["number"], str(tmp_path))
    with beam.Pipeline(argv=direct_runner_args()) as pipeline:
        batches = pipeline | beam.Create(divide(files)) | extractor.ptransform
        assert_that(batches, check)


class Speller(tf.Module):
    """Predicts class `b` for images of at least the given size, in bytes, else class `a`."""

    def __init__(self, size: int, confidence: float) -> None:
        super().__init__()
        self._size, self._confidence = size, confidence

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
        of_class = tf.one_hot(tf.cast(tf.strings.length(images) >= self._size, tf.int32), 2)
        return {"probabilities": of_class * self._confidence + (1 - of_class) * (1 - self._confidence)}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., pa.Table]:
    """Evaluates two models on images of 1 to 300 bytes in two files, and reads the predictions."""
    models = {}
    for name, model in {"candidate": Speller(201, 0.75), "baseline": Speller(101, 0.875)}.items():
        models[name] = str(tmp_path / name)
        tf.saved_model.save(model, models[name], {"examples": model.answer})
    files = [str(tmp_path / f"{number}.gz") for number in range(2)]
    for number, file in enumerate(files):
        sizes = (range(1, 261), range(261, 301))[number]
        records = [serialize(image=b"x" * size, label="ß".encode(), corruption=b"fog") for size in sizes]
        write_records(Path(file), records)

    def run(*names: str, slice_keys: Sequence[str] = (), times: int = 1) -> pa.Table:
        specs = [
            tfma.ModelSpec(
                name=name if len(names) > 1 else "",
                is_baseline=name == "baseline",
                label_key="label",
                prediction_key="probabilities",
                signature_name="examples",
            )
            for name in names
        ]
        config = tfma.EvalConfig(model_specs=specs, slicing_specs=[tfma.SlicingSpec(feature_keys=slice_keys)])
        paths = {spec.name: models[name] for spec, name in zip(specs, names, strict=True)}
        folder = tmp_path / "evaluation"
        folder.mkdir()
        extractor = batch_extractor(config, paths, ["a", "b"], str(folder))
        with beam.Pipeline(argv=direct_runner_args()) as pipeline:
            _ = pipeline | beam.Create(divide(files) * times) | extractor.ptransform
        assert sorted(path.name for path in folder.iterdir()) == [prediction_file(number, 2) for number in range(2)]
        return read_predictions(str(folder))

    return run


def test_every_prediction_is_written(write: Callable[..., pa.Table]) -> None:
    written = write("baseline", "candidate", slice_keys=["corruption"]).to_pydict()
    # The output of `printf x | b2sum --length 64`, and of xx.
    assert written.pop("image_id")[:2] == [0x4ADF4367F96E584F, 0xA6708B08CFED2539 - 2**64]
    assert written == {
        "label": ["ß"] * 300,
        "prediction": ["a"] * 200 + ["b"] * 100,
        "confidence": [0.75] * 300,
        "baseline_prediction": ["a"] * 100 + ["b"] * 200,
        "baseline_confidence": [0.875] * 300,
        "corruption": ["fog"] * 300,
    }


def test_predictions_without_a_baseline_that_a_runner_repeats(write: Callable[..., pa.Table]) -> None:
    written = write("candidate", times=2).to_pydict()
    assert written["prediction"] == ["a"] * 200 + ["b"] * 100
    assert len(set(written["image_id"])) == 300
    for column in ("baseline_prediction", "baseline_confidence", "corruption"):
        assert written[column] == [None] * 300
