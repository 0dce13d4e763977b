"""Makes of the ExecutorInput of Kubeflow Pipelines what TFX's executors expect: local files, types, plain values.

TFX wrote its entry point for Vertex AI. What open-source Kubeflow Pipelines hands over differs in the points that the
functions below name; all of them work on the JSON of the message ExecutorInput, without TFX. The contract was read in
the sources of Kubeflow Pipelines 2.17, backend/src/v2/component/launcher_v2.go, driver/driver.go and
metadata/converter.go.
"""

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.original_uri import ORIGINAL_URI_KEY
from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.kubeflow.step.overrides import apply_overrides

Json = dict[str, Any]

RUN_ID_PARAMETER = "pipeline_run_id"
LOGS_OUTPUT = "executor-logs"
VERDICT_TITLE = "digits.Verdict"

_MOUNTS = {"minio": "minio", "s3": "s3", "gs": "gcs"}
"""Folder of the pod, below its root, for each scheme."""

_CLASS_OF_TITLE = {VERDICT_TITLE: "components.verdict_artifact.VerdictArtifact"}
"""TFX takes the title of a type that is not its own for the path of the class, and allows no such path as a title."""

_PROJECT_PATH_PARAMETERS = ("uri", "schema_file")


@dataclass(frozen=True)
class LocalInput:
    """An ExecutorInput for TFX.

    Attributes:
        executor_input: Its JSON; all URIs are paths of the pod, but those that were to be kept.
        uris: The URI of each path in it.
        pipeline_run_id: Id of the run, where the step is told.
    """

    executor_input: Json
    uris: Mapping[str, str]
    pipeline_run_id: str | None

    @property
    def inputs(self) -> Mapping[str, list[Json]]:
        """The input artifacts, by their key."""
        return _artifacts(self.executor_input, "inputs")

    @property
    def outputs(self) -> Mapping[str, list[Json]]:
        """The output artifacts, by their key."""
        return _artifacts(self.executor_input, "outputs")

    @property
    def parameters(self) -> Json:
        """The execution properties, by their name."""
        parameters: Json = self.executor_input["inputs"]["parameterValues"]
        return parameters

    @property
    def output_file(self) -> Path:
        """Where the ExecutorOutput is to be written."""
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
        executor_input: JSON of what the launcher hands over; stays as it is.
        inputs_spec: JSON of the ComponentInputsSpec that TFX passes to every step.
        overrides: See `apply_overrides`.
        pod_root: Folder of the pod's mounts.
        project_root: What relative paths of data and schema are relative to.
        keep_gs_uris: Whether artifacts of gs:// stay there, because workers outside the pod read and write them.

    Raises:
        KubeflowStepError: An artifact has a URI that the launcher does not download, or an override is wrong.
    """
    local = deepcopy(executor_input)
    _drop_artifacts_of_others(local)
    _restore_types(local, inputs_spec)
    _unwrap_metadata(local)
    uris = _localize_uris(local, pod_root, keep_gs_uris)
    output_file = local["outputs"]["outputFile"]
    local["outputs"]["outputFile"] = str(_below(pod_root, output_file))
    types = {name: spec.get("parameterType", "") for name, spec in inputs_spec.get("parameters", {}).items()}
    inputs = local.setdefault("inputs", {})
    parameters = apply_overrides(inputs.get("parameterValues", {}), overrides, types)
    resolve_project_paths(parameters, project_root)
    run_id = parameters.pop(RUN_ID_PARAMETER, None)
    inputs["parameterValues"] = parameters
    return LocalInput(local, uris, run_id)


def pod_path(uri: str, pod_root: Path) -> Path:
    """Returns where the launcher puts the files of a URI, or takes them from.

    Raises:
        KubeflowStepError: The scheme is none that the launcher knows.
    """
    scheme, _, path = uri.partition("://")
    if scheme not in _MOUNTS or not path:
        known = ", ".join(f"{scheme}://" for scheme in _MOUNTS)
        raise KubeflowStepError(
            f"{uri}: expected the URI of an artifact to begin with one of {known}; "
            "start the run with such a pipeline root."
        )
    return pod_root / _MOUNTS[scheme] / path


def type_title(artifact: Json) -> str:
    """Returns the title of an artifact's type, such as `tfx.Examples`; empty where it has none."""
    artifact_type = artifact.get("type", {})
    schema = yaml.safe_load(artifact_type.get("instanceSchema") or "") or {}
    return str(artifact_type.get("schemaTitle") or schema.get("title", ""))


