"""Runs an executor of TFX on an ExecutorInput that `executor_input` has translated.

TFX's own main, tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor, does the same, but does not hand the
id of the run to the executor, and imports TFMA for every step. The parsing and the output are TFX's.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.step.executor_input import LocalInput
from pipeline.kubeflow.step.failure import IMAGE_ADVICE, KubeflowStepError
from pipeline.kubeflow.step.imports import resume_garbage_collection

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_executor import BaseExecutor

Json = dict[str, Any]


def run_executor(class_path: str, local: LocalInput, inputs_spec: Json, beam_args: Sequence[str]) -> Json:
    """Runs the executor.

    Args:
        class_path: Dotted path of its class.
        local: Its inputs, outputs and execution properties.
        inputs_spec: JSON of the ComponentInputsSpec of the step.
        beam_args: Options of the Beam engine, for executors that use Beam.

    Returns:
        JSON of the message ExecutorOutput.

    Raises:
        KubeflowStepError: There is no such class in this image.
    """
    from absl import logging
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_entrypoint
    from tfx.orchestration.portable.outputs_utils import tag_output_artifacts_with_version

    executor_class = import_executor(class_path)
    message = json_format.ParseDict(local.executor_input, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.ParseDict(inputs_spec, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True)
    name_of_id: dict[int, str] = {}
    inputs = tfx_entrypoint.parse_raw_artifact_dict(message.inputs.artifacts, name_of_id)
    outputs = tfx_entrypoint.parse_raw_artifact_dict(message.outputs.artifacts, name_of_id)
    properties = tfx_entrypoint.parse_execution_properties(
        message.inputs.parameter_values, message.inputs.parameters, spec
    )
    executor = _executor(executor_class, local, beam_args)
    resume_garbage_collection()
    # TFX logs through absl. While it is imported it only says what it does without.
    logging.set_verbosity(logging.INFO)
    logging.info("Starting executor")
    executor.Do(inputs, outputs, properties)
    tag_output_artifacts_with_version(outputs)
    for blessing in outputs.get("blessing", []):
        # Of Evaluator's, ids of models become the names by which Kubeflow Pipelines knows them.
        tfx_entrypoint.refactor_model_blessing(blessing, name_of_id)
    result = pipeline_spec_pb2.ExecutorOutput(artifacts=tfx_entrypoint.translate_executor_output(outputs, name_of_id))
    return json_format.MessageToDict(result)


def import_executor(class_path: str) -> "type[BaseExecutor]":
    """Imports the class of an executor.

    Raises:
        KubeflowStepError: There is no such class in this image.
    """
    from tfx.utils.import_utils import import_class_by_path

    try:
        executor_class: type[BaseExecutor] = import_class_by_path(class_path)
    except (ImportError, AttributeError) as error:
        # TFX says no more than that it cannot.
        reason = error.__cause__ or error.__context__ or error
        raise KubeflowStepError(f"{class_path}: this image does not have it ({reason}); {IMAGE_ADVICE}.") from error
    return executor_class


def _executor(executor_class: "type[BaseExecutor]", local: LocalInput, beam_args: Sequence[str]) -> "BaseExecutor":
    from tfx.dsl.components.base.base_executor import BaseExecutor

    shared: Json = {
        "unique_id": local.output_file.parent.name,
        "tmp_dir": os.path.join(_task_folder(local), ".temp"),
        "pipeline_run_id": local.pipeline_run_id,
    }
    # An executor that uses Beam has imported the base class of its kind; for others this would import Beam.
    beam_executors = sys.modules.get("tfx.dsl.components.base.base_beam_executor")
    if beam_executors and issubclass(executor_class, beam_executors.BaseBeamExecutor):
        context = beam_executors.BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args), **shared)
        return executor_class(context)
    return executor_class(BaseExecutor.Context(**shared))


def _task_folder(local: LocalInput) -> str:
    """Returns the folder of the outputs: where workers outside the pod share some of them, that of these."""
    uris = [artifact["uri"] for artifacts in local.outputs.values() for artifact in artifacts]
    return os.path.dirname(next((uri for uri in uris if "://" in uri), uris[0]))
