"""Collects the report of a run from its artifacts."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from google.protobuf.message import DecodeError
from tensorflow.core.util.event_pb2 import Event
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen.stats_artifact_utils import BINARY_PB_BASENAME
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    ExampleStatistics,
    Model,
    ModelEvaluation,
    ModelRun,
    PushedModel,
    Schema,
    TransformGraph,
)

from components.baseline_driver import VERSION_PROPERTY
from components.evaluator.bounds import measurements
from components.evaluator.prediction_files import image_id, read_predictions
from components.features import (
    FINGERPRINT_KEY,
    IMAGE_KEY,
    LABEL_KEY,
    ORIGINAL_URI_KEY,
    SPLITS,
    TEST_SPLIT,
    TRAIN_SPLIT,
    URI_KEY,
    Contract,
)
from components.image_decoding import decode_images
from components.raw_examples import encode_png, find_contract, find_files
from components.run_report.report import ChangedSetting, Data, Epoch, Evaluation, Picture, Report, Source, StepCost
from components.run_report.sections import (
    Measured,
    count_classes,
    describe_anomalies,
    describe_evaluation,
    describe_gate,
    describe_robustness,
    list_epochs,
    list_histograms,
    list_latencies,
    list_refusals,
    list_statistics,
    worst_mistakes,
)
from components.trainer.training import PARAMETERS_TAG, TEMPERATURE_TAG
from components.verdict import Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact
from registry.errors import ExpectedError
from registry.provenance import PROJECT, Software


@dataclass(frozen=True)
class Input:
    """An artifact that a report is made from: the step that writes it, the key of this output, and its type."""

    step: str
    output: str
    type: type[Artifact]


INPUTS: Mapping[str, Input] = {
    "schema": Input("ImportSchemaGen", "schema", Schema),
    "examples": Input("MnistExampleGen", "examples", Examples),
    "statistics": Input("StatisticsGen", "statistics", ExampleStatistics),
    "anomalies": Input("ExampleValidator", "anomalies", ExampleAnomalies),
    "data_verdict": Input("DataGate", "verdict", VerdictArtifact),
    "transform_graph": Input("Transform", "transform_graph", TransformGraph),
    "model": Input("Trainer", "model", Model),
    "model_run": Input("Trainer", "model_run", ModelRun),
    "baseline_model": Input("BaselineModel", "baseline_model", Model),
    "evaluation": Input("Evaluator", "evaluation", ModelEvaluation),
    "evaluation_verdict": Input("Evaluator", "verdict", VerdictArtifact),
    "robustness_evaluation": Input("RobustnessEvaluator", "evaluation", ModelEvaluation),
    "robustness_verdict": Input("RobustnessEvaluator", "verdict", VerdictArtifact),
    "serving_verdict": Input("ServingCheck", "verdict", VerdictArtifact),
    "pushed_model": Input("Pusher", "pushed_model", PushedModel),
}
"""The artifacts that a report is made from, by the name of the component's input."""

_VERDICTS = tuple(key for key, each in INPUTS.items() if each.type is VerdictArtifact)

_LONGEST_SIDE = 56
"""Of a picture, in pixels; the file of the report must stay small."""
_MAX_SAMPLES = 80
_MAX_SAMPLES_PER_CLASS = 8
_NUM_SEARCHED = 5_000
"""Images of train among which samples are looked for; the examples are shuffled."""
_BATCH_SIZE = 256

