import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.processes import ProcessFailedError
from benchmarks.step_inputs import StepInput
from benchmarks.step_start_up import StartUp, _seconds_to_start, executor_classes, main
from pipeline.kubeflow.step.executor_input import localize


def test_the_ratio_of_the_medians_decides() -> None:
    start_up = StartUp("Pusher", stock=[10.0, 1.0, 9.0], ours=[4.5, 9.0, 4.0], whole_stock=9, whole_ours=6)
    assert start_up.ratio == 0.5
    assert not start_up.too_slow
    assert StartUp("Pusher", stock=[10.0], ours=[6.1], whole_stock=9, whole_ours=6).too_slow


def test_every_step_of_the_pipeline_is_measured() -> None:
    executors = executor_classes()
    assert executors["RobustnessEvaluator"] == "components.evaluator.executor.Executor"
    assert executors["StatisticsGen"] == "tfx.components.statistics_gen.executor.Executor"
    assert [*executors].index("Trainer") < [*executors].index("Evaluator") < [*executors].index("Pusher")


def test_a_step_that_is_none() -> None:
    result = CliRunner().invoke(main, ["--step", "Tuner"])
    assert result.exit_code == 2
    assert "Invalid value for --step: expected one of " in result.output
    assert "not 'Tuner'." in result.output


def test_a_process_is_measured_up_to_the_start_of_the_executor_and_then_ended() -> None:
    code = "import sys, time; print('Starting executor', file=sys.stderr, flush=True); time.sleep(60)"
    assert 0 < _seconds_to_start([sys.executable, "-c", code]) < 50


def test_a_process_that_never_starts_an_executor_says_why() -> None:
    with pytest.raises(ProcessFailedError, match="no such module"):
        _seconds_to_start([sys.executable, "-c", "raise SystemExit('no such module')"])


def test_both_entry_points_get_the_same_step(tmp_path: Path) -> None:
    model = {"name": "3", "type": {"schemaTitle": "tfx.Model"}, "metadata": {"version": "7"}}
    step = StepInput(
        {"epochs": 3, "share": 1.0, "name": "digits"}, {"model": ("Trainer/model/3", model)}, {"out": "tfx.Model"}
    )
    types = {name: parameter["parameterType"] for name, parameter in step.spec()["parameters"].items()}
    assert types == {"epochs": "NUMBER_INTEGER", "share": "NUMBER_DOUBLE", "name": "STRING"}
    output_file = f"{tmp_path}/minio/outputs/output_metadata.json"
    stock = step.executor_input(f"{tmp_path}/minio/inputs", f"{tmp_path}/minio/outputs", output_file)
    ours = step.executor_input("minio://inputs", "minio://outputs", output_file)
    local = localize(ours, step.spec(), pod_root=tmp_path, project_root=tmp_path).executor_input
    del local["inputs"]["artifacts"]["model"]["artifacts"][0]["metadata"]["original_uri"]
    assert local == json.loads(json.dumps(stock))
