"""Keeps the pushed versions in an object store: a copy in the pod for the steps that look at them, and back again.

No folder of an object store can be renamed in one step, so versions are published to a folder of the pod first. In the
store a version counts from the moment that its `saved_model.pb` is there, which is therefore written last.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.kubeflow.step.failure import KubeflowStepError
from registry.versions import SAVED_MODEL_FILE, list_versions, version_number

Json = dict[str, Any]

_PUSH_DESTINATION = "push_destination"


@contextmanager
def mirrored(store: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Gives a step the versions of its model, and keeps what it adds if it is the one that pushes and succeeds.

    Args:
        store: URL of the folder that holds one folder per model, as fsspec knows it.
        parameters: Execution properties of the step, with `serving_directory` or `push_destination`.

    Yields:
        The URL of its versions by the path of their folder in the pod.

    Raises:
        KubeflowStepError: It has no such property, or the store cannot be read or written.
    """
    directory = serving_directory(parameters)
    fetch_versions(store, directory)
    yield {str(directory): f"{store}/{directory.name}"}
    if _PUSH_DESTINATION in parameters:
        upload_versions(store, directory)


def serving_directory(parameters: Mapping[str, Any]) -> Path:
    """Returns the folder of the versions that a step works with.

    Args:
        parameters: Its execution properties, with `serving_directory` or `push_destination`.

    Raises:
        KubeflowStepError: It has neither.
    """
    if _PUSH_DESTINATION in parameters:
        filesystem: Json = json.loads(parameters[_PUSH_DESTINATION])["filesystem"]
        # Protobuf reads both spellings of a field.
        return Path(filesystem.get("base_directory") or filesystem["baseDirectory"])
    if "serving_directory" in parameters:
        return Path(parameters["serving_directory"])
    raise KubeflowStepError("--serving_store: this step has no serving folder; compile the pipeline again without it.")


def fetch_versions(store: str, directory: Path) -> None:
    """Downloads all complete versions: any of them may be the baseline, of the model or of the data.

    Args:
        store: URL of the folder that holds one folder per model, as fsspec knows it.
        directory: Where to; its name is that of the model.

    Raises:
        KubeflowStepError: The store cannot be read.
    """
    with _access(store) as (file_system, root):
        found = _files(file_system, f"{root}/{directory.name}")
        complete = [path for path in found if f"{path.parts[0]}/{SAVED_MODEL_FILE}" in map(str, found)]
        for path in complete:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
        file_system.get(
            [f"{root}/{directory.name}/{path}" for path in complete], [str(directory / path) for path in complete]
        )


def upload_versions(store: str, directory: Path) -> None:
    """Uploads the versions that the store does not have; what is there is not touched.

    Args:
        store: URL of the folder that holds one folder per model.
        directory: Folder of the versions; its name is that of the model.

    Raises:
        KubeflowStepError: The store cannot be written, or holds a part of such a version.
    """
    with _access(store) as (file_system, root):
        target = f"{root}/{directory.name}"
        found = _files(file_system, target)
        for version in list_versions(directory):
            there = [path for path in found if path.parts[0] == version.directory.name]
            if PurePosixPath(version.directory.name, SAVED_MODEL_FILE) in there:
                continue
            if there:
                raise KubeflowStepError(
                    f"{store}/{directory.name}/{version.number}: another upload has left a part of a version there; "
                    "nothing was overwritten. Remove it and run the step again."
                )
            _upload(file_system, version.directory, f"{target}/{version.number}")


def _upload(file_system: Any, source: Path, target: str) -> None:
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    files.remove(SAVED_MODEL_FILE)
    for group in (files, [SAVED_MODEL_FILE]):
        file_system.put([str(source / path) for path in group], [f"{target}/{path}" for path in group])


def _files(file_system: Any, folder: str) -> list[PurePosixPath]:
    # fsspec keeps listings as long as the process lives, also of what it has not found.
    file_system.invalidate_cache()
    found = (PurePosixPath(path).relative_to(folder) for path in file_system.find(folder))
    return [path for path in found if len(path.parts) > 1 and version_number(path.parts[0]) is not None]


@contextmanager
def _access(store: str) -> Iterator[tuple[Any, str]]:
    from fsspec.core import url_to_fs

    try:
        file_system, root = url_to_fs(store)
        yield file_system, root.rstrip("/")
    except KubeflowStepError:
        raise
    except ImportError as error:
        raise KubeflowStepError(
            f"{store}: this image has no driver for it ({error}); build it with the extra `s3` or `gs`."
        ) from error
    except Exception as error:
        # Drivers of object stores share no base class of errors.
        raise KubeflowStepError(
            f"{store}: the serving store cannot be used ({type(error).__name__}: {error}); "
            "check the URL and the access rights of the pod's service account."
        ) from error
