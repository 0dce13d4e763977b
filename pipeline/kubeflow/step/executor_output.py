"""Makes of what TFX says of a step's outputs the ExecutorOutput that Kubeflow Pipelines records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


NUM_FILES_KEY = "num_files"
"""Custom property of every output: how many files it had when it was written.

The launcher downloads what it finds below a URI, be it nothing, and says nothing of what was removed.
"""


def globalize(executor_output: Json, uris: Mapping[str, str], num_files: Mapping[str, int]) -> Json:
    """Replaces what is true in this pod alone (F6).

    Paths of the pod become URIs again, in metadata as well; what has no value is dropped, since the launcher fails on
    it.

    Args:
        executor_output: JSON of the message ExecutorOutput, as TFX fills it; stays as it is.
        uris: The URI of each path.
        num_files: How many files each output has, by its key; of those alone that the launcher copies.

    Returns:
        The JSON to hand over.
    """
    artifacts = {}
    for key, found in executor_output.get("artifacts", {}).items():
        [artifact] = found["artifacts"]
        counted = {NUM_FILES_KEY: num_files[key]} if key in num_files else {}
        artifacts[key] = {"artifacts": [_globalized(artifact, uris, counted)]}
    return {**executor_output, "artifacts": artifacts}


def write_output(executor_output: Json, output_file: Path) -> None:
    """Writes an ExecutorOutput, in one step for whoever reads it.

    Args:
        executor_output: Its JSON.
        output_file: Where the launcher looks for it.
    """
    part = output_file.with_name(f".{output_file.name}")
    part.write_text(json.dumps(executor_output, allow_nan=False), encoding="utf-8")
    part.replace(output_file)


def _globalized(artifact: Json, uris: Mapping[str, str], counted: Mapping[str, int]) -> Json:
    metadata = {
        name: _with_uris(value, uris) for name, value in artifact.get("metadata", {}).items() if value is not None
    }
    return {**artifact, "uri": _with_uris(artifact["uri"], uris), "metadata": {**metadata, **counted}}


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