def resolve_project_paths(parameters: Json, project_root: Path) -> None:
    """Makes relative paths of data and schema absolute: the image has them in the project, wherever that is.

    Args:
        parameters: Execution properties, changed in place.
        project_root: Where the project is.
    """
    for name in _PROJECT_PATH_PARAMETERS:
        value = parameters.get(name)
        if value and "://" not in value and not Path(value).is_absolute():
            parameters[name] = str(project_root / value)


def _drop_artifacts_of_others(executor_input: Json) -> None:
    """Drops the log, which the launcher fills (F1), and what only the conditions of the graph look at."""
    _artifact_lists(executor_input, "outputs").pop(LOGS_OUTPUT, None)
    inputs = _artifact_lists(executor_input, "inputs")
    # TFX names these _STEP.KEY, as no key of a component can be.
    for key in [key for key in inputs if key.startswith("_") and "." in key]:
        del inputs[key]


def _restore_types(executor_input: Json, inputs_spec: Json) -> None:
    """Gives inputs their types, which they lose on their way through the metadata store (F3)."""
    for key, artifacts in _artifacts(executor_input, "inputs").items():
        for artifact in artifacts:
            artifact["type"] = deepcopy(inputs_spec["artifacts"][key]["artifactType"])
    for side in ("inputs", "outputs"):
        for artifacts in _artifacts(executor_input, side).values():
            for artifact in artifacts:
                if class_path := _CLASS_OF_TITLE.get(type_title(artifact)):
                    artifact["type"] = {"schemaTitle": class_path}


def _unwrap_metadata(executor_input: Json) -> None:
    """Unwraps lists and dictionaries, which the metadata store hands out as `{"list": …}` and `{"struct": …}` (F8)."""
    for artifacts in _artifacts(executor_input, "inputs").values():
        for artifact in artifacts:
            metadata = artifact.get("metadata", {})
            for name, value in metadata.items():
                if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("list", "struct"):
                    [metadata[name]] = value.values()


def _localize_uris(executor_input: Json, pod_root: Path, keep_gs_uris: bool) -> dict[str, str]:
    """Replaces URIs, of which TFX opens few, by the paths to which the launcher copies (F2)."""
    uris = {}
    for side in ("inputs", "outputs"):
        for artifacts in _artifacts(executor_input, side).values():
            for artifact in artifacts:
                uri = artifact["uri"]
                if side == "inputs":
                    artifact.setdefault("metadata", {})[ORIGINAL_URI_KEY] = uri
                if not (keep_gs_uris and _is_for_workers(artifact)):
                    artifact["uri"] = str(pod_path(uri, pod_root))
                    uris[artifact["uri"]] = uri
    return uris


def _is_for_workers(artifact: Json) -> bool:
    # Verdicts are written by the step itself, to a local folder.
    return artifact["uri"].startswith("gs://") and type_title(artifact) not in _CLASS_OF_TITLE.values()


def _below(pod_root: Path, path: str) -> Path:
    return Path(path) if Path(path).is_relative_to(pod_root) else pod_root / path.lstrip("/")


def _artifacts(executor_input: Json, side: str) -> dict[str, list[Json]]:
    return {key: found.get("artifacts", []) for key, found in _artifact_lists(executor_input, side).items()}


def _artifact_lists(executor_input: Json, side: str) -> Json:
    lists: Json = executor_input.get(side, {}).get("artifacts", {})
    return lists


def without_inputs(local: LocalInput, keys: Collection[str]) -> LocalInput:
    """Returns the same without some of the input artifacts."""
    executor_input = deepcopy(local.executor_input)
    for key in keys:
        del executor_input["inputs"]["artifacts"][key]
    return LocalInput(executor_input, local.uris, local.pipeline_run_id)
