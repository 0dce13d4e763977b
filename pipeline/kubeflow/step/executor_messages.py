"""Translates the messages ExecutorInput and ExecutorOutput between KFP's launcher and TFX's executors.

TFX's own entry point is written for Vertex AI. These functions handle what open-source Kubeflow Pipelines does
differently; they work on the JSON form of the messages, without TFX. The contract is that of KFP 2.17, in
backend/src/v2/component/launcher_v2.go, driver/driver.go and metadata/converter.go.
"""

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.features import ORIGINAL_URI_KEY
from pipeline.kubeflow.step.failure import KubeflowStepError
from registry.provenance import VERDICT_TYPE

Json = dict[str, Any]

NUM_FILES_KEY = "num_files"
"""Custom property of every output: its number of files when it was written. The launcher downloads whatever is below a
URI, even if that is nothing, and does not report deleted files."""

_LOGS_OUTPUT = "executor-logs"
_REPORT_OUTPUT = "report"
_PAGE = "report.html"
"""File of a report that Kubeflow Pipelines stores; its UI cannot show a folder."""
_RUN_ID_PARAMETER = "pipeline_run_id"
_PROJECT_PATH_PARAMETERS = ("uri", "schema_file")

_MOUNTS = {"minio": "minio", "s3": "s3", "gs": "gcs"}
"""Folder below the root of the pod, by URI scheme."""

HTML_TITLE = "system.HTML"
"""Type of an artifact that the UI of Kubeflow Pipelines shows as a page; its URI is that of a file."""

_CLASSES = {
    VERDICT_TYPE: "components.verdict_artifact.VerdictArtifact",
    HTML_TITLE: "components.run_report.component.ReportArtifact",
}
"""Class by title: TFX expects the class path as the title of a custom type, and does not allow such a path there."""


@dataclass(frozen=True)
class LocalInput:
    """An ExecutorInput that TFX can use.

    Attributes:
        executor_input: Its JSON. All URIs are paths in the pod, except those that were kept.
        uris: The URI for each path in it.
        pipeline_run_id: The ID of the run, if the step receives it.
    """

    executor_input: Json
    uris: Mapping[str, str]
    pipeline_run_id: str | None

    @property
    def inputs(self) -> list[tuple[str, Json]]:
        """The input artifacts with their keys."""
        return _artifacts(self.executor_input, "inputs")

    @property
    def outputs(self) -> list[tuple[str, Json]]:
        """The output artifacts with their keys."""
        return _artifacts(self.executor_input, "outputs")

    @property
    def parameters(self) -> Json:
        """The execution properties by name."""
        parameters: Json = self.executor_input["inputs"]["parameterValues"]
        return parameters

    @property
    def output_file(self) -> Path:
        """The file for the ExecutorOutput."""
        return Path(self.executor_input["outputs"]["outputFile"])


def localize(
    executor_input: Json,
    inputs_spec: Json,
    *,
    overrides: Iterable[str] = (),
    pod_root: Path,
    project_root: Path,
    keep_gs_uris: bool = False,
) -> LocalInput:
    """Translates an ExecutorInput.

    Args:
        executor_input: JSON from the launcher; not modified.
        inputs_spec: JSON of the ComponentInputsSpec that TFX passes to every step.
        overrides: See `apply_overrides`.
        pod_root: Folder that contains the launcher's mounts.
        project_root: Folder that relative paths of data and schema refer to.
        keep_gs_uris: Whether artifacts in gs:// keep their URIs, because workers outside the pod read and write them.

    Raises:
        KubeflowStepError: The launcher does not download the URI of an artifact, or an override is invalid.
    """
    local = deepcopy(executor_input)
    inputs, outputs = local.setdefault("inputs", {}), local["outputs"]
    # The launcher fills this output, and TFX has no class for its type.
    outputs.get("artifacts", {}).pop(_LOGS_OUTPUT, None)
    _restore_inputs(local, inputs_spec)
    uris = _localize_uris(local, pod_root, keep_gs_uris)
    output_file = Path(outputs["outputFile"])
    if not output_file.is_relative_to(pod_root):
        outputs["outputFile"] = str(pod_root / output_file.relative_to("/"))
    types = {name: spec.get("parameterType", "") for name, spec in inputs_spec.get("parameters", {}).items()}
    parameters = apply_overrides(inputs.get("parameterValues", {}), overrides, types)
    for name in _PROJECT_PATH_PARAMETERS:
        if (value := parameters.get(name)) and "://" not in value:
            parameters[name] = str(project_root / value)
    run_id = parameters.pop(_RUN_ID_PARAMETER, None)
    inputs["parameterValues"] = parameters
    return LocalInput(local, uris, run_id)


def apply_overrides(parameters: Json, overrides: Iterable[str], parameter_types: Mapping[str, str]) -> Json:
    """Moves the values of run parameters into execution properties.

    Args:
        parameters: The execution properties and the run parameters of the step; not modified.
        overrides: `PROPERTY[.KEY…]=PARAMETER`; the keys lead into a property that is a JSON object.
        parameter_types: Type of each parameter in its ComponentInputsSpec, such as `NUMBER_INTEGER`.

    Returns:
        The execution properties.

    Raises:
        KubeflowStepError: An override refers to a missing parameter or value, or its value has the wrong type.
    """
    properties = dict(parameters)
    moved, targets = set(), set()
    for override in overrides:
        target, _, parameter = override.partition("=")
        if not target or parameter not in parameters:
            known = ", ".join(sorted(parameters)) or "none"
            raise KubeflowStepError(
                f"--override={override}: expected PROPERTY=PARAMETER with a parameter of this step ({known}); "
                "compile the pipeline again."
            )
        value = _typed(parameter, parameters[parameter], parameter_types.get(parameter))
        name, *keys = target.split(".")
        properties[name] = _replaced(properties, name, keys, value, override)
        moved.add(parameter)
        targets.add(name)
    return {name: value for name, value in properties.items() if name not in moved - targets}


