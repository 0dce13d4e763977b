"""Emulates the launcher: downloads the inputs of a pod, runs its command, and uploads and records its outputs.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/component/launcher_v2.go.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.compiled_pipeline import Task, VolumeMount
from tests.kubeflow.emulator.contract import LOGS_KEY, ContractError, check_argument_size, to_json
from tests.kubeflow.emulator.driver import Execution, as_text
from tests.kubeflow.emulator.metadata import Metadata, Run, StoredArtifact
from tests.kubeflow.emulator.stores import STORE_FOLDERS, ObjectStore, in_directory, path_in_pod

PROJECT_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Pod:
    """One attempt of a task, ready to start.

    Attributes:
        task: Name of the task.
        attempt: 0 for the first attempt, 1 for the first retry.
        directory: Folder with `minio`, `s3` and `gcs`, which the pod mounts at `/minio`, `/s3` and `/gcs`. It contains
            the inputs and the parent folders of the outputs, and is removed after the pod ends.
        image: Reference of the image.
        command: Program and arguments, without placeholders.
        environment: Variables from the cluster and the compiled pipeline; the launcher has them too.
        mounts: The mounted claims.
        secrets: The values of mounted secrets by key, by path.
    """

    task: str
    attempt: int
    directory: Path
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[VolumeMount, ...]
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class PodLostError(Exception):
    """Raised by a runner to emulate a pod that ends before the launcher can act after the command."""


class PodEvictedError(PodLostError):
    """The node evicts the pod; Argo calls this a failure."""


class PodDeletedError(PodLostError):
    """Someone deletes the pod, or its node; Argo calls this an error."""


class Runner(Protocol):
    """Runs pods, as processes or containers."""

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        """Runs the command of a pod to its end.

        Args:
            pod: The pod; files that the command writes to `pod.directory` are kept.
            log: Receives stdout and stderr of the command.

        Returns:
            The exit status.

        Raises:
            PodLostError: The pod ended before the launcher could act.
        """


class ProcessRunner:
    """Runs the command as a process with this interpreter instead of the image.

    The process receives the folder of the pod as an additional argument, `--pod_root`. It works in an empty folder of
    the pod, without the environment of the caller.
    """

    def run(self, pod: Pod, log: IO[bytes]) -> int:
        """See `Runner`."""
        for folder in ("tmp", "home", "work"):
            (pod.directory / folder).mkdir()
        for mount in pod.mounts:
            Path(mount.mount_path).mkdir(parents=True, exist_ok=True)
        for path, values in pod.secrets.items():
            Path(path).mkdir(parents=True, exist_ok=True)
            for key, value in values.items():
                Path(path, key).write_text(value)
        environment = {
            **pod.environment,
            "HOME": str(pod.directory / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "PYTHONPATH": str(PROJECT_ROOT),
            "TMPDIR": str(pod.directory / "tmp"),
        }
        command = [*pod.command, f"--pod_root={pod.directory}"]
        process = subprocess.run(
            command, cwd=pod.directory / "work", env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
        return process.returncode


@dataclass(frozen=True)
class Attempt:
    """The result of one pod.

    Attributes:
        image: Its image.
        command: Program and arguments.
        exit_code: Exit status of the command; None if it did not run or the pod was lost.
        log: Stdout and stderr of the command.
        failure: The reason of a failure, else empty.
        is_retried: Whether Argo starts another pod after a failure.
        left_behind: Files in the working folder of the pod.
    """

    image: str
    command: tuple[str, ...]
    exit_code: int | None
    log: str
    failure: str
    is_retried: bool = True
    left_behind: tuple[str, ...] = ()


class Launcher:
    """Starts pods."""

    def __init__(
        self, store: ObjectStore, metadata: Metadata, runner: Runner, secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Uses the stores and secrets of a cluster, and a runner for the commands."""
        self._store = store
        self._metadata = metadata
        self._runner = runner
        self._secrets = secrets

    def launch(self, task: Task, execution: Execution, run: Run, number: int, directory: Path) -> Attempt:
        """Runs one attempt of a task in a fresh pod.

        Args:
            task: The task.
            execution: The decisions of the driver, the same for all attempts.
            run: The run.
            number: 0 for the first attempt.
            directory: Folder for the files of the pod; must not exist.

        Returns:
            The result. The outputs, of a failed attempt only its log, are in the metadata.
        """
        executor_input = pipeline_spec_pb2.ExecutorInput()
        executor_input.CopyFrom(execution.executor_input)
        executor_input.outputs.artifacts[LOGS_KEY].artifacts[0].uri += f"-{number}"
        command = compile_command(task, executor_input)
        environment = {item["name"]: self._value(item) for item in execution.pod["env"]}
        environment |= {"KFP_POD_NAME": directory.name, "KFP_POD_UID": directory.name}
        if task.spec.HasField("retry_policy"):
            environment["KFP_RETRY_INDEX"] = str(number)
        secrets = {path: self._secrets[name] for path, name in task.secret_mounts.items()}
        pod = Pod(task.name, number, directory, execution.pod["image"], command, environment, task.mounts, secrets)
        for folder in STORE_FOLDERS:
            (directory / folder).mkdir(parents=True)
        self._metadata.set_pod(execution.execution_id, directory.name)
        try:
            self._fetch_inputs(executor_input, pod, run)
        except ContractError as error:
            self._metadata.publish(run, execution.execution_id, "failed", {})
            return Attempt(pod.image, command, None, "", str(error))
        log_file = _prepare_outputs(executor_input, directory)
        try:
            with log_file.open("wb") as log:
                exit_code = self._runner.run(pod, log)
        except PodLostError as error:
            is_evicted = isinstance(error, PodEvictedError)
            failure = f"pod {'evicted' if is_evicted else 'deleted'}: {error}"
            return Attempt(pod.image, command, None, log_file.read_text(errors="replace"), failure, is_evicted)
        failure, outputs = self._upload(pod, exit_code, executor_input, run)
        self._metadata.publish(run, execution.execution_id, "failed" if failure else "succeeded", outputs)
        work = directory / "work"
        left_behind = tuple(sorted(str(path.relative_to(work)) for path in work.rglob("*")))
        log_text = log_file.read_text(errors="replace")
        return Attempt(pod.image, command, exit_code, log_text, failure, left_behind=left_behind)

    def _value(self, item: Mapping[str, Any]) -> str:
        if "valueFrom" not in item:
            return str(item["value"])
        reference = item["valueFrom"]["secretKeyRef"]
        return self._secrets[reference["name"]][reference["key"]]

    def _fetch_inputs(self, executor_input: pipeline_spec_pb2.ExecutorInput, pod: Pod, run: Run) -> None:
        """Downloads the inputs, with the session of the run if they are in the bucket of its root."""
        for name, found in executor_input.inputs.artifacts.items():
            for artifact in found.artifacts:
                session = run.session if _bucket(artifact.uri) == _bucket(run.root) else None
                try:
                    store = self._store.opened(artifact.uri, session, pod.environment)
                except ContractError as error:
                    raise ContractError(
                        f"failed to download input artifact {name!r} from remote storage URI {artifact.uri!r}: {error}"
                    ) from error
                store.download(artifact.uri, pod.directory)

    def _upload(
        self, pod: Pod, exit_code: int, executor_input: pipeline_spec_pb2.ExecutorInput, run: Run
    ) -> tuple[str, dict[str, StoredArtifact]]:
        """Uploads and records the outputs; returns the reason of a failure, and what was recorded."""
        artifacts = {key: found.artifacts[0] for key, found in executor_input.outputs.artifacts.items()}
        failure = f"exit status {exit_code}" if exit_code else ""
        if not failure:
            try:
                _merge(artifacts, in_directory(pod.directory, PurePosixPath(executor_input.outputs.output_file)))
                return "", self._record(artifacts, pod, run)
            except ContractError as error:
                failure = str(error)
        return failure, self._record({LOGS_KEY: artifacts[LOGS_KEY]}, pod, run)

    def _record(
        self, artifacts: Mapping[str, pipeline_spec_pb2.RuntimeArtifact], pod: Pod, run: Run
    ) -> dict[str, StoredArtifact]:
        store = self._store.opened(run.root, run.session, pod.environment)
        outputs = {}
        for key, artifact in artifacts.items():
            # An output without files is recorded too.
            store.upload(artifact.uri, pod.directory, run.root)
            outputs[key] = self._metadata.record(key, artifact, run.session)
        return outputs


