"""Emulates the launcher: downloads the inputs of a pod, runs its command, and uploads and records its outputs.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/component/launcher_v2.go.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.compiled_pipeline import Task, VolumeMount
from tests.kubeflow.emulator.contract import LOGS_KEY, ContractError, check_argument_size, to_json
from tests.kubeflow.emulator.driver import Execution, RunContext, as_text
from tests.kubeflow.emulator.stores import (
    STORE_FOLDERS,
    MetadataStore,
    ObjectStore,
    StoredArtifact,
    in_directory,
    path_in_pod,
)

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
        environment: Variables from the cluster and the compiled pipeline.
        mounts: The mounted claims.
    """

    task: str
    attempt: int
    directory: Path
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[VolumeMount, ...]


class PodLostError(Exception):
    """Raised by a runner to emulate a pod that ends before the launcher can act after the command."""


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
        exit_code: Exit status of the command; None if the pod was lost.
        log: Stdout and stderr of the command.
        failure: The reason of a failure, else empty.
        left_behind: Files in the working folder of the pod.
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
        """Uses the stores of a cluster and a runner for the commands."""
        self._store = store
        self._metadata = metadata
        self._runner = runner

    def launch(
        self, task: Task, execution: Execution, run: RunContext, attempt: int, directory: Path
    ) -> tuple[Attempt, Mapping[str, StoredArtifact]]:
        """Runs one attempt of a task in a fresh pod.

        Args:
            task: The task.
            execution: The decisions of the driver, the same for all attempts.
            run: The run.
            attempt: 0 for the first attempt.
            directory: Folder for the files of the pod; must not exist.

        Returns:
            The result and the recorded outputs; if the attempt failed, only its log.
        """
        executor_input = pipeline_spec_pb2.ExecutorInput()
        executor_input.CopyFrom(execution.executor_input)
        executor_input.outputs.artifacts[LOGS_KEY].artifacts[0].uri += f"-{attempt}"
        command = compile_command(task, executor_input)
        for folder in STORE_FOLDERS:
            (directory / folder).mkdir(parents=True)
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
            # An output without files is recorded too.
            self._store.upload(artifact.uri, directory, run.root)
            outputs[key] = self._metadata.record(key, artifact)
        return outputs


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
