"""Runs of the smoke pipeline after the first one, for pods as processes or containers."""

import shutil
from dataclasses import replace

from kfp.pipeline_spec import pipeline_spec_pb2

from components.verdict import Verdict, read_verdict
from tests.kubeflow.emulator.cluster import DEFAULT_PIPELINE_ROOT, Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline

GATES = frozenset({"DataGate", "Evaluator", "RobustnessEvaluator", "ServingCheck"})


def train_what_is_refused(cluster: Cluster, pipeline: CompiledPipeline, first_run: PipelineRun) -> PipelineRun:
    """Runs the pipeline with a threshold that no model can meet."""
    assert first_run.succeeded, first_run
    return cluster.run(pipeline, {"epochs": 1, "min_accuracy": 1})


def with_cached_schema(pipeline: CompiledPipeline) -> CompiledPipeline:
    """Returns the pipeline with caching of ImportSchemaGen, as the SDK's `enable_caching=True` sets it."""
    spec = pipeline_spec_pb2.PipelineTaskSpec()
    spec.CopyFrom(pipeline.tasks["ImportSchemaGen"].spec)
    spec.caching_options.enable_cache = True
    task = replace(pipeline.tasks["ImportSchemaGen"], spec=spec)
    return replace(pipeline, tasks={**pipeline.tasks, task.name: task})


def run_without_schema(
    cluster: Cluster, pipeline: CompiledPipeline, last_run: PipelineRun, root: str = DEFAULT_PIPELINE_ROOT
) -> PipelineRun:
    """Runs the pipeline after removing the artifact of a cached step.

    Args:
        cluster: Where the pipeline runs.
        pipeline: The pipeline.
        last_run: A run `with_cached_schema`.
        root: Its root.
    """
    shutil.rmtree(cluster.store.path(last_run.output("ImportSchemaGen", "schema").uri))
    return cluster.run(with_cached_schema(pipeline), root=root)


def stored_verdict(cluster: Cluster, run: PipelineRun, gate: str) -> Verdict:
    """Returns the verdict of a gate in the store."""
    return read_verdict(str(cluster.store.path(run.output(gate, "verdict").uri)))
