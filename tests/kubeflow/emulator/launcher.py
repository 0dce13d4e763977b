"""The launcher: fetches the inputs of a pod, runs its command, and stores and records what it leaves.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/component/launcher_v2.go.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.compiled_pipeline import Task
from tests.kubeflow.emulator.contract import LOGS_KEY, ContractError, check_argument_size, to_json
from tests.kubeflow.emulator.driver import Execution, RunContext, as_text
from tests.kubeflow.emulator.metadata_store import MetadataStore, StoredArtifact
from tests.kubeflow.emulator.object_store import ObjectStore, in_directory, path_in_pod
from tests.kubeflow.emulator.runner import Pod, PodLostError, Runner, make_pod_folders


@dataclass(frozen=True)
class Attempt:
    """How one pod of a task ended.

    Attributes:
        image: The image that it asked for.
        command: Program and arguments.
        exit_code: Exit status of the command; None if it was not started, or nobody was left to see it.
        log: What the command printed, on either stream.
        failure: Why the attempt failed; empty if it did not.
        left_behind: Files that the pod has left in its working folder.
    """

    image: str
    command: tuple[str, ...]
    exit_code: int | None
    log: str
    failure: str
    left_behind: tuple[str, ...] = ()


class Launcher:
    """Starts pods."""

    def __init__(self, store: ObjectStore, metadata: MetadataStore, runner: Runner) -> None:
        """Works with the stores of a cluster; `runner` starts the commands."""
        self._store = store
        self._metadata = metadata
        self._runner = runner

    def launch(
        self, task: Task, execution: Execution, run: RunContext, attempt: int, directory: Path
    ) -> tuple[Attempt, Mapping[str, StoredArtifact]]:
        """Runs one attempt of a task in a fresh pod.

        Args:
            task: The task.
            execution: What the driver decided of it; the same for all attempts.
            run: The run.
            attempt: 0 for the first.
            directory: Folder for the pod's files, which does not exist yet.

        Returns:
            How the attempt ended, and what it put on record; of a failed one only its log.
        """
        executor_input = pipeline_spec_pb2.ExecutorInput()
        executor_input.CopyFrom(execution.executor_input)
        executor_input.outputs.artifacts[LOGS_KEY].artifacts[0].uri += f"-{attempt}"
        command = compile_command(task, executor_input)
        make_pod_folders(directory)
        self._fetch_inputs(executor_input, directory)
        log_file = _prepare_outputs(executor_input, directory)
        environment = {item.name: item.value for item in task.container.env}
        environment |= {"KFP_POD_NAME": directory.name, "KFP_POD_UID": directory.name, "KFP_RETRY_INDEX": str(attempt)}
        pod = Pod(task.name, attempt, directory, execution.image, command, environment, task.mounts)
        try:
            with log_file.open("wb") as log:
                exit_code = self._runner.run(pod, log)
        except PodLostError as error:
            return Attempt(pod.image, command, None, log_file.read_text(errors="replace"), f"pod lost: {error}"), {}
        return self._publish(pod, exit_code, executor_input, run, log_file.read_text(errors="replace"))

    def _fetch_inputs(self, executor_input: pipeline_spec_pb2.ExecutorInput, directory: Path) -> None:
        for found in executor_input.inputs.artifacts.values():
            for artifact in found.artifacts:
                self._store.download(artifact.uri, directory)

    def _publish(
        self,
        pod: Pod,
        exit_code: int,
        executor_input: pipeline_spec_pb2.ExecutorInput,
        run: RunContext,
        log: str,
    ) -> tuple[Attempt, Mapping[str, StoredArtifact]]:
        failure = f"exit status {exit_code}" if exit_code else ""
        artifacts = {key: found.artifacts[0] for key, found in executor_input.outputs.artifacts.items()}
        try:
            if not failure:
                _merge(artifacts, in_directory(pod.directory, PurePosixPath(executor_input.outputs.output_file)))
                outputs = self._record(artifacts, pod.directory, run)
        except ContractError as error:
            failure = str(error)
        if failure:
            outputs = self._record({LOGS_KEY: artifacts[LOGS_KEY]}, pod.directory, run)
        work = pod.directory / "work"
        left_behind = tuple(sorted(str(path.relative_to(work)) for path in work.rglob("*")))
        return Attempt(pod.image, pod.command, exit_code, log, failure, left_behind), outputs

    def _record(
        self, artifacts: Mapping[str, pipeline_spec_pb2.RuntimeArtifact], directory: Path, run: RunContext
    ) -> dict[str, StoredArtifact]:
        outputs = {}
        for key, artifact in artifacts.items():
            # An output that was not written is no mistake, but it is on record.
            self._store.upload(artifact.uri, directory, run.root)
            outputs[key] = self._metadata.record(key, artifact)
        return outputs


def compile_command(task: Task, executor_input: pipeline_spec_pb2.ExecutorInput) -> tuple[str, ...]:
    """Puts values in the place of the placeholders of a command.

    Raises:
        ContractError: An item becomes longer than Linux passes on.
    """
    with_defaults = pipeline_spec_pb2.ExecutorInput()
    with_defaults.CopyFrom(executor_input)
    values = with_defaults.inputs.parameter_values
    for name, definition in task.component.input_definitions.parameters.items():
        if name not in values and definition.HasField("default_value"):
            values[name].CopyFrom(definition.default_value)
    # The whole comes first: placeholders in its values are replaced as well.
    placeholders = {"{{$}}": to_json(with_defaults), **_placeholders(with_defaults)}
    words = []
    for word in (*task.container.command, *task.container.args):
        for placeholder, value in placeholders.items():
            word = word.replace(placeholder, value)
        check_argument_size(word, task.name)
        words.append(word)
    return tuple(words)


def _placeholders(executor_input: pipeline_spec_pb2.ExecutorInput) -> dict[str, str]:
    placeholders = {
        f"{{{{$.inputs.parameters['{name}']}}}}": as_text(value)
        for name, value in executor_input.inputs.parameter_values.items()
    }
    for direction, artifacts in (
        ("inputs", executor_input.inputs.artifacts),
        ("outputs", executor_input.outputs.artifacts),
    ):
        for name, found in artifacts.items():
            uri = found.artifacts[0].uri
            placeholders[f"{{{{$.{direction}.artifacts['{name}'].uri}}}}"] = uri
            placeholders[f"{{{{$.{direction}.artifacts['{name}'].path}}}}"] = str(path_in_pod(uri))
    return placeholders


def _prepare_outputs(executor_input: pipeline_spec_pb2.ExecutorInput, directory: Path) -> Path:
    """Makes the parent folders of all outputs, not the outputs, and returns the path of the log."""
    for found in executor_input.outputs.artifacts.values():
        in_directory(directory, path_in_pod(found.artifacts[0].uri)).parent.mkdir(parents=True, exist_ok=True)
    return in_directory(directory, path_in_pod(executor_input.outputs.artifacts[LOGS_KEY].artifacts[0].uri))


def _merge(artifacts: Mapping[str, pipeline_spec_pb2.RuntimeArtifact], output_file: Path) -> None:
    """Takes URI and metadata of the outputs from what the command says of them; name and type it cannot change."""
    if not output_file.exists():
        return
    try:
        content = json.loads(output_file.read_text(encoding="utf-8"), parse_constant=_no_number)
        output = json_format.ParseDict(content, pipeline_spec_pb2.ExecutorOutput())
    except (ValueError, json_format.ParseError) as error:
        raise ContractError(f"failed to unmarshall ExecutorOutput in file {output_file.name}: {error}") from error
    for key, artifact in artifacts.items():
        if key != LOGS_KEY and output.artifacts[key].artifacts:
            said = output.artifacts[key].artifacts[0]
            artifact.uri = said.uri or artifact.uri
            for name, value in said.metadata.fields.items():
                artifact.metadata.fields[name].CopyFrom(value)
            if said.custom_path:
                raise ContractError(f"output {key!r}: a path of its own is not emulated")


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
