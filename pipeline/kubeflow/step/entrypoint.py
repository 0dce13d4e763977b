"""Runs one TFX executor in a container on Kubeflow Pipelines, under the contract of KFP's launcher.

`python -m pipeline.kubeflow.step.entrypoint --executor_class_path=… --json_serialized_invocation_args={{$}} …`
"""

import argparse
import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from components.verdict import TABLE_FILE
from pipeline.kubeflow.step.artifact_files import count_output_files, prepare_files, staged
from pipeline.kubeflow.step.executor_messages import LocalInput, globalize, localize
from pipeline.kubeflow.step.failure import IMAGE_ADVICE, KubeflowStepError, explain

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_executor import BaseExecutor

_PROJECT_ROOT = Path(__file__).resolve().parents[3]

# In a pod, the name of this module is `__main__`.
_log = logging.getLogger("pipeline.kubeflow.step.entrypoint")

_LOGGERS = (
    "pipeline",
    "components",
    "apache_beam.runners.portability.portable_runner",
    "apache_beam.runners.dataflow",
)
"""Loggers that report progress, besides TFX's: ours, and those of Beam that follow remote jobs."""

STORE_VARIABLE = "DIGITS_STORE__"
"""Prefix of the environment variables with the credentials of the data and the pushed versions.

KFP's launcher has the environment of the step: without the prefix, it would use these credentials and this endpoint for
the artifacts.
"""

Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a step.

    Returns:
        The exit code: 0, or 1 after a last line on stderr that starts with `Error: `.
    """
    arguments, beam_args = _parser().parse_known_args(argv)
    _set_up_logging()
    for name in [name for name in os.environ if name.startswith(STORE_VARIABLE)]:
        os.environ[name.removeprefix(STORE_VARIABLE)] = os.environ[name]
    executor_input = json.loads(arguments.json_serialized_invocation_args)
    step = _step_name(executor_input)
    start = time.monotonic()
    try:
        output = _run(arguments, beam_args, executor_input)
    except Exception as error:
        line, expected = explain(error, step)
        if not expected:
            traceback.print_exception(error)
        print(f"Error: {line}", file=sys.stderr, flush=True)
        return 1
    outputs = "; ".join(
        f"{key} {artifact['uri']} {json.dumps(artifact['metadata'], ensure_ascii=False)}"
        for key, found in output["artifacts"].items()
        for artifact in found["artifacts"]
    )
    _log.info("%s: done in %.1f s; outputs: %s", step, time.monotonic() - start, outputs)
    return 0


def run_executor(class_path: str, local: LocalInput, inputs_spec: Json, beam_args: Sequence[str]) -> Json:
    """Runs an executor.

    TFX's `kubeflow_v2_run_executor` does the same, but does not pass the ID of the run to the executor.

    Args:
        class_path: Dotted path of the executor class.
        local: Its inputs, outputs and execution properties.
        inputs_spec: JSON of the ComponentInputsSpec of the step.
        beam_args: Options of the Beam engine, for executors that use Beam.

    Returns:
        JSON of the message ExecutorOutput.

    Raises:
        KubeflowStepError: This image does not have the class.
    """
    from absl import logging as absl_logging
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_entrypoint
    from tfx.orchestration.portable.outputs_utils import tag_output_artifacts_with_version

    executor_class = _import_executor(class_path)
    gc.freeze()
    gc.enable()
    message = json_format.ParseDict(local.executor_input, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.ParseDict(inputs_spec, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True)
    name_of_id: dict[int, str] = {}
    inputs = tfx_entrypoint.parse_raw_artifact_dict(message.inputs.artifacts, name_of_id)
    outputs = tfx_entrypoint.parse_raw_artifact_dict(message.outputs.artifacts, name_of_id)
    properties = tfx_entrypoint.parse_execution_properties(
        message.inputs.parameter_values, message.inputs.parameters, spec
    )
    executor = _executor(executor_class, local, beam_args)
    # TFX logs through absl; what it logs during its import is noise.
    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.info("Starting executor")
    executor.Do(inputs, outputs, properties)
    tag_output_artifacts_with_version(outputs)
    for blessing in outputs.get("blessing", []):
        # In the blessing of Evaluator, the IDs of models become the names that Kubeflow Pipelines uses.
        tfx_entrypoint.refactor_model_blessing(blessing, name_of_id)
    result = pipeline_spec_pb2.ExecutorOutput(artifacts=tfx_entrypoint.translate_executor_output(outputs, name_of_id))
    return json_format.MessageToDict(result)


def _run(arguments: argparse.Namespace, beam_args: Sequence[str], executor_input: Json) -> Json:
    inputs_spec = json.loads(arguments.json_serialized_inputs_spec_args)
    local = localize(
        executor_input,
        inputs_spec,
        overrides=arguments.override,
        pod_root=arguments.pod_root,
        project_root=_PROJECT_ROOT,
        keep_gs_uris=arguments.keep_gs_uris,
    )
    prepare_files(local)
    place = staged(local, arguments.staging_folder) if arguments.staging_folder else nullcontext(local)
    with _serving_versions(arguments.serving_store, local.parameters) as version_uris:
        with place as placed:
            output = run_executor(arguments.executor_class_path, placed, inputs_spec, beam_args)
        _print_verdicts(local)
    output = globalize(output, {**local.uris, **placed.uris, **version_uris}, count_output_files(local))
    local.output_file.write_text(json.dumps(output, allow_nan=False), encoding="utf-8")
    return output


def _serving_versions(store: str, parameters: Json) -> AbstractContextManager[Mapping[str, str]]:
    if not store:
        return nullcontext({})
    # It imports pydantic, which most steps do not need.
    from pipeline.kubeflow.step.serving_store import mirrored_versions

    return mirrored_versions(store, parameters)


def _print_verdicts(local: LocalInput) -> None:
    for _, artifact in local.outputs:
        table = Path(artifact["uri"], TABLE_FILE)
        if table.is_file():
            print(table.read_text(encoding="utf-8"), flush=True)


def _step_name(executor_input: Json) -> str:
    # No environment variable contains it, but the URIs of outputs do: ROOT/PIPELINE/RUN/STEP/UUID/KEY.
    uri = next(found["artifacts"][0]["uri"] for found in executor_input["outputs"]["artifacts"].values())
    return PurePosixPath(uri).parts[-3]


def _import_executor(class_path: str) -> "type[BaseExecutor]":
    from tfx.utils.import_utils import import_class_by_path

    try:
        executor_class: type[BaseExecutor] = import_class_by_path(class_path)
    except (ImportError, AttributeError) as error:
        # TFX's own message does not contain the reason.
        reason = error.__cause__ or error.__context__ or error
        raise KubeflowStepError(f"{class_path}: not in this image ({reason}); {IMAGE_ADVICE}.") from error
    return executor_class


def _executor(executor_class: "type[BaseExecutor]", local: LocalInput, beam_args: Sequence[str]) -> "BaseExecutor":
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.dsl.components.base.base_executor import BaseExecutor

    uris = [artifact["uri"] for _, artifact in local.outputs]
    # Outputs with a URI are shared with workers outside the pod.
    folder = os.path.dirname(next((uri for uri in uris if "://" in uri), uris[0]))
    shared: Json = {
        "unique_id": local.output_file.parent.name,
        "tmp_dir": os.path.join(folder, ".temp"),
        "pipeline_run_id": local.pipeline_run_id,
    }
    if issubclass(executor_class, BaseBeamExecutor):
        return executor_class(BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args), **shared))
    return executor_class(BaseExecutor.Context(**shared))


def _set_up_logging() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.step.entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True, help="class of the executor")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="the ExecutorInput")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="the ComponentInputsSpec")
    parser.add_argument("--override", action="append", default=[], help="PROPERTY[.KEY…]=PARAMETER")
    parser.add_argument("--serving_store", default="", help="URL of the folder with the pushed versions of all models")
    parser.add_argument("--staging_folder", type=Path, help="folder shared with workers outside the pod")
    parser.add_argument("--keep_gs_uris", action="store_true", help="keep gs:// URIs for workers outside the pod")
    parser.add_argument("--pod_root", type=Path, default=Path("/"), help="folder that contains the launcher's mounts")
    return parser


if __name__ == "__main__":
    # Imports create many objects but no garbage: `run_executor` enables the garbage collector after them.
    gc.disable()
    sys.exit(main())