Artifacts = Mapping[str, Artifact]
"""The artifacts that exist, by the keys of `INPUTS`."""

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class RunFacts:
    """What the artifacts of a run do not say.

    Attributes:
        model: Name of the model.
        run_id: The ID that TFX assigned.
        outcome: How it ended; None: pushed or refused, as the artifacts say.
        reasons: Why it ended so, in addition to the reasons of gates.
        settings: The settings that differ from their defaults.
        trials: The trials of the search that found the hyperparameters.
        steps: Time and memory of each step.
        software: The software of the run.
        missing: What is not known, one sentence each.
    """

    model: str
    run_id: str
    outcome: str | None = None
    reasons: tuple[str, ...] = ()
    settings: tuple[ChangedSetting, ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()
    steps: tuple[StepCost, ...] = ()
    software: Software | None = None
    missing: tuple[str, ...] = ()


def collect_report(artifacts: Artifacts, run: RunFacts) -> Report:
    """Collects a report; what is absent or damaged is left out, and the report says so."""
    parts = _Parts(artifacts)
    contract = parts.read("schema", "data and results by class", find_contract)
    data = _data(parts, artifacts, contract) if contract else None
    verdicts = [
        verdict for key in _VERDICTS if (verdict := parts.read(key, f"decision of {INPUTS[key].step}", _read_verdict))
    ]
    epochs, temperature, num_parameters = _training(parts)
    evaluation = _evaluation(parts, contract) if contract else None
    robustness = parts.read("robustness_evaluation", "accuracy under corruptions", _read_metrics)
    version = _number(artifacts, "pushed_model", "pushed_version")
    reasons = (*run.reasons, *list_refusals(verdicts))
    if "pushed_model" in artifacts and version is None and not reasons:
        reasons = ("InfraValidator refused the model.",)
    parts.note(bool(run.steps), "time of the steps", "the runner does not tell")
    parts.note(any(step.peak_bytes for step in run.steps), "peak memory of the steps", "it was not measured")
    parts.note(run.software is not None, "versions of the software", "the run did not record them")
    return Report(
        model=run.model,
        run_id=run.run_id,
        created=datetime.now(UTC),
        outcome=run.outcome or ("refused" if version is None else "pushed"),
        reasons=reasons,
        version=version,
        baseline_version=_number(artifacts, "baseline_model", VERSION_PROPERTY),
        data=data,
        epochs=epochs,
        temperature=temperature,
        parameters=num_parameters,
        evaluation=evaluation,
        robustness=describe_robustness(robustness or {}),
        gates=tuple(map(describe_gate, verdicts)),
        latencies=tuple(latency for verdict in verdicts for latency in list_latencies(verdict)),
        trials=run.trials,
        settings=run.settings,
        packages=_packages(run.software) if run.software else {},
        steps=run.steps,
        sources=tuple(
            Source(step=each.step, type=each.type.TYPE_NAME, uri=_uri(artifacts[key]))
            for key, each in INPUTS.items()
            if key in artifacts
        ),
        missing=(*run.missing, *parts.missing),
    )


def _uri(artifact: Artifact) -> str:
    return artifact.get_string_custom_property(ORIGINAL_URI_KEY) or artifact.uri


def read_scalars(folder: str) -> dict[str, dict[str, list[float]]]:
    """Reads the scalars in TensorBoard logs.

    Returns:
        The values in the order in which they were written, by subfolder and tag.
    """
    scalars: dict[str, dict[str, list[float]]] = {}
    for path, _, names in tf.io.gfile.walk(folder):
        files = [os.path.join(path, name) for name in sorted(names) if "tfevents" in name]
        values = scalars.setdefault(os.path.relpath(path, folder), {})
        for record in tf.data.TFRecordDataset(files).as_numpy_iterator() if files else ():
            for value in Event.FromString(record).summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    values.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    return scalars


class _Parts:
    """Reads artifacts and notes what is absent."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self.missing: list[str] = []

    def read(self, key: str, content: str, read: Callable[[Artifact], _Part]) -> _Part | None:
        """Reads an artifact, or notes why its content, a noun, is missing."""
        artifact = self._artifacts.get(key)
        if artifact is None:
            reason = f"{INPUTS[key].step} did not complete"
        elif not tf.io.gfile.exists(artifact.uri):
            reason = f"{artifact.uri} no longer exists"
        else:
            try:
                return read(artifact)
            except (ExpectedError, OSError, ValueError, DecodeError, tf.errors.OpError) as error:
                reason = str(error).rstrip(".")
        self.note(False, content, reason)
        return None

    def note(self, is_there: bool, content: str, reason: str) -> None:
        """Notes why a content, a noun, is missing if it is not there."""
        if not is_there:
            self.missing.append(f"No {content}: {reason}.")


def _data(parts: _Parts, artifacts: Artifacts, contract: Contract) -> Data | None:
    statistics = parts.read("statistics", "statistics of the data", _read_statistics)
    anomalies = parts.read("anomalies", "anomalies of the data", _read_anomalies)
    samples = parts.read("examples", "sample images", lambda examples: _find_samples(examples, contract))
    if statistics is None or "examples" not in artifacts:
        return None
    examples = artifacts["examples"]
    return Data(
        uri=examples.get_string_custom_property(URI_KEY),
        span=examples.span,
        fingerprint=examples.get_string_custom_property(FINGERPRINT_KEY),
        image_shape=contract.image_shape,
        classes=contract.classes,
        class_counts=count_classes(statistics, contract.classes),
        samples=samples or (),
        histograms=list_histograms(statistics),
        statistics=list_statistics(statistics),
        anomalies=describe_anomalies(anomalies or {}),
    )


def _training(parts: _Parts) -> tuple[tuple[Epoch, ...], float | None, int | None]:
    """Returns the epochs, the temperature and the number of parameters."""
    logs = parts.read("model_run", "training curves", lambda model_run: read_scalars(model_run.uri))
    if logs is None:
        return (), None, None
    epochs = list_epochs(logs.get("train", {}), logs.get("validation", {}))
    parts.note(bool(epochs), "training curves", "the logs of Trainer have none")
    results = logs.get(".", {})
    parts.note(TEMPERATURE_TAG in results, "temperature and number of parameters", "the logs of Trainer have none")
    temperature, num_parameters = results.get(TEMPERATURE_TAG), results.get(PARAMETERS_TAG)
    return epochs, temperature[-1] if temperature else None, int(num_parameters[-1]) if num_parameters else None


def _evaluation(parts: _Parts, contract: Contract) -> Evaluation | None:
    measured = parts.read("evaluation", "results on the test split", _read_metrics)
    if measured is None:
        return None
    predictions = parts.read(
        "evaluation", "confusion matrix, calibration and mistakes", lambda evaluation: read_predictions(evaluation.uri)
    )
    pictures: dict[int, str] = {}
    if predictions is not None:
        worst = {row["image_id"] for row in worst_mistakes(predictions)}
        find = partial(_find_pictures, contract=contract, image_ids=worst)
        pictures = parts.read("examples", "pictures of mistakes", find) or {}
    return describe_evaluation(measured, contract.classes, predictions, pictures)


def _read_statistics(artifact: Artifact) -> dict[str, DatasetFeatureStatisticsList]:
    return {
        split: DatasetFeatureStatisticsList.FromString(content)
        for split, content in _read_splits(artifact, BINARY_PB_BASENAME)
    }


def _read_anomalies(artifact: Artifact) -> dict[str, Anomalies]:
    return {split: Anomalies.FromString(content) for split, content in _read_splits(artifact, DEFAULT_FILE_NAME)}


def _read_splits(artifact: Artifact, name: str) -> Iterator[tuple[str, bytes]]:
    for split in SPLITS:
        with fileio.open(os.path.join(artifact_utils.get_split_uri([artifact], split), name), "rb") as file:
            yield split, file.read()


def _read_metrics(artifact: Artifact) -> Measured:
    return measurements(tfma.load_metrics(artifact.uri))


def _read_verdict(artifact: Artifact) -> Verdict:
    return read_verdict(artifact.uri)


def _find_samples(examples: Artifact, contract: Contract) -> tuple[Picture, ...]:
    """Returns the first images of each class in train, in the order of the classes."""
    per_class = max(1, min(_MAX_SAMPLES_PER_CLASS, _MAX_SAMPLES // len(contract.classes)))
    found: dict[str, list[bytes]] = {name: [] for name in contract.classes[:_MAX_SAMPLES]}
    num_wanted = per_class * len(found)
    for image, label in islice(_images(examples, TRAIN_SPLIT), _NUM_SEARCHED):
        if len(found.get(label, ())) < per_class and label in found:
            found[label].append(image)
            num_wanted -= 1
        if not num_wanted:
            break
    labels = [name for name, images in found.items() for _ in images]
    pictures = _draw([image for images in found.values() for image in images], contract)
    return tuple(Picture(image=image, label=label) for image, label in zip(pictures, labels, strict=True))


def _find_pictures(examples: Artifact, contract: Contract, image_ids: Set[int]) -> dict[int, str]:
    """Returns pictures of images of the test split by image ID."""
    found: dict[int, bytes] = {}
    for image, _ in _images(examples, TEST_SPLIT):
        if len(found) == len(image_ids):
            break
        if (identity := image_id(image)) in image_ids:
            found[identity] = image
    return dict(zip(found, _draw(list(found.values()), contract), strict=True))


def _images(examples: Artifact, split: str) -> Iterator[tuple[bytes, str]]:
    """Yields the encoded images of a split with their labels."""
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in (IMAGE_KEY, LABEL_KEY)}
    for batch in tf.data.TFRecordDataset(find_files(examples, split), compression_type="GZIP").batch(_BATCH_SIZE):
        parsed = tf.io.parse_example(batch, spec)
        for image, label in zip(parsed[IMAGE_KEY].numpy(), parsed[LABEL_KEY].numpy(), strict=True):
            yield image, label.decode()


def _draw(encoded: Sequence[bytes], contract: Contract) -> list[str]:
    """Returns PNGs, in base64, of images as the network sees them, reduced if they are large."""
    if not encoded:
        return []
    scale = min(1.0, _LONGEST_SIDE / max(contract.height, contract.width))
    shape = (*(max(1, round(scale * side)) for side in (contract.height, contract.width)), contract.channels)
    images = decode_images(tf.constant(encoded), shape).numpy().astype(np.uint8)
    return [base64.b64encode(png).decode() for png in encode_png(images)]


def _number(artifacts: Artifacts, key: str, name: str) -> int | None:
    text = artifacts[key].get_string_custom_property(name) if key in artifacts else ""
    return int(text) if text else None


def _packages(software: Software) -> dict[str, str]:
    revision = f" ({software.revision})" if software.revision else ""
    return {"Python": software.python, PROJECT: f"{software.version}{revision}", **software.packages}
