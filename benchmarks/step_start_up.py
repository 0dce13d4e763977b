"""Measures how long a step on Kubeflow Pipelines takes until its executor starts, beside TFX's own entry point."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from google.protobuf import json_format
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.processes import DIGITS, ProcessFailedError, run_process
from benchmarks.step_inputs import StepInput, read_steps
from pipeline.kubeflow.compile.compiled_pipeline import parse_compiled
from pipeline.kubeflow.compile.runner import compile_pipeline
from pipeline.settings.settings import load_settings, parse_assignments

NUM_REPETITIONS = 5
LIMIT = 0.6
"""The most that our start-up may take of TFX's."""

_STOCK = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_OURS = "pipeline.kubeflow.step.entrypoint"
_BEAM = ("--runner=DirectRunner", "--direct_running_mode=in_memory", "--sdk_container_image=none")
_EXECUTOR_OPTION = "--executor_class_path"
_STARTED = "Starting executor"
"""What both say in their log right before they call the executor."""


@dataclass(frozen=True)
class StartUp:
    """Times of one step, in seconds.

    Attributes:
        step: Its id.
        stock: From the start of the process to that of the executor, with TFX's entry point, per repetition.
        ours: The same with ours.
        whole_stock: From the start of the process to its end, once. What is only put off until the executor runs would
            show here.
        whole_ours: The same with ours.
    """

    step: str
    stock: Sequence[float]
    ours: Sequence[float]
    whole_stock: float
    whole_ours: float

    @property
    def ratio(self) -> float:
        """Median of ours by that of TFX's."""
        return statistics.median(self.ours) / statistics.median(self.stock)

    @property
    def too_slow(self) -> bool:
        """Whether the ratio is above the limit."""
        return self.ratio > LIMIT


@click.command()
@click.option("--repetitions", type=click.IntRange(min=1), default=NUM_REPETITIONS, show_default=True)
@click.option("--step", "steps", multiple=True, help="Only this one; repeatable.")
def main(repetitions: int, steps: tuple[str, ...]) -> None:
    """Measure the start-up of containerized steps; exit with 1 if one takes more than 0.6 of what it takes with TFX."""
    executors = executor_classes()
    for step in steps:
        if step not in executors:
            raise click.BadParameter(f"expected one of {', '.join(executors)}, not {step!r}.", param_hint="--step")
    with TemporaryDirectory(prefix="step-start-up-") as folder:
        workspace, pod = Path(folder, "workspace"), Path(folder, "pod")
        click.echo("making a workspace with one smoke run (not measured)", err=True)
        run_process([DIGITS, "run", "--workspace", str(workspace), "--profile", "smoke"])
        (pod / "minio").mkdir(parents=True)
        (pod / "minio" / "inputs").symlink_to(workspace / "pipeline_root")
        inputs = read_steps(workspace)
        measured = [_measure(step, executors[step], inputs[step], pod, repetitions) for step in steps or executors]
    _print(measured, repetitions)
    sys.exit(1 if any(start_up.too_slow for start_up in measured) else 0)


def executor_classes() -> dict[str, str]:
    """Returns the path of the class of each step's executor, by the step's id, in the order in which they are run."""
    settings = load_settings(parse_assignments(("profile=smoke",)), file=Path(os.devnull))
    compiled = parse_compiled(compile_pipeline(settings, "kfp").encode(), "the compiled pipeline")
    executors = json_format.MessageToDict(compiled.spec.deployment_spec)["executors"]
    arguments = {step: executors[f"{step}_executor"]["container"]["args"] for step in compiled.steps}
    return {step: each[each.index(_EXECUTOR_OPTION) + 1] for step, each in arguments.items()}


def _measure(step: str, class_path: str, step_input: StepInput, pod: Path, repetitions: int) -> StartUp:
    click.echo(f"measuring {step}", err=True)
    # Both get the same files, but TFX's entry point cannot find them by a URI of Kubeflow Pipelines.
    stores = {_STOCK: f"{pod}/minio", _OURS: "minio:/"}
    times: dict[str, list[float]] = {_STOCK: [], _OURS: []}
    wholes: dict[str, float] = {}
    for repetition in range(-1, repetitions):
        for module, store in stores.items():
            folder = f"outputs/{step}/{module}-{repetition}"
            output_file = f"{pod}/minio/{folder}/output_metadata.json"
            # TFX's entry point takes folders to be there, as in an object store they always are.
            for key in step_input.outputs:
                (pod / "minio" / folder / key).mkdir(parents=True)
            executor_input = step_input.executor_input(f"{store}/inputs", f"{store}/{folder}", output_file)
            command = _command(module, class_path, executor_input, step_input.spec(), pod)
            # The first one warms the disk's cache up, and runs to its end.
            if repetition < 0:
                wholes[module] = run_process(command).seconds
            else:
                times[module].append(_seconds_to_start(command))
    return StartUp(step, times[_STOCK], times[_OURS], wholes[_STOCK], wholes[_OURS])


def _command(module: str, class_path: str, executor_input: object, spec: object, pod: Path) -> list[str]:
    return [
        *(sys.executable, "-m", module),
        f"{_EXECUTOR_OPTION}={class_path}",
        f"--json_serialized_invocation_args={json.dumps(executor_input)}",
        f"--json_serialized_inputs_spec_args={json.dumps(spec)}",
        *_BEAM,
        *([f"--pod_root={pod}"] if module == _OURS else []),
    ]


def _seconds_to_start(command: Sequence[str]) -> float:
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as process:
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            if _STARTED in line:
                seconds = time.perf_counter() - start
                process.kill()
                return seconds
    raise ProcessFailedError(command, process.returncode, "".join(lines))


def _print(measured: Sequence[StartUp], repetitions: int) -> None:
    title = f"Seconds until the executor starts: medians of {repetitions}; whole steps once"
    table = Table(
        "step", "TFX", "ours", "ratio", "limit", "", "whole, TFX", "whole, ours", title=title, box=box.SIMPLE_HEAD
    )
    for start_up in measured:
        medians = (statistics.median(start_up.stock), statistics.median(start_up.ours))
        verdict = "too slow" if start_up.too_slow else "ok"
        wholes = (f"{start_up.whole_stock:.1f}", f"{start_up.whole_ours:.1f}")
        ratio = (f"{start_up.ratio:.2f}", f"{LIMIT:.2f}")
        table.add_row(start_up.step, *(f"{value:.2f}" for value in medians), *ratio, verdict, *wholes)
    Console(highlight=False, width=120).print(table)


if __name__ == "__main__":
    main()
