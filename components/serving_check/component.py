"""ServingCheck: the step that refuses an export which TF Serving could not serve."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model
from tfx.utils import io_utils, path_utils

from components.intervals import images_needed, perfect_share
from components.raw_examples import find_contract, find_files, read_images, read_labels
from components.serving_check.check import check_export
from components.serving_check.limits import ServingLimits
from components.serving_check.requests import Sample, encode_images, fitting_images
from components.verdict import Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.signatures import INPUTS, NORMALIZE, SERVING_DEFAULT

LOG_FILE = "fresh_process.log"
"""Output of the separate process, next to the verdict."""

_NUM_SINGLE_WARM_UPS = 3
_WARM_UP_BATCH_SIZE = 32
_CANVAS_SIDE = 280

_NUM_SENT = 2000
"""Image files to measure the accuracy on; more if the minimum accuracy needs more."""


@component
def ServingCheck(  # noqa: N802 (the name of the step)
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: OutputArtifact[InfraBlessing],
    verdict: OutputArtifact[VerdictArtifact],
    split: Parameter[str],
    limits: Parameter[str],
    evaluation_min_accuracy: Parameter[float],
    model_name: Parameter[str],
    advice: Parameter[str],
) -> None:
    """Loads the export in a fresh process with the loader of TF Serving, and tests every signature.

    It also measures the accuracy of `serving_default` on the image files of the data, as clients send them. Evaluator
    measures that of `examples`, which prepares images differently.

    TFX's InfraValidator needs Docker or Kubernetes, does not check the outputs, and sends no malformed requests.

    A refused export does not fail the step.

    Args:
        model: The export.
        examples: Raw tf.Examples.
        blessing: The decision for TFX's Pusher; if the export passed, with a copy of it and its warm-up requests.
        verdict: The decision and its reasons.
        split: The split whose images are sent.
        limits: JSON of `ServingLimits`.
        evaluation_min_accuracy: Minimum accuracy of the gated signature; on image files, it may be
            `max_accuracy_drop` lower.
        model_name: Name of the served model, for the warm-up requests.
        advice: What to do after a refusal.

    Raises:
        ValueError: The split has no examples.
        SchemaError: The schema of the examples defines no contract.
    """
    serving_limits = ServingLimits.model_validate_json(limits)
    model_path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    files, contract = find_files(examples, split), find_contract(examples)
    images, _ = read_images(files, contract, serving_limits.num_requests)
    if not len(images):
        raise ValueError(f"{examples.uri}: split {split!r} has no examples, expected at least one to send.")
    least = max(evaluation_min_accuracy - serving_limits.max_accuracy_drop, 0.0)
    needed = images_needed(perfect_share, least) or 0
    labels = read_labels(files, max(_NUM_SENT, needed))
    sample = Sample(fitting_images(images), files, len(labels))
    log_file = Path(verdict.uri, LOG_FILE)
    findings = check_export(model_path, contract, sample, labels, least, serving_limits, log_file)
    decision = Verdict("ServingCheck", tuple(findings), advice, enforced=serving_limits.enforced)
    publish_verdict(decision, verdict)
    if decision.passed:
        stamped_model = path_utils.stamped_model_path(blessing.uri)
        io_utils.copy_dir(model_path, stamped_model)
        warm_up = warm_up_requests(sample.images, model_name)
        io_utils.write_tfrecord_file(path_utils.warmup_file_path(stamped_model), *warm_up)
        blessing.set_int_custom_property("has_model", 1)
    # File and property names are private in TFX's InfraValidator; every Pusher reads them.
    file = "INFRA_BLESSED" if decision.passed else "INFRA_NOT_BLESSED"
    io_utils.write_string_file(os.path.join(blessing.uri, file), "")
    blessing.set_int_custom_property("blessed", int(decision.passed))


def warm_up_requests(images: np.ndarray, model_name: str) -> Iterator[PredictionLog]:
    """Builds what TF Serving sends to a model before it serves it: single images and a batch to every signature.

    Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup, at most 1000 records.

    Args:
        images: uint8[n,height,width,channels], at least one; repeated to fill the batch.
        model_name: Name of the served model.
    """
    batch = fitting_images(np.resize(images, (_WARM_UP_BATCH_SIZE, *images.shape[1:])))
    drawn = fitting_images(_canvases(batch)) if images.shape[-1] == 1 else batch
    for signature in INPUTS:
        inputs = encode_images(signature, drawn if signature in (SERVING_DEFAULT, NORMALIZE) else batch)
        for values in (*np.split(inputs[:_NUM_SINGLE_WARM_UPS], len(inputs[:_NUM_SINGLE_WARM_UPS])), inputs):
            request = PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(values))
            yield PredictionLog(predict_log=PredictLog(request=request))


def _canvases(images: np.ndarray) -> np.ndarray:
    """Draws gray images as a canvas in a browser does: black on transparent, of about 280x280 pixels."""
    scale = max(1, round(_CANVAS_SIDE / max(images.shape[1:3])))
    alpha = images.repeat(scale, axis=1).repeat(scale, axis=2)
    return np.pad(alpha, ((0, 0), (0, 0), (0, 0), (3, 0)))
