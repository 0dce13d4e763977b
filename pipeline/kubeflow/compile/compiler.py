"""Compiles the pipeline for Kubeflow Pipelines or Vertex AI: runs TFX's compiler and adapts its output."""

import json
from pathlib import Path

import yaml

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

from components.example_gen.sources.detection import DataVersion
from components.pusher import PRIVATE_KEY_KEY
from components.run_report.report import REPORT_STEPS
from pipeline.beam.options import beam_args
from pipeline.digits_pipeline import create_pipeline
from pipeline.kubeflow.compile import spec as kubeflow_spec
from pipeline.kubeflow.compile.checks import check_settings, check_spec
from pipeline.kubeflow.compile.parameters import CompileTarget, parameters_of, path_in_image
from pipeline.settings.beam import STAGING_ENGINES
from pipeline.settings.settings import Settings
from pipeline.settings.tuned import read_trials

ENTRY_POINT = ("python", "-m", "pipeline.kubeflow.step.entrypoint")

# Vertex AI mounts nothing, and its pods may run as any user.
_VERTEX_WORKSPACE = Path("/tmp/digits")  # noqa: S108 (a folder of a pod, not of this machine)


def compile_pipeline(settings: Settings, target: CompileTarget) -> str:
    """Compiles the pipeline.

    Args:
        settings: The settings of the pipeline; they are the defaults of its parameters.
        target: `kfp` for open-source Kubeflow Pipelines, `vertex` for Vertex AI.

    Returns:
        The text of the compiled file. For KFP, two YAML documents: the pipeline spec and the platform spec. For Vertex
        AI, the JSON of a `PipelineJob`.

    Raises:
        CompileError: The target cannot run the pipeline; the message has one line per reason.
    """
    check_settings(settings, target)
    workspace = _VERTEX_WORKSPACE if target == "vertex" else Path(settings.kubeflow.workspace)
    # They are in the local workspace.
    trials = read_trials(settings)
    settings = settings.model_copy(update={"workspace": workspace})
    parameters = parameters_of(settings, target)
    beam_arguments = beam_args(settings)
    data = DataVersion(parameters["data_uri"].default, parameters["data_span"].default, fingerprint="")
    pipeline = create_pipeline(settings, data, beam_arguments, trials=trials)
    config = KubeflowV2DagRunnerConfig(
        default_image=settings.kubeflow.image, default_commands=list(ENTRY_POINT), use_pipeline_spec_2_1=True
    )
    job = KubeflowV2DagRunner(config).run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    beam_steps = frozenset(each.id for each in pipeline.components if isinstance(each.executor_spec, BeamExecutorSpec))
    kubeflow_spec.drop_beam_arguments(spec, beam_steps, beam_arguments)
    _adapt(spec, settings, beam_steps)
    kubeflow_spec.set_resources(spec, settings.kubeflow, target)
    kubeflow_spec.add_parameters(spec, parameters.values())
    if target == "vertex":
        check_spec(spec, settings)
        job["runtimeConfig"] = {"gcsOutputDirectory": settings.kubeflow.vertex_root}
        return json.dumps(job, indent=1, sort_keys=True)
    staged_steps = beam_steps if settings.beam.engine in STAGING_ENGINES else frozenset[str]()
    kubeflow_spec.add_arguments(spec, staged_steps, f"--staging_folder={settings.kubeflow.staging_folder}")
    check_spec(spec, settings)
    documents = [spec, kubeflow_spec.platform_document(spec, settings.kubeflow, staged_steps)]
    return yaml.safe_dump_all(documents, sort_keys=True, width=120, allow_unicode=True)


def _adapt(spec: kubeflow_spec.Spec, settings: Settings, beam_steps: frozenset[str]) -> None:
    kubeflow_spec.drop_hooks_and_caching(spec)
    kubeflow_spec.set_retries(spec, settings.kubeflow.retries)
    kubeflow_spec.set_constant(spec, "ImportSchemaGen", "schema_file", path_in_image(str(settings.data.schema_file)))
    for step in (kubeflow_spec.PUSHER, *REPORT_STEPS):
        kubeflow_spec.add_run_id(spec, step)
    kubeflow_spec.show_reports(spec)
    signing_key = settings.workspace / kubeflow_spec.SIGNING_FOLDER / "private_key.pem"
    has_key = bool(settings.kubeflow.signing_secret)
    kubeflow_spec.set_constant(spec, kubeflow_spec.PUSHER, PRIVATE_KEY_KEY, str(signing_key) if has_key else "")
    if settings.kubeflow.serving_store:
        store_argument = f"--serving_store={settings.kubeflow.serving_store}"
        kubeflow_spec.add_arguments(spec, kubeflow_spec.SERVING_STEPS, store_argument)
    if settings.beam.engine == "dataflow":
        kubeflow_spec.add_arguments(spec, beam_steps, "--keep_gs_uris")
