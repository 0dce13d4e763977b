"""Checks, creates, counts and copies the files of a step's artifacts."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.kubeflow.step.executor_messages import NUM_FILES_KEY, LocalInput, type_title
from pipeline.kubeflow.step.failure import KubeflowStepError

Json = dict[str, Any]

_BASELINE_KEY = "baseline_model"
_FILE_TYPES = {f"tfx.{name}" for name in ("Bytes", "String", "Boolean", "Integer", "Float", "JsonValue")}
"""Types of artifacts that are a single file; all others are folders."""


def prepare_files(local: LocalInput) -> None:
    """Checks the files of the inputs and creates the folders of the outputs.

    Raises:
        KubeflowStepError: Files of an input are missing.
        OSError: A folder cannot be created.
    """
    for key, artifact in local.inputs:
        if artifact["uri"] in local.uris:
            _require_files(key, artifact, local.uris[artifact["uri"]])
    local.output_file.parent.mkdir(parents=True, exist_ok=True)
    for _, artifact in local.outputs:
        if artifact["uri"] in local.uris:
            path = Path(artifact["uri"])
            folder = path.parent if type_title(artifact) in _FILE_TYPES else path
            folder.mkdir(parents=True, exist_ok=True)


def count_output_files(local: LocalInput) -> dict[str, int]:
    """Returns the number of files by output key, for the outputs that the launcher uploads."""
    return {key: _count_files(artifact["uri"]) for key, artifact in local.outputs if artifact["uri"] in local.uris}


@contextmanager
def staged(local: LocalInput, shared_folder: Path) -> Iterator[LocalInput]:
    """Moves a step into a folder that it shares with workers outside the pod, while the `with` statement runs.

    Args:
        local: The step, after `prepare_files`.
        shared_folder: The shared folder; the step uses a subfolder, which is removed at the end.

    Yields:
        The step with paths in the shared folder. If the body succeeds, the outputs are copied back.

    Raises:
        OSError: A file cannot be copied.
    """
    folder = shared_folder / local.output_file.parent.name
    uris: dict[str, str] = {}
    moved = replace(local, executor_input=deepcopy(local.executor_input), uris=uris)
    # An attempt that was killed leaves its copies.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for number, (_, artifact) in enumerate([*moved.inputs, *moved.outputs]):
            path = artifact["uri"]
            artifact["uri"] = str(folder / str(number))
            uris[artifact["uri"]] = local.uris[path]
            _copy(path, artifact["uri"])
        yield moved
        for (_, artifact), (_, original) in zip(moved.outputs, local.outputs, strict=True):
            _copy(artifact["uri"], original["uri"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_files(key: str, artifact: Json, uri: str) -> None:
    expected = artifact.get("metadata", {}).get(NUM_FILES_KEY)
    found = _count_files(artifact["uri"])
    if found == 0 and expected is None and key == _BASELINE_KEY:
        # Evaluator accepts an empty baseline: there is none yet.
        return
    if found == 0 and expected != 0:
        problem = "nothing there"
    elif expected is not None and found < expected:
        problem = f"{int(expected) - found} of its {int(expected)} files are missing"
    else:
        return
    raise KubeflowStepError(
        f'input artifact "{key}" ({uri}): {problem}; the step that wrote it must run again: start a new run with '
        "caching off, and do not remove artifacts that cached steps refer to."
    )


def _count_files(path: str) -> int:
    return int(os.path.isfile(path)) + sum(len(names) for _, _, names in os.walk(path))


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # Before a single-file artifact is written, only its folder exists.
        if os.path.exists(source):
            shutil.copyfile(source, target)
