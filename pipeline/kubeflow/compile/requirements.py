"""What the settings must say together before the pipeline is compiled for a target."""

import difflib
from collections.abc import Iterable
from typing import Literal

from pipeline.kubeflow.compile.checks import Problems, raise_problems
from pipeline.settings.beam import STAGING_ENGINES
from pipeline.settings.settings import Settings

CompileTarget = Literal["kfp", "vertex"]


def check_requirements(settings: Settings, target: CompileTarget) -> None:
    """Checks what no single setting can know.

    Args:
        settings: The settings to compile.
        target: Where the pipeline shall run.

    Raises:
        CompileError: They do not fit together; the message has a line for each reason.
    """
    raise_problems(_problems(settings, target))


def check_steps(settings: Settings, steps: Iterable[str]) -> None:
    """Checks that resources are set for steps that there are.

    Args:
        settings: The settings to compile.
        steps: Ids of the steps of the pipeline.

    Raises:
        CompileError: There is no such step.
    """
    raise_problems(_unknown_steps(settings, sorted(steps)))


def _problems(settings: Settings, target: CompileTarget) -> Problems:
    if settings.infra_validator.engine != "none":
        yield (
            "infra_validator.engine: TFX cannot compile InfraValidator for Kubeflow; expected none: ServingCheck loads "
            "the export as TF Serving does."
        )
    yield from _vertex_problems(settings) if target == "vertex" else _kfp_problems(settings)


def _kfp_problems(settings: Settings) -> Problems:
    kubeflow = settings.kubeflow
    if settings.beam.engine in STAGING_ENGINES and not kubeflow.staging_claim:
        yield (
            f"kubeflow.staging_claim: not set, and the workers of {settings.beam.engine} see no file of a pod; "
            "expected the name of a ReadWriteMany claim that they mount, too."
        )
    if settings.beam.engine in STAGING_ENGINES and not settings.beam.worker_pool:
        yield (
            f"beam.worker_pool: not set, and {settings.beam.engine} cannot reach workers in the pods; expected "
            "HOST:PORT, as in docs/scaling.md."
        )
    if kubeflow.data_claim and kubeflow.data_claim == kubeflow.staging_claim:
        yield "kubeflow.staging_claim: KFP cannot mount a claim twice in one pod; expected another than data_claim."
    if kubeflow.data_claim and kubeflow.data_folder == kubeflow.staging_folder:
        yield "kubeflow.staging_folder: two volumes cannot have one place; expected another than data_folder."
    if kubeflow.gpu_count and "/" not in kubeflow.gpu_type:
        yield (
            f"kubeflow.gpu_type: {kubeflow.gpu_type} is no resource of Kubernetes; expected DOMAIN/NAME, such as "
            "nvidia.com/gpu."
        )


def _vertex_problems(settings: Settings) -> Problems:
    kubeflow = settings.kubeflow
    if not kubeflow.vertex_root:
        yield (
            "kubeflow.vertex_root: not set, and Vertex AI keeps artifacts in Cloud Storage; expected "
            "gs://BUCKET/FOLDER, such as --set kubeflow.vertex_root=gs://my-bucket/digits."
        )
    if not kubeflow.serving_store.startswith("gs://"):
        yield (
            "kubeflow.serving_store: Vertex AI mounts no claims, so the pushed versions need a bucket; expected "
            f"gs://BUCKET/FOLDER, not {kubeflow.serving_store!r}."
        )
    if settings.beam.engine in STAGING_ENGINES:
        yield f"beam.engine: {settings.beam.engine} needs a claim, which Vertex AI lacks; expected direct or dataflow."
    if kubeflow.gpu_count and "/" in kubeflow.gpu_type:
        yield (
            f"kubeflow.gpu_type: {kubeflow.gpu_type} is no accelerator of Vertex AI; expected such as NVIDIA_TESLA_T4."
        )


def _unknown_steps(settings: Settings, steps: list[str]) -> Problems:
    by_lower = {step.lower(): step for step in steps}
    for name in sorted(set(settings.kubeflow.resources) - set(by_lower)):
        close = difflib.get_close_matches(name, by_lower, n=1)
        hint = f"did you mean {by_lower[close[0]]}? " if close else ""
        yield f"kubeflow.resources.{name}: no such step; {hint}There are: {', '.join(steps)}."