def _bucket(uri: str) -> str:
    return "/".join(uri.split("/")[:3])


def compile_command(task: Task, executor_input: pipeline_spec_pb2.ExecutorInput) -> tuple[str, ...]:
    """Replaces the placeholders of a command.

    Raises:
        ContractError: An argument is too long for Linux.
    """
    with_defaults = pipeline_spec_pb2.ExecutorInput()
    with_defaults.CopyFrom(executor_input)
    values = with_defaults.inputs.parameter_values
    for name, definition in task.component.input_definitions.parameters.items():
        if name not in values and definition.HasField("default_value"):
            values[name].CopyFrom(definition.default_value)
    # The whole input comes first: placeholders in its values are replaced too.
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
    """Creates the parent folders of the outputs; returns the path of the log."""
    for found in executor_input.outputs.artifacts.values():
        in_directory(directory, path_in_pod(found.artifacts[0].uri)).parent.mkdir(parents=True, exist_ok=True)
    return in_directory(directory, path_in_pod(executor_input.outputs.artifacts[LOGS_KEY].artifacts[0].uri))


def _merge(artifacts: Mapping[str, pipeline_spec_pb2.RuntimeArtifact], output_file: Path) -> None:
    """Merges URIs and metadata from the output file of the command; it cannot change names and types."""
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
                raise ContractError(f"output {key!r}: a custom path is not emulated")


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
