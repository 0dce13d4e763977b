"""Runs the data steps alone, on any engine and without ML Metadata, for tests and benchmarks."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
import tfx.components  # noqa: F401
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import Artifact

# isort: split
from components.example_gen.sources.detection import find_data
from pipeline.beam.options import beam_args
from pipeline.digits_pipeline import create_pipeline
from pipeline.settings.settings import Settings, load_settings, parse_assignments

# ImportSchemaGen, ExampleValidator and Trainer do not use Beam, but belong to the chain of the steps that do.
_STEPS = (
    "ImportSchemaGen",
    "MnistExampleGen",
    "StatisticsGen",
    "ExampleValidator",
    "Transform",
    "CorruptedExampleGen",
    "Trainer",
    "Evaluator",
    "RobustnessEvaluator",
)
"""Sorted so that each step finds its inputs."""

_TRAINER = "Trainer"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Model to evaluate.")
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting; may be repeated.")
def main(folder: Path, model: Path | None, assignments: tuple[str, ...]) -> None:
    """Run the data steps into FOLDER and print the wall time of each, in seconds, as one JSON object."""
    settings = load_settings(parse_assignments(assignments), file=Path(os.devnull))
    click.echo(json.dumps(dict(run_data_steps(settings, beam_args(settings), folder, model))))


def run_data_steps(
    settings: Settings, beam_arguments: Sequence[str], folder: Path, model: Path | None = None
) -> Iterator[tuple[str, float]]:
    """Runs the steps one after the other.

    Args:
        settings: All settings; nothing is written to the workspace.
        beam_arguments: Beam's options for the engine.
        folder: Receives one folder per step, with one folder per output.
        model: The `model` of a Trainer to evaluate; if None, a model is trained.

    Yields:
        Name and wall time in seconds of each completed step.
    """
    data = find_data(settings.data.uri, settings.data.span)
    nodes = {node.id: node for node in create_pipeline(settings, data, beam_arguments).components}
    artifacts = {node.id: _outputs(node, folder) for node in nodes.values()}
    if model is not None:
        artifacts[_TRAINER]["model"].uri = str(model)
    for step in _STEPS:
        if step == _TRAINER and model is not None:
            continue
        start = time.perf_counter()
        _run(nodes[step], artifacts, beam_arguments, folder)
        yield step, time.perf_counter() - start


def _outputs(node: BaseNode, folder: Path) -> dict[str, Artifact]:
    outputs = {}
    for key, channel in node.outputs.items():
        outputs[key] = channel.type()
        outputs[key].uri = str(folder / node.id / key)
    return outputs


def _run(
    node: BaseNode, artifacts: Mapping[str, Mapping[str, Artifact]], beam_arguments: Sequence[str], folder: Path
) -> None:
    outputs = {key: [artifact] for key, artifact in artifacts[node.id].items()}
    for key in outputs:
        Path(folder, node.id, key).mkdir(parents=True)
    # The baseline stays an artifact without files.
    inputs = {
        key: [artifacts[channel.producer_component_id][channel.output_key]] for key, channel in node.inputs.items()
    }
    _executor(node, beam_arguments, folder).Do(inputs, outputs, dict(node.exec_properties))


def _executor(node: BaseNode, beam_arguments: Sequence[str], folder: Path) -> BaseExecutor:
    if not isinstance(node.executor_spec, ExecutorClassSpec):
        raise TypeError(f"{node.id}: expected an executor in this process, not {node.executor_spec}.")
    executor_class = node.executor_spec.executor_class
    place = {"tmp_dir": f"{folder / 'tmp' / node.id}/", "unique_id": node.id}
    if issubclass(executor_class, BaseBeamExecutor):
        return executor_class(BaseBeamExecutor.Context(beam_pipeline_args=list(beam_arguments), **place))
    return executor_class(BaseExecutor.Context(**place))


if __name__ == "__main__":
    main()
