"""Compiles the pipeline for Kubeflow Pipelines or Vertex AI: TFX's own compiler, and what has to be added to it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

from components.example_gen.sources.detection import DataVersion
from pipeline.beam.engine import beam_args
from pipeline.digits_pipeline import create_pipeline
from pipeline.kubeflow.compile import spec as kubeflow_spec
from pipeline.kubeflow.compile.checks import check_spec
from pipeline.kubeflow.compile.platform import SERVING_STEPS, check_documents, platform_document
from pipeline.kubeflow.compile.requirements import CompileTarget, check_requirements, check_steps
from pipeline.kubeflow.compile.runtime_parameters import PARAMETERS, VERTEX_PARAMETERS, parameter_values, path_in_image
from pipeline.kubeflow.compile.sizes import check_sizes
from pipeline.settings.beam import STAGING_ENGINES
from pipeline.settings.settings import Settings

ENTRY_POINT = ("python", "-m", "pipeline.kubeflow.step.entrypoint")

# Nothing is mounted there on Vertex AI, whose pods may run as any user.
_VERTEX_WORKSPACE = Path("/tmp/digits")  # noqa: S108 (a folder of a pod, not of this machine)


@dataclass(frozen=True)
class _Compiled:
    """What TFX compiled: its `PipelineJob` as a dict, and which steps use Beam."""

    job: dict[str, Any]
    beam_steps: frozenset[str]
    beam_args: tuple[str, ...]


def compile_pipeline(settings: Settings, target: CompileTarget) -> str:
    """Compiles the pipeline and checks that the target can run it.

    Args:
        settings: The settings of the pipeline; its parameters have them as defaults.
        target: `kfp` for open-source Kubeflow Pipelines, `vertex` for Vertex AI.

    Returns:
        The text of the file: two YAML documents, the pipeline and what it needs of Kubernetes, or the JSON of a
        PipelineJob.

    Raises:
        CompileError: The pipeline could not run there; the message has a line for each reason.
    """
    check_requirements(settings, target)
    return _compile_for_vertex(settings) if target == "vertex" else _compile_for_kfp(settings)


def write_compiled(text: str, file: Path) -> None:
    """Writes a file as a whole or not at all.

    Args:
        text: Its content.
        file: Where to; what was there is replaced.

    Raises:
        OSError: It cannot be written.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with open(beside, "x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _compile_for_kfp(settings: Settings) -> str:
    compiled = _compile(settings, Path(settings.kubeflow.workspace))
    spec = compiled.job["pipelineSpec"]
    kubeflow_spec.set_resources(spec, settings.kubeflow)
    kubeflow_spec.add_parameters(spec, PARAMETERS, parameter_values(settings))
    kubeflow_spec.set_image_by_parameter(spec)
    staged = compiled.beam_steps if settings.beam.engine in STAGING_ENGINES else frozenset[str]()
    for step in staged:
        kubeflow_spec.add_arguments(spec, step, [f"--staging_folder={settings.kubeflow.staging_folder}"])
    documents = [spec, platform_document(spec, settings.kubeflow, staged)]
    check_spec(spec)
    check_documents(*documents)
    text = yaml.safe_dump_all(documents, sort_keys=True, width=120, allow_unicode=True)
    check_sizes(spec, text)
    return text


def _compile_for_vertex(settings: Settings) -> str:
    compiled = _compile(settings, _VERTEX_WORKSPACE)
    spec = compiled.job["pipelineSpec"]
    kubeflow_spec.set_vertex_resources(spec, settings.kubeflow)
    kubeflow_spec.add_parameters(spec, VERTEX_PARAMETERS, parameter_values(settings))
    check_spec(spec)
    check_documents(spec)
    compiled.job["runtimeConfig"] = {"gcsOutputDirectory": settings.kubeflow.vertex_root}
    text = json.dumps(compiled.job, indent=1, sort_keys=True)
    check_sizes(spec, text)
    return text


def _compile(settings: Settings, workspace: Path) -> _Compiled:
    """Runs TFX's compiler and adds what both targets need."""
    settings = settings.model_copy(update={"workspace": workspace})
    arguments = beam_args(settings)
    values = parameter_values(settings)
    data = DataVersion(str(values["data_uri"]), int(values["data_span"]), fingerprint="")
    pipeline = create_pipeline(settings, data, arguments)
    beam_steps = frozenset(
        component.id for component in pipeline.components if isinstance(component.executor_spec, BeamExecutorSpec)
    )
    check_steps(settings, [component.id for component in pipeline.components])
    config = KubeflowV2DagRunnerConfig(
        default_image=settings.kubeflow.image, default_commands=list(ENTRY_POINT), use_pipeline_spec_2_1=True
    )
    compiled = _Compiled(KubeflowV2DagRunner(config).run(pipeline, write_out=False), beam_steps, tuple(arguments))
    _complete(compiled, settings)
    return compiled


def _complete(compiled: _Compiled, settings: Settings) -> None:
    spec = compiled.job["pipelineSpec"]
    kubeflow_spec.drop_beam_arguments(spec, compiled.beam_steps, compiled.beam_args)
    kubeflow_spec.drop_lifecycle(spec)
    kubeflow_spec.drop_caching(spec)
    kubeflow_spec.set_retries(spec, settings.kubeflow.retries)
    kubeflow_spec.set_constant(spec, "ImportSchemaGen", "schema_file", path_in_image(str(settings.data.schema_file)))
    kubeflow_spec.add_run_id(spec, "Pusher")
    if settings.kubeflow.serving_store:
        for step in SERVING_STEPS:
            kubeflow_spec.add_arguments(spec, step, [f"--serving_store={settings.kubeflow.serving_store}"])
    if settings.beam.engine == "dataflow":
        for step in compiled.beam_steps:
            kubeflow_spec.add_arguments(spec, step, ["--keep_gs_uris"])
