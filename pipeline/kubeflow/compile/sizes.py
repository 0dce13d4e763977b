"""How large a compiled pipeline may be, and its parts: what Linux and Kubeflow Pipelines can take.

KFP 2.17 hands what a step is (task, component, container) and what it gets (the executor input) from one process to the
next as single arguments of command lines, of which Linux takes 128 KiB each (MAX_ARG_STRLEN, 32 pages).
"""

import json
from typing import Any

from pipeline.kubeflow.compile.checks import Problems, raise_problems
from pipeline.kubeflow.compile.spec import Spec, container, tasks

_MAX_ARGUMENT = 128 * 1024
# Source: MaxFileLength in backend/src/apiserver/common/const.go.
_MAX_SPEC = 32 * 1024 * 1024

# URIs and metadata of artifacts are known in a run only. Keys of object stores have 1,024 bytes at most; the steps of
# this pipeline write a few short properties for each artifact.
_MAX_URI = 1_024 + 64
_AMPLE_METADATA = 4_096


def check_sizes(spec: Spec, text: str) -> None:
    """Checks what is passed on as one argument, exactly where it is known and by an upper estimate where it is not.

    Args:
        spec: A `PipelineSpec` as a dict.
        text: The file to be uploaded.

    Raises:
        CompileError: Something is too large.
    """
    raise_problems(_too_large(spec, text))


def executor_input_estimate(spec: Spec, step: str) -> int:
    """Returns about how many bytes of JSON the input of a step has at most.

    Parameters are counted as they are, a parameter of the pipeline with its default; each artifact with its type, the
    longest URI and ample metadata.
    """
    task = tasks(spec)[step]
    component = spec["components"][task["componentRef"]["name"]]
    defaults = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    size = 0
    for key, value in task.get("inputs", {}).get("parameters", {}).items():
        source = defaults.get(value.get("componentInputParameter"), {})
        size += len(key) + _json_size(value.get("runtimeValue", {}).get("constant", source.get("defaultValue")))
    for side in ("inputDefinitions", "outputDefinitions"):
        for artifact in component.get(side, {}).get("artifacts", {}).values():
            size += _json_size(artifact) + _MAX_URI + _AMPLE_METADATA
    return size


def _too_large(spec: Spec, text: str) -> Problems:
    size = len(text.encode())
    if size > _MAX_SPEC:
        yield f"the compiled pipeline has {size:,} bytes, and Kubeflow Pipelines takes {_MAX_SPEC:,}; drop steps."
    for step, task in sorted(tasks(spec).items()):
        content = container(spec, step)
        parts: dict[str, int] = {
            "task": _json_size(task),
            "component": _json_size(spec["components"][task["componentRef"]["name"]]),
            "container": _json_size(content),
            "input": executor_input_estimate(spec, step),
        }
        for argument in [*content.get("command", []), *content.get("args", [])]:
            parts[f"argument {argument[:40]}…"] = len(argument.encode())
        for part, part_size in parts.items():
            # The terminating zero counts.
            if part_size >= _MAX_ARGUMENT:
                yield (
                    f"step {step}: its {part} has {part_size:,} bytes, and Linux takes fewer than {_MAX_ARGUMENT:,} "
                    "in one argument; put what is large into a file or an artifact."
                )


def _json_size(value: Any) -> int:
    return len(json.dumps(value).encode())
