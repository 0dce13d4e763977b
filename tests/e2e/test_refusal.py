"""What must not be pushed is not pushed: bad models are refused, bad data ends the run."""

import re
from pathlib import Path
from typing import Any

from components.verdict import read_verdict
from pipeline.local.metadata import list_runs
from registry.provenance import read_provenance

PROJECT_ROOT = Path(__file__).parents[2]


def test_a_model_made_worse_on_purpose_is_refused(refused_run: Any) -> None:
    assert refused_run.exit_code == 3, refused_run.shown
    assert refused_run.result["outcome"] == "refused"
    assert refused_run.result["test_accuracy"] < 0.3
    assert "MnistExampleGen" in refused_run.steps_that_ran, "changed data must rerun"
    assert refused_run.result["verdicts"]["DataGate"]["passed"], "nobody sees in the data that labels are wrong"
    served = read_verdict(refused_run.result["verdicts"]["ServingCheck"]["directory"])
    assert "accuracy on image files" in {finding.metric for finding in served.refusals}
    assert re.search(r"^Gates +refused by .*\bEvaluator\b.*; nothing was pushed$", refused_run.shown, re.MULTILINE)
    assert re.search(
        r"^accuracy +all +0\.\d+ .* ≥ 0\.\d+ .* REFUSE +it may be as low as", refused_run.shown, re.MULTILINE
    )
    assert re.search(r"^change of accuracy +all +-0\.\d+ .*McNemar p = ", refused_run.shown, re.MULTILINE)
    assert "evaluation.min_accuracy" in refused_run.shown


def test_a_refused_model_is_not_pushed(first_run: Any, refused_run: Any) -> None:
    assert refused_run.result["model"] is None
    folders = [refused_run.workspace / "serving" / "digits-smoke" / str(number) for number in refused_run.versions]
    pushed_by = [provenance.origin.pipeline_run for folder in folders if (provenance := read_provenance(folder))]
    assert first_run.result["run_id"] in pushed_by
    assert refused_run.result["run_id"] not in pushed_by


def test_a_refusal_stands_when_repeated(refused_run: Any, run_digits: Any, shuffled_data: Path) -> None:
    repeated = run_digits(refused_run.workspace, "--data", str(shuffled_data))
    assert repeated.exit_code == 3, repeated.shown
    assert repeated.steps_that_ran == []
    assert repeated.versions == refused_run.versions


def test_a_refusal_is_on_record(refused_run: Any) -> None:
    run = list_runs(refused_run.workspace / "metadata.sqlite")[-1]
    assert run.outcome == "refused"
    assert all(step.state != "failed" for step in run.steps), "a refusal is not a failure"
    verdict = read_verdict(refused_run.result["verdicts"]["Evaluator"]["directory"])
    assert not verdict.passed
