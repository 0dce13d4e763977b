"""Lets workers outside the pod read and write a step's artifacts, by way of a folder that they share with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from pipeline.kubeflow.step.executor_input import LocalInput


@contextmanager
def staged(local: LocalInput, folder: Path) -> Iterator[LocalInput]:
    """Moves a step into a shared folder while the body of the `with` statement runs.

    Args:
        local: The step, with paths of the pod; its inputs and the folders of its outputs are there.
        folder: The shared folder; the step gets one of its own below it.

    Yields:
        The step with paths below the shared folder. Nothing remains in there; outputs are copied back if all went well.

    Raises:
        OSError: Something cannot be copied.
    """
    shared = folder / local.output_file.parent.name
    # An attempt that was killed has left its copies.
    shutil.rmtree(shared, ignore_errors=True)
    try:
        moved = _moved(local, shared)
        yield moved
        for key, artifacts in moved.outputs.items():
            for artifact, original in zip(artifacts, local.outputs[key], strict=True):
                _copy(artifact["uri"], original["uri"])
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _moved(local: LocalInput, shared: Path) -> LocalInput:
    executor_input = deepcopy(local.executor_input)
    uris: dict[str, str] = {}
    moved = LocalInput(executor_input, uris, local.pipeline_run_id)
    for side, lists in (("inputs", moved.inputs), ("outputs", moved.outputs)):
        for key, artifacts in lists.items():
            for number, artifact in enumerate(artifacts):
                path = str(shared / side / key / str(number))
                _copy(artifact["uri"], path)
                uris[path] = local.uris[artifact["uri"]]
                artifact["uri"] = path
    return moved


def _copy(source: str, target: str) -> None:
    if Path(source).is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        # Of an artifact that is a file only the folder is there before it is written.
        if Path(source).exists():
            shutil.copyfile(source, target)