def globalize(executor_output: Json, uris: Mapping[str, str], num_files: Mapping[str, int]) -> Json:
    """Translates an ExecutorOutput.

    Paths of the pod become URIs again, in metadata too. Metadata without a value is dropped, because the launcher fails
    on it.

    Args:
        executor_output: JSON from TFX; not modified.
        uris: The URI for each path.
        num_files: Number of files by output key, for the outputs that the launcher uploads.

    Returns:
        The JSON for the launcher.
    """
    artifacts = {}
    for key, found in executor_output.get("artifacts", {}).items():
        [artifact] = found["artifacts"]
        metadata = {name: value for name, value in artifact.get("metadata", {}).items() if value is not None}
        if key in num_files:
            metadata[NUM_FILES_KEY] = num_files[key]
        globalized = {**artifact, "metadata": metadata}
        result = _with_uris(globalized, uris)
        if key == _REPORT_OUTPUT:
            result["uri"] += f"/{_PAGE}"
        artifacts[key] = {"artifacts": [result]}
    return {**executor_output, "artifacts": artifacts}


def type_title(artifact: Json) -> str:
    """Returns the title of an artifact's type, such as `tfx.Examples`, or an empty string if it has none."""
    artifact_type = artifact.get("type", {})
    schema = yaml.safe_load(artifact_type.get("instanceSchema") or "") or {}
    return str(artifact_type.get("schemaTitle") or schema.get("title", ""))


def _typed(name: str, value: Any, parameter_type: str | None) -> Any:
    # The launcher converts numbers to floating point, and users can start a run with any value.
    if parameter_type != "NUMBER_INTEGER":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise KubeflowStepError(f"parameter {name}: expected a whole number, not {value!r}; start the run with one.")
    return int(value)


def _replaced(properties: Json, name: str, keys: list[str], value: Any, override: str) -> Any:
    if not keys:
        return value
    try:
        whole = json.loads(properties[name])
        holder = whole
        for key in keys[:-1]:
            holder = holder[key]
        # The executor would ignore an unknown key.
        holder[keys[-1]]
        holder[keys[-1]] = value
    except (KeyError, TypeError, ValueError) as error:
        raise KubeflowStepError(
            f"--override={override}: there is no such value in the execution property {name!r}; "
            "compile the pipeline again with the code of this image."
        ) from error
    return json.dumps(whole)


def _artifacts(executor_input: Json, side: str) -> list[tuple[str, Json]]:
    lists: Json = executor_input.get(side, {}).get("artifacts", {})
    return [(key, artifact) for key, found in lists.items() for artifact in found.get("artifacts", [])]


def _restore_inputs(local: Json, inputs_spec: Json) -> None:
    # TFX adds an input _STEP.KEY for a condition of the graph, which the executor does not expect.
    local["inputs"]["artifacts"] = {
        key: found
        for key, found in local["inputs"].get("artifacts", {}).items()
        if not (key.startswith("_") and "." in key)
    }
    for key, artifact in _artifacts(local, "inputs"):
        # The metadata store of KFP loses the types of inputs.
        artifact["type"] = inputs_spec["artifacts"][key]["artifactType"]
        metadata = {name: _unwrapped(value) for name, value in artifact.get("metadata", {}).items()}
        artifact["metadata"] = {**metadata, ORIGINAL_URI_KEY: artifact["uri"]}


def _localize_uris(local: Json, pod_root: Path, keep_gs_uris: bool) -> dict[str, str]:
    """Replaces the URIs, because TFX cannot open minio:// and s3://; returns the URI for each path."""
    uris = {}
    for _, artifact in [*_artifacts(local, "inputs"), *_artifacts(local, "outputs")]:
        uri = artifact["uri"]
        title = type_title(artifact)
        if title in _CLASSES:
            # A step writes its verdict and its report itself, to a local folder.
            artifact["type"] = {"schemaTitle": _CLASSES[title]}
        elif keep_gs_uris and uri.startswith("gs://"):
            continue
        artifact["uri"] = str(_pod_path(uri, pod_root))
        uris[artifact["uri"]] = uri
    return uris


def _unwrapped(value: Any) -> Any:
    """Returns a metadata value without the `list` or `struct` wrapper of the metadata store."""
    if isinstance(value, dict) and len(value) == 1:
        [(wrapper, content)] = value.items()
        return content if wrapper in ("list", "struct") else value
    return value


def _pod_path(uri: str, pod_root: Path) -> Path:
    scheme, _, path = uri.partition("://")
    if scheme not in _MOUNTS or not path:
        known = ", ".join(f"{scheme}://" for scheme in _MOUNTS)
        raise KubeflowStepError(
            f"{uri}: expected the URI of an artifact to start with one of {known}; "
            "start the run with such a pipeline root."
        )
    return pod_root / _MOUNTS[scheme] / path


def _with_uris(value: Any, uris: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for path, uri in uris.items():
            if value == path or value.startswith(f"{path}/"):
                return uri + value.removeprefix(path)
    if isinstance(value, list):
        return [_with_uris(item, uris) for item in value]
    if isinstance(value, dict):
        return {name: _with_uris(item, uris) for name, item in value.items()}
    return value
