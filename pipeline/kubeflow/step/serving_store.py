"""Copies pushed versions between an object store and the pod, for the steps that read or push versions.

An object store cannot rename a folder in one step, so Pusher publishes to a folder of the pod. In the store, a version
exists as soon as its `saved_model.pb` exists; that file is uploaded last.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.kubeflow.step.failure import KubeflowStepError
from registry.versions import SAVED_MODEL_FILE, list_versions, version_number

_SERVING_DIRECTORY_KEY = "serving_directory"


@contextmanager
def mirrored_versions(store: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Downloads the versions of a model for a step, and uploads the new ones if the step succeeds.

    All complete versions are downloaded: any of them may be the baseline of the model or of the data. Versions in the
    store are never changed.

    Args:
        store: URL of the folder with one subfolder per model, as fsspec expects it.
        parameters: Execution properties of the step, with `serving_directory`.

    Yields:
        The URL of the versions by the path of their folder in the pod.

    Raises:
        KubeflowStepError: The step has no such property, the store cannot be read or written, or it contains part of a
            version that is to be uploaded.
    """
    if _SERVING_DIRECTORY_KEY not in parameters:
        raise KubeflowStepError(
            "--serving_store: this step has no serving folder; compile the pipeline again without it."
        )
    directory = Path(parameters[_SERVING_DIRECTORY_KEY])
    url = f"{store}/{directory.name}"
    with _access(url) as (file_system, root):
        stored = _download(file_system, root, directory)
    yield {str(directory): url}
    new = [version for version in list_versions(directory) if str(version.number) not in stored]
    if new:
        with _access(url) as (file_system, root):
            for version in new:
                _upload(file_system, f"{root}/{version.number}", version.directory, f"{url}/{version.number}")


def _download(file_system: Any, root: str, directory: Path) -> set[str]:
    """Downloads the complete versions, and returns their names."""
    found = _files(file_system, root)
    complete = {path.parts[0] for path in found if path.parts[1:] == (SAVED_MODEL_FILE,)}
    files = [path for path in found if path.parts[0] in complete and version_number(path.parts[0]) is not None]
    for path in files:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
    file_system.get([f"{root}/{path}" for path in files], [str(directory / path) for path in files])
    return complete


def _upload(file_system: Any, root: str, directory: Path, url: str) -> None:
    found = _files(file_system, root)
    if PurePosixPath(SAVED_MODEL_FILE) in found:
        return
    if found:
        raise KubeflowStepError(
            f"{url}: another upload left part of a version there; nothing was overwritten. Remove it and run the step "
            "again."
        )
    files = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    files.remove(SAVED_MODEL_FILE)
    for group in (files, [SAVED_MODEL_FILE]):
        file_system.put([str(directory / path) for path in group], [f"{root}/{path}" for path in group])


def _files(file_system: Any, folder: str) -> list[PurePosixPath]:
    # fsspec caches listings, also of folders that do not exist.
    file_system.invalidate_cache()
    return [PurePosixPath(path).relative_to(folder) for path in file_system.find(folder)]


@contextmanager
def _access(url: str) -> Iterator[tuple[Any, str]]:
    from fsspec.core import url_to_fs

    try:
        file_system, root = url_to_fs(url)
        yield file_system, root.rstrip("/")
    except KubeflowStepError:
        raise
    except ImportError as error:
        raise KubeflowStepError(
            f"{url}: this image has no driver for it ({error}); build the image with the extra `s3` or `gs`."
        ) from error
    except Exception as error:
        # Drivers of object stores have no common base class for errors.
        raise KubeflowStepError(
            f"{url}: the serving store cannot be used ({type(error).__name__}: {error}); "
            "check the URL and the permissions of the pod's service account."
        ) from error
