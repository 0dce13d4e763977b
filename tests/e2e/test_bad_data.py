"""Bad data and wrong use end a run before anything is learned or published."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.run_report.report import Report
from pipeline.local.metadata import list_runs
from tests.support.examples import png

PROJECT_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inverted_run(run_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The very first run of a workspace, on dark digits on light paper."""
    folder = tmp_path_factory.mktemp("inverted")
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        sizes = {"train": 3000, "test": 1000}
        data = {f"{key}_{part}": arrays[f"{key}_{part}"][:size] for part, size in sizes.items() for key in "xy"}
    for part in sizes:
        data[f"x_{part}"] = 255 - data[f"x_{part}"]
    np.savez_compressed(folder / "inverted.npz", **data)
    return run_digits(folder / "workspace", "--data", str(folder / "inverted.npz"))


@pytest.mark.slow
def test_bad_data_reaches_no_step_that_learns(inverted_run: Any) -> None:
    assert inverted_run.exit_code == 3, inverted_run.shown
    assert inverted_run.result["outcome"] == "refused"
    assert inverted_run.result["test_accuracy"] is None
    before_the_gate = {"ImportSchemaGen", "MnistExampleGen", "StatisticsGen", "ExampleValidator"}
    assert set(inverted_run.steps_that_ran) == {*before_the_gate, "DataGate", "DataReport"}
    assert inverted_run.versions == []
    (run,) = list_runs(inverted_run.workspace / "metadata.sqlite")
    assert run.outcome == "refused"


@pytest.mark.slow
def test_a_person_is_told_what_is_wrong_with_the_data(inverted_run: Any) -> None:
    assert re.search(r"^Gates +refused by DataGate; nothing was pushed$", inverted_run.shown, re.MULTILINE)
    row = r"^background_share +train, eval, test +share of zeros \(background\) +0\.0\d+ +≥ 0\.2500 +REFUSE"
    assert re.search(row, inverted_run.shown, re.MULTILINE), inverted_run.shown
    assert {refusal["metric"] for refusal in inverted_run.result["refusals"]} == {"share of zeros (background)"}
    assert "data_gate.min_background" in inverted_run.shown
    assert "Traceback" not in inverted_run.shown


@pytest.mark.slow
def test_refused_data_has_a_report(inverted_run: Any) -> None:
    page = Path(inverted_run.result["report"])
    assert f"Report         {page}" in inverted_run.shown
    report = Report.model_validate_json((page.parent / "report.json").read_bytes())
    assert report.outcome == "refused"
    assert {reason.partition(" (")[0] for reason in report.reasons} == {"DataGate: share of zeros"}
    assert report.data is not None
    assert report.data.class_counts["train"].keys() == set("0123456789")
    assert len(report.data.samples) == 80
    assert {step.name for step in report.steps} == set(inverted_run.steps_that_ran) - {"DataReport"}
    assert "No training curves: Trainer did not complete." in report.missing


@pytest.mark.slow
def test_a_mistake_in_the_data_ends_the_run_before_anything_is_published(run_digits: Any, tmp_path: Path) -> None:
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        for number, (image, label) in enumerate(zip(arrays["x_test"][:200], arrays["y_test"][:200], strict=True)):
            file = tmp_path / "digits" / str(label) / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image))
    damaged = min((tmp_path / "digits" / "7").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-40])

    failed = run_digits(tmp_path / "workspace", "--data", str(tmp_path / "digits"))

    assert failed.exit_code == 1
    (error,) = [line for line in failed.shown.splitlines() if line.startswith("Error: ")]
    assert str(damaged) in error
    assert "Traceback" not in failed.shown
    assert "digits report" not in failed.shown, "it would show nothing"
    assert failed.versions == []
    (run,) = list_runs(tmp_path / "workspace" / "metadata.sqlite")
    assert run.outcome == "failed"
    assert run.steps[-1].name == "MnistExampleGen"
    assert not list((tmp_path / "workspace" / "pipeline_root").rglob("*.gz")), "half-written examples"


@pytest.mark.slow
def test_a_label_outside_the_schema_is_refused(run_digits: Any, shuffled_data: Path, tmp_path: Path) -> None:
    with np.load(shuffled_data) as arrays:
        data: dict[str, Any] = dict(arrays)
    data["y_train"][1234] = 77
    np.savez_compressed(tmp_path / "mnist.npz", **data)

    refused = run_digits(tmp_path / "workspace", "--data", str(tmp_path / "mnist.npz"))

    assert refused.exit_code == 3, refused.shown
    assert re.search(r"^label +train .*\b77\b", refused.shown, re.MULTILINE), refused.shown
    assert "Trainer" not in refused.steps_that_ran
    assert refused.versions == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--set", "trainer.epoch=3"), 2, "Error: trainer.epoch: no such setting; did you mean 'epochs'?"),
        (("--profile", "slow"), 2, "Error: profile: Input should be 'smoke', 'fast' or 'default', not 'slow'."),
        (("--data", "nowhere.npz"), 1, "nowhere.npz: found "),
    ],
)
def test_wrong_use_is_told_in_one_line(
    run_digits: Any, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    run = run_digits(tmp_path / "workspace", *arguments)
    assert run.exit_code == exit_code
    assert message in run.shown
    assert "Traceback" not in run.shown
