"""The pushed model in the TensorFlow of TF Serving's newest release, one behind the one that trained it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bombs import measure_bombs
from components.serving_check import fresh_process
from components.serving_check.check import check_answers, check_process, read_export
from components.serving_check.limits import ServingLimits
from components.serving_check.probe import Answer, Plan, Report, read_report, write_plan
from components.serving_check.requests import Sample
from registry.signatures import INPUTS
from tests.support.examples import DIGITS, png, serialize, write_records

PROJECT_ROOT = Path(__file__).parents[2]
RUNTIME = PROJECT_ROOT / ".tf-serving-runtime" / "bin" / "python"
RUNTIME_VERSION = "2.20.0"
NUM_IMAGES = 100

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not RUNTIME.exists(),
        reason=f"TensorFlow {RUNTIME_VERSION} is not there; `make tf-serving-runtime` installs it",
    ),
]


def test_the_environment_has_the_tensorflow_of_tf_serving() -> None:
    command = [str(RUNTIME), "-c", "import tensorflow; print(tensorflow.__version__)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == RUNTIME_VERSION


def test_every_signature_passes_the_serving_check(reports: dict[str, Report], plan: Plan) -> None:
    report = reports["tf-serving"]
    assert {answer.signature for answer in report.answers} == set(INPUTS)
    findings = check_process(report, len(plan.ops)) + check_answers(report.answers, DIGITS, ServingLimits())
    assert [finding for finding in findings if not finding.passed] == []


def test_outputs_equal_those_of_the_tensorflow_that_trained_the_model(reports: dict[str, Report]) -> None:
    pairs = list(zip(reports["tf-serving"].answers, reports["trained"].answers, strict=True))
    assert pairs
    for served, expected in pairs:
        assert (served.signature, served.kind, served.error) == (expected.signature, expected.kind, expected.error)
        for name, values in expected.outputs.items():
            if np.issubdtype(values.dtype, np.floating):
                np.testing.assert_allclose(served.outputs[name], values, rtol=1e-4, atol=1e-4, err_msg=_place(served))
            else:
                np.testing.assert_array_equal(served.outputs[name], values, err_msg=_place(served))


def test_malicious_requests_get_the_same_answers(plan: Plan) -> None:
    served, trained = (measure_bombs(plan.model_path, python) for python in (str(RUNTIME), sys.executable))
    assert {each.name: each.answer for each in served} == {each.name: each.answer for each in trained}
    assert any("more than 24 scans" in each.answer for each in served)


@pytest.fixture(scope="module")
def plan(first_run: Any) -> Plan:
    model = first_run.result["model"]
    return Plan(model, sorted(read_export(model).ops), list(INPUTS), ServingLimits().huge_batch)


@pytest.fixture(scope="module")
def reports(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """The reports of both runtimes on the same requests."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        images = arrays["x_test"][:NUM_IMAGES, ..., np.newaxis]
    shard = tmp_path_factory.mktemp("examples") / "data.gz"
    write_records(shard, [serialize(image=png(image), label=b"3") for image in images])
    sample = Sample(images, [str(shard)], len(images))
    reports = {}
    for name, python in (("tf-serving", str(RUNTIME)), ("trained", sys.executable)):
        folder = tmp_path_factory.mktemp(name)
        write_plan(plan, sample, folder)
        reports[name] = _report(python, folder)
    return reports


def _report(python: str, folder: Path) -> Report:
    command = [python, "-P", "-m", fresh_process.__name__, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return read_report(folder)


def _place(answer: Answer) -> str:
    return f"{answer.signature}, {answer.kind} {answer.name}"
