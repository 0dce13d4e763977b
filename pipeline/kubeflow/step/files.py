"""The files of a step's artifacts in its pod: what has to be there before it runs, and what it leaves."""

import os
from pathlib import Path
from typing import Any

from pipeline.kubeflow.step.executor_input import LocalInput, type_title, without_inputs
from pipeline.kubeflow.step.executor_output import NUM_FILES_KEY
from pipeline.kubeflow.step.failure import KubeflowStepError

Json = dict[str, Any]

BASELINE_KEY = "baseline_model"

_FILE_TYPES = {f"tfx.{name}" for name in ("Bytes", "String", "Boolean", "Integer", "Float", "JsonValue")}
"""Artifacts that are one file each; all others are folders."""


def drop_missing_baseline(local: LocalInput) -> LocalInput:
    """Drops a baseline that has no files, which means that there is none (F7).

    One that had files when it was written is kept, to be missed: the gate would let pass what it cannot compare.
    """
    missing = [
        BASELINE_KEY
        for artifact in local.inputs.get(BASELINE_KEY, [])
        if not count_files(Path(artifact["uri"])) and not artifact.get("metadata", {}).get(NUM_FILES_KEY)
    ]
    return without_inputs(local, missing)


def require_inputs(local: LocalInput) -> None:
    """Refuses to run on less than what the earlier steps wrote.

    Raises:
        KubeflowStepError: An artifact is missing, or some of its files are.
    """
    for key, artifacts in local.inputs.items():
        for artifact in artifacts:
            if artifact["uri"] in local.uris:
                _require_files(key, artifact, local.uris[artifact["uri"]])


def make_outputs(local: LocalInput) -> None:
    """Makes the folders into which the step writes; for an artifact that is a file, the one in which it will be (F5).

    Raises:
        OSError: They cannot be made.
    """
    local.output_file.parent.mkdir(parents=True, exist_ok=True)
    for artifacts in local.outputs.values():
        for artifact in artifacts:
            if artifact["uri"] in local.uris:
                path = Path(artifact["uri"])
                folder = path.parent if type_title(artifact) in _FILE_TYPES else path
                folder.mkdir(parents=True, exist_ok=True)


def count_output_files(local: LocalInput) -> dict[str, int]:
    """Returns the number of files of each output that the launcher is to upload, by its key."""
    return {
        key: count_files(Path(artifact["uri"]))
        for key, artifacts in local.outputs.items()
        for artifact in artifacts
        if artifact["uri"] in local.uris
    }


def count_files(path: Path) -> int:
    """Returns the number of files in a folder and below it; 1 for a file, 0 where there is nothing."""
    return int(path.is_file()) + sum(len(names) for _, _, names in os.walk(path))


def _require_files(key: str, artifact: Json, uri: str) -> None:
    path = Path(artifact["uri"])
    expected = artifact.get("metadata", {}).get(NUM_FILES_KEY)
    found = count_files(path)
    if found == 0 and expected != 0:
        problem = "nothing there"
    elif expected is not None and found < expected:
        problem = f"{int(expected) - found} of its {int(expected)} files are not there"
    else:
        return
    raise KubeflowStepError(
        f'input artifact "{key}" ({uri}): {problem}; the step that wrote it has to run again: '
        "start a new run with caching off, and let nobody remove artifacts that cached steps refer to."
    )
