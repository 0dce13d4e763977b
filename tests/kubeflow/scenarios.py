"""Runs of the smoke pipeline after the first one, for pods as processes or containers."""

import shutil

from components.verdict import Verdict, read_verdict
from tests.kubeflow.emulator.cluster import Cluster, PipelineRun
from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline

GATES = frozenset({"DataGate", "Evaluator", "RobustnessEvaluator", "ServingCheck"})


def train_what_is_refused(cluster: Cluster, pipeline: CompiledPipeline, first_run: PipelineRun) -> PipelineRun:
    """Runs the pipeline with a threshold that no model can meet."""
    assert first_run.succeeded, first_run
    return cluster.run(pipeline, {"epochs": 1, "min_accuracy": 1})


def run_without_schema(cluster: Cluster, pipeline: CompiledPipeline, last_run: PipelineRun) -> PipelineRun:
    """Runs the pipeline after removing the artifact of a cached step."""
    shutil.rmtree(cluster.store.path(last_run.output("ImportSchemaGen", "schema").uri))
    return cluster.run(pipeline)


def stored_verdict(cluster: Cluster, run: PipelineRun, gate: str) -> Verdict:
    """Returns the verdict of a gate in the store."""
    return read_verdict(str(cluster.store.path(run.output(gate, "verdict").uri)))
