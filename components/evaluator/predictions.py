"""Predicts files of examples in batches, for TFMA's extension point of extractors, and writes the predictions.

TFMA's own extractors hand on one image at a time, which costs more than its prediction.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray

from components.evaluator.prediction_files import SCHEMA, image_id, prediction_file
from components.features import CORRUPTION_KEY, IMAGE_KEY

_FILE_KEY = "prediction_file"
_BATCH_SIZE = 256
# Opening a file takes TensorFlow as long as predicting a hundred images; more parts would keep more workers busy.
_MAX_PARTS = 16


def divide(files: Sequence[str]) -> list[tfma.Extracts]:
    """Divides files of gzipped TFRecords into parts, the input of the extractor."""
    parts = np.array_split(files, min(len(files), _MAX_PARTS))
    return [
        {tfma.INPUT_KEY: part.tolist(), _FILE_KEY: prediction_file(number, len(parts))}
        for number, part in enumerate(parts)
    ]


def batch_extractor(
    eval_config: tfma.EvalConfig, models: Mapping[str, str], classes: Sequence[str], directory: str
) -> tfma.extractors.Extractor:
    """Returns an extractor from parts of the files to batches of labels, predictions and features.

    All images of a batch are in the same slices. The extractor also writes the predictions of each part to a file.

    Args:
        eval_config: The model specs name the models, a signature and its output; slices are of string features.
        models: Folders of SavedModels, by name.
        classes: Names of the classes in the order of the output.
        directory: Existing folder for the files of predictions; see `components.evaluator.prediction_files`.
    """
    predict = beam.FlatMap(_predict_files, eval_config, models, classes, directory)
    return tfma.extractors.Extractor("PredictFiles", predict)


def _predict_files(
    extracts: tfma.Extracts,
    eval_config: tfma.EvalConfig,
    models: Mapping[str, str],
    classes: Sequence[str],
    directory: str,
) -> Iterator[tfma.Extracts]:
    spec = eval_config.model_specs[0]
    # The candidate comes first.
    names = [each.name for each in sorted(eval_config.model_specs, key=lambda each: each.is_baseline)]
    slice_keys = sorted(
        {key for each in eval_config.slicing_specs for key in (*each.feature_keys, *each.feature_values)}
    )
    formats = {key: tf.io.FixedLenFeature([], tf.string) for key in (spec.label_key, IMAGE_KEY, *slice_keys)}
    signatures = {name: _load_model(path).signatures[spec.signature_name] for name, path in models.items()}
    rows = []
    for batch in tf.data.TFRecordDataset(extracts[tfma.INPUT_KEY], compression_type="GZIP").batch(_BATCH_SIZE):
        features = {key: values.numpy() for key, values in tf.io.parse_example(batch, formats).items()}
        predictions = {name: _predict(signature, batch, spec.prediction_key) for name, signature in signatures.items()}
        images, labels, corruptions = features.pop(IMAGE_KEY), features[spec.label_key], features.get(CORRUPTION_KEY)
        rows.append(_rows(images, labels, corruptions, [predictions[name] for name in names], classes))
        rows_by_slice: dict[tuple[bytes, ...], list[int]] = {}
        for row in range(len(batch)):
            rows_by_slice.setdefault(tuple(features[key][row] for key in slice_keys), []).append(row)
        for of_slice in rows_by_slice.values():
            by_model = {name: {spec.prediction_key: each[of_slice]} for name, each in predictions.items()}
            yield {
                tfma.FEATURES_KEY: {key: each[of_slice] for key, each in features.items()},
                tfma.LABELS_KEY: labels[of_slice],
                # TFMA does not name a single model.
                tfma.PREDICTIONS_KEY: by_model if len(models) > 1 else next(iter(by_model.values())),
            }
    _write(rows, os.path.join(directory, extracts[_FILE_KEY]))


def _rows(
    images: Iterable[bytes],
    labels: NDArray[np.object_],
    corruptions: NDArray[np.object_] | None,
    probabilities: Sequence[NDArray[np.float32]],
    classes: Sequence[str],
) -> pa.RecordBatch:
    """Returns the predictions of a batch, probabilities float32[n,classes] of the candidate and of any baseline."""
    columns: dict[str, Any] = {
        "image_id": list(map(image_id, images)),
        "label": labels,
        "corruption": corruptions,
    }
    for prefix, of_model in zip(("", "baseline_"), probabilities, strict=False):
        columns[f"{prefix}prediction"] = np.array(classes, object)[of_model.argmax(axis=-1)]
        columns[f"{prefix}confidence"] = of_model.max(axis=-1)
    nothing = [None] * len(labels)
    arrays = [pa.array(nothing if columns.get(each.name) is None else columns[each.name], each.type) for each in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _write(rows: Sequence[pa.RecordBatch], file: str) -> None:
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches(rows, SCHEMA), content)
    # A runner may repeat the work, even while the first attempt goes on.
    attempt = f"{file}.{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(attempt, "wb") as output:
        output.write(content.getvalue().to_pybytes())
    tf.io.gfile.rename(attempt, file, overwrite=True)


def _load_model(path: str) -> Any:
    return _load_once(path, tf.saved_model.experimental.read_fingerprint(path).singleprint())


# A local run evaluates the same models in two steps, and loading one takes as long as predicting thousands of images.
@lru_cache(maxsize=2)
def _load_once(path: str, fingerprint: str) -> Any:
    """Loads a SavedModel; the fingerprint tells it from another one that was in the same place."""
    return tf.saved_model.load(path)


def _predict(signature: Any, examples: tf.Tensor, output: str) -> NDArray[np.float32]:
    """Predicts serialized examples, string[n], and halves a batch that exceeds the limits of the signature."""
    [name] = signature.structured_input_signature[1]
    try:
        return signature(**{name: examples})[output].numpy()
    except tf.errors.InvalidArgumentError:
        half = len(examples) // 2
        if not half:
            raise
        return np.concatenate([_predict(signature, part, output) for part in (examples[:half], examples[half:])])
