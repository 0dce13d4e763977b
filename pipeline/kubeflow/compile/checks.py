"""Finds problems in settings that would otherwise appear only on the cluster."""

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.kubeflow.compile.parameters import PLACEHOLDER, CompileTarget
from pipeline.kubeflow.compile.spec import IMAGE_PLACEHOLDER, RUN_ID_PLACEHOLDER, Spec, container, tasks
from pipeline.settings.beam import STAGING_ENGINES
from pipeline.settings.settings import Settings
from registry.errors import UsageError

Problems = Iterator[str]

_INTEGER_LIMIT = 2**53
"""KFP passes numbers on as doubles, which change some integers from this one on."""
_ARGUMENT_LIMIT = 128 * 1024
"""Bytes of one command-line argument on Linux (MAX_ARG_STRLEN); KFP passes a task and its container as one each."""


class CompileError(UsageError):
    """Settings that the target cannot run; the message has one line per reason."""


def check_settings(settings: Settings, target: CompileTarget) -> None:
    """Checks settings that depend on each other or on the target.

    Raises:
        CompileError: The target cannot run the pipeline with these settings.
    """
    _raise(_settings_problems(settings, target))


def check_spec(spec: Spec, settings: Settings) -> None:
    """Checks the values of settings in a compiled pipeline, and the steps that settings name.

    Raises:
        CompileError: KFP would change a value or refuse it, or there is no such step.
    """
    _raise([*_unknown_steps(spec, settings), *_value_problems(spec)])


def _raise(problems: Iterable[str]) -> None:
    if message := "\n".join(problems):
        raise CompileError(message)


def _settings_problems(settings: Settings, target: CompileTarget) -> Problems:
    if settings.infra_validator.engine != "none":
        yield (
            "infra_validator.engine: TFX cannot compile InfraValidator for Kubeflow; expected none: ServingCheck loads "
            "the export the way TF Serving does."
        )
    yield from _vertex_problems(settings) if target == "vertex" else _kfp_problems(settings)


def _kfp_problems(settings: Settings) -> Problems:
    beam, kubeflow = settings.beam, settings.kubeflow
    if beam.engine in STAGING_ENGINES and not kubeflow.staging_claim:
        yield (
            f"kubeflow.staging_claim: not set, but the workers of {beam.engine} cannot read files of the pods; "
            "expected the name of a ReadWriteMany claim that the workers mount too."
        )
    if beam.engine in STAGING_ENGINES and not beam.worker_pool:
        yield (
            f"beam.worker_pool: not set, but {beam.engine} cannot reach workers in the pods; expected HOST:PORT, see "
            "docs/scaling.md."
        )
    if kubeflow.data_claim and kubeflow.data_claim == kubeflow.staging_claim:
        yield "kubeflow.staging_claim: KFP cannot mount a claim twice in one pod; expected one other than data_claim."
    if kubeflow.signing_secret == kubeflow.serving_claim:
        yield "kubeflow.signing_secret: KFP cannot mount a secret and a claim of the same name; rename the secret."
    if kubeflow.data_claim and kubeflow.data_folder == kubeflow.staging_folder:
        yield (
            "kubeflow.staging_folder: two volumes cannot have the same mount path; expected a folder other than "
            "data_folder."
        )
    if kubeflow.gpu_count and "/" not in kubeflow.gpu_type:
        yield (
            f"kubeflow.gpu_type: {kubeflow.gpu_type} is not a Kubernetes resource; expected DOMAIN/NAME, such as "
            "nvidia.com/gpu."
        )


def _vertex_problems(settings: Settings) -> Problems:
    kubeflow = settings.kubeflow
    if not kubeflow.vertex_root:
        yield (
            "kubeflow.vertex_root: not set, but Vertex AI stores artifacts in Cloud Storage; expected "
            "gs://BUCKET/FOLDER, such as --set kubeflow.vertex_root=gs://my-bucket/digits."
        )
    if not kubeflow.serving_store.startswith("gs://"):
        yield (
            "kubeflow.serving_store: Vertex AI cannot mount claims, so pushed versions need a bucket; expected "
            f"gs://BUCKET/FOLDER, not {kubeflow.serving_store!r}."
        )
    if kubeflow.signing_secret:
        yield "kubeflow.signing_secret: Vertex AI cannot mount Kubernetes secrets; leave it empty: docs/signatures.md."
    if settings.beam.engine in STAGING_ENGINES:
        yield f"beam.engine: {settings.beam.engine} needs a claim; on Vertex AI, expected direct or dataflow."
    if kubeflow.gpu_count and "/" in kubeflow.gpu_type:
        yield (
            f"kubeflow.gpu_type: {kubeflow.gpu_type} is not an accelerator of Vertex AI; expected a name such as "
            "NVIDIA_TESLA_T4."
        )


def _unknown_steps(spec: Spec, settings: Settings) -> Problems:
    by_lower = {step.lower(): step for step in sorted(tasks(spec))}
    for name in sorted(set(settings.kubeflow.resources) - set(by_lower)):
        close = difflib.get_close_matches(name, by_lower, n=1)
        hint = f"did you mean {by_lower[close[0]]}? " if close else ""
        yield f"kubeflow.resources.{name}: no such step; {hint}Steps: {', '.join(by_lower.values())}."


def _value_problems(spec: Spec) -> Problems:
    yield from _placeholder_problems("a default of the pipeline", spec["root"].get("inputDefinitions"), ())
    for step, task in sorted(tasks(spec).items()):
        parameters = task.get("inputs", {}).get("parameters", {})
        yield from _placeholder_problems(f"step {step}", container(spec, step), ("{{$}}", IMAGE_PLACEHOLDER))
        yield from _placeholder_problems(f"step {step}", parameters, (RUN_ID_PLACEHOLDER,))
        for key, value in sorted(parameters.items()):
            constant = value.get("runtimeValue", {}).get("constant")
            if isinstance(constant, int | float) and abs(constant) >= _INTEGER_LIMIT:
                yield (
                    f"step {step}: {key} is {constant:.0f}, but Kubeflow Pipelines passes only integers below 2^53 "
                    "exactly; set a smaller one."
                )
        for part, content in (("task", task), ("container", container(spec, step))):
            size = len(json.dumps(content, ensure_ascii=False).encode())
            if size >= _ARGUMENT_LIMIT:
                yield (
                    f"step {step}: its {part} has {size:,} bytes, but KFP passes it as one argument, which must be "
                    f"below {_ARGUMENT_LIMIT:,} bytes; set shorter values."
                )


def _placeholder_problems(place: str, content: Any, allowed: tuple[str, ...]) -> Problems:
    # In JSON, only a string value can contain two opening braces in a row.
    for found in PLACEHOLDER.findall(json.dumps(content, ensure_ascii=False)):
        if found not in allowed:
            yield f"{place}: KFP or Argo would replace {found}, which is unknown here; set a value without two braces."
