"""ServingCheck: the step that refuses an export which TF Serving could not serve."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import Artifact, BaseChannel, Channel, artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model
from tfx.utils import io_utils, path_utils

from components.raw_examples import find_files, read_images
from components.serving_check.check import check_export
from components.serving_check.limits import ServingLimits
from components.serving_check.requests import SIGNATURES, encode_images
from components.verdict import Verdict
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact, publish_verdict
from registry.signatures import INPUTS, NORMALIZE, SERVING_DEFAULT

MODEL_KEY = "model"
EXAMPLES_KEY = "examples"
BLESSING_KEY = "blessing"
SPLIT_KEY = "split"
LIMITS_KEY = "limits"
MODEL_NAME_KEY = "model_name"

LOG_FILE = "fresh_process.log"
"""Output of the fresh process, beside the verdict."""

_ADVICE = "Fix what components/trainer/signatures.py exports, or set a wrong limit in section `serving_check`."

_NUM_SINGLE_WARM_UPS = 3
_WARM_UP_BATCH_SIZE = 32
_CANVAS_SCALE = 10


class ServingCheckSpec(ComponentSpec):
    """Contract of ServingCheck."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str),
        LIMITS_KEY: ExecutionParameter(type=str),
        MODEL_NAME_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        MODEL_KEY: ChannelParameter(type=Model),
        EXAMPLES_KEY: ChannelParameter(type=Examples),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        BLESSING_KEY: ChannelParameter(type=InfraBlessing),
        VERDICT_KEY: ChannelParameter(type=VerdictArtifact),
    }


class Executor(BaseExecutor):
    """Executor of ServingCheck."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the export, writes the verdict and the blessing; TFX calls this.

        A refused export does not fail the step.

        Args:
            input_dict: `model`, the export; `examples`, raw tf.Examples.
            output_dict: `blessing` and `verdict`, the artifacts to fill.
            exec_properties: Those of `ServingCheckSpec`.

        Raises:
            ValueError: The split has no examples.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        verdict_artifact = artifact_utils.get_single_instance(output_dict[VERDICT_KEY])
        limits = ServingLimits.model_validate_json(exec_properties[LIMITS_KEY])
        model_path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        split = exec_properties[SPLIT_KEY]
        images, _ = read_images(find_files(examples, split), limits.num_requests)
        if not len(images):
            raise ValueError(f"{examples.uri}: split {split!r} has no examples, expected at least one to send.")

        findings = check_export(model_path, images, limits, Path(verdict_artifact.uri, LOG_FILE))
        verdict = Verdict("ServingCheck", tuple(findings), _ADVICE)
        publish_verdict(verdict, verdict_artifact)
        if verdict.passed:
            stamped_model = path_utils.stamped_model_path(blessing.uri)
            io_utils.copy_dir(model_path, stamped_model)
            warm_up = warm_up_requests(images, exec_properties[MODEL_NAME_KEY])
            io_utils.write_tfrecord_file(path_utils.warmup_file_path(stamped_model), *warm_up)
            blessing.set_int_custom_property("has_model", 1)
        # File and property names are private in TFX's InfraValidator; every Pusher reads them.
        file = "INFRA_BLESSED" if verdict.passed else "INFRA_NOT_BLESSED"
        io_utils.write_string_file(os.path.join(blessing.uri, file), "")
        blessing.set_int_custom_property("blessed", int(verdict.passed))


class ServingCheck(BaseComponent):
    """Loads the export in a fresh process with the loader of TF Serving, and tests every signature.

    TFX's InfraValidator needs Docker or Kubernetes, does not look into the answers, and sends no malformed requests.

    Outputs: `blessing`, an `InfraBlessing` for TFX's Pusher that contains the model with its warm-up requests if it
    passed, and `verdict`.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self, model: BaseChannel, examples: BaseChannel, *, split: str, limits: ServingLimits, model_name: str
    ) -> None:
        """Defines the step.

        Args:
            model: Channel of the export, a `Model`.
            examples: Channel of raw `Examples`.
            split: The split whose images are sent.
            limits: The requests and the limits of their answers.
            model_name: Name of the served model, for the warm-up requests.
        """
        super().__init__(
            ServingCheckSpec(
                **{
                    MODEL_KEY: model,
                    EXAMPLES_KEY: examples,
                    SPLIT_KEY: split,
                    LIMITS_KEY: limits.model_dump_json(),
                    MODEL_NAME_KEY: model_name,
                    BLESSING_KEY: Channel(type=InfraBlessing),
                    VERDICT_KEY: Channel(type=VerdictArtifact),
                }
            )
        )


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
