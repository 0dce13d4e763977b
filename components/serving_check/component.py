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

from components.raw_examples import find_files, read_images
from components.serving_check.check import check_export
from components.serving_check.limits import ServingLimits
from components.serving_check.requests import SIGNATURES, encode_images
from components.verdict import Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.signatures import INPUTS, NORMALIZE, SERVING_DEFAULT

LOG_FILE = "fresh_process.log"
"""Output of the separate process, next to the verdict."""

_ADVICE = "Fix what components/trainer/signatures.py exports, or set a wrong limit in section `serving_check`."

_NUM_SINGLE_WARM_UPS = 3
_WARM_UP_BATCH_SIZE = 32
_CANVAS_SCALE = 10


@component
def ServingCheck(  # noqa: N802 (the name of the step)
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: OutputArtifact[InfraBlessing],
    verdict: OutputArtifact[VerdictArtifact],
    split: Parameter[str],
    limits: Parameter[str],
    model_name: Parameter[str],
) -> None:
    """Loads the export in a fresh process with the loader of TF Serving, and tests every signature.

    TFX's InfraValidator needs Docker or Kubernetes, does not check the outputs, and sends no malformed requests.

    A refused export does not fail the step.

    Args:
        model: The export.
        examples: Raw tf.Examples.
        blessing: The decision for TFX's Pusher; if the export passed, with a copy of it and its warm-up requests.
        verdict: The decision and its reasons.
        split: The split whose images are sent.
        limits: JSON of `ServingLimits`.
        model_name: Name of the served model, for the warm-up requests.

    Raises:
        ValueError: The split has no examples.
    """
    serving_limits = ServingLimits.model_validate_json(limits)
    model_path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    images, _ = read_images(find_files(examples, split), serving_limits.num_requests)
    if not len(images):
        raise ValueError(f"{examples.uri}: split {split!r} has no examples, expected at least one to send.")
    findings = check_export(model_path, images, serving_limits, Path(verdict.uri, LOG_FILE))
    decision = Verdict("ServingCheck", tuple(findings), _ADVICE, enforced=serving_limits.enforced)
    publish_verdict(decision, verdict)
    if decision.passed:
        stamped_model = path_utils.stamped_model_path(blessing.uri)
        io_utils.copy_dir(model_path, stamped_model)
        warm_up = warm_up_requests(images, model_name)
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
        images: uint8[n,28,28], at least one; repeated to fill the batch.
        model_name: Name of the served model.
    """
    batch = np.resize(images, (_WARM_UP_BATCH_SIZE, *images.shape[1:]))
    for signature in SIGNATURES:
        inputs = _canvases(batch) if signature in (SERVING_DEFAULT, NORMALIZE) else encode_images(signature, batch)
        for values in (*np.split(inputs[:_NUM_SINGLE_WARM_UPS], _NUM_SINGLE_WARM_UPS), inputs):
            request = PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(values))
            yield PredictionLog(predict_log=PredictLog(request=request))


def _canvases(images: np.ndarray) -> np.ndarray:
    """Draws images as a canvas in a browser does: black on transparent PNGs of 280x280 pixels."""
    alpha = images.repeat(_CANVAS_SCALE, axis=1).repeat(_CANVAS_SCALE, axis=2)
    black = np.zeros_like(alpha)
    canvases = np.stack([black, black, black, alpha], axis=-1)
    return np.array([tf.io.encode_png(canvas).numpy() for canvas in canvases], dtype=object)
