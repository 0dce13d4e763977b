"""What `digits runs --compare` prints for a comparison made by hand."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from components.evaluator.comparison import PredictionComparison
from pipeline.cli.comparison import comparison_values, show_comparison
from tests.support.comparisons import COMPARISON, FIRST, SECOND

TableRows = Callable[[str], list[list[str]]]


def test_a_comparison_as_text(table_rows: TableRows, capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(COMPARISON)
    assert table_rows(capsys.readouterr().out) == [
        ["first", "second"],
        ["run", FIRST.run_id, SECOND.run_id],
        ["outcome", "pushed", "refused"],
        ["version", "17"],
        ["test accuracy", "99.25 %", "98.00 %"],
        ["data", "data/{SPAN}"],
        ["span", "3"],
        ["fingerprint", "0123456789ab"],
        ["train images", "5000", "4000"],
        ["setting", "first", "second"],
        ["trainer.epochs", "7"],
        ["software", "first", "second"],
        ["revision", "abc", "def-dirty"],
        ["gate", "metric", "slice", "feature", "first", "second"],
        ["DataGate", "skew", "test", "ink", "0.0100", "0.0200"],
        ["Evaluator", "log_loss", "all", "0.0123"],
        ["Evaluator", "recall", "class 8", "0.9000", "0.6000 refused"],
        ["1 metrics of the gates are equal."],
        ["accuracy", "images", "first", "second", "change, points", "95 % interval"],
        ["all", "900", "99.00 %", "98.00 %", "-1.00", "-2.00 to -0.50", "worse"],
        ["class 7", "90", "90.00 %", "95.00 %", "+5.00", "+1.00 to +9.00", "better"],
        ["class 8", "10", "90.00 %", "60.00 %", "-30.00", "-70.00 to +10.00"],
        ["fog", "80", "50.00 %", "50.00 %", "+0.00", "-10.00 to +10.00"],
        ["Left out: 3 images that only the first run has, 4 images that only the second run has."],
        ["Missing: nothing of note."],
    ]


def test_without_predictions_the_metrics_of_the_gates_remain(
    table_rows: TableRows, capsys: pytest.CaptureFixture[str]
) -> None:
    show_comparison(replace(COMPARISON, predictions=None))
    rows = table_rows(capsys.readouterr().out)
    assert ["Evaluator", "accuracy", "all", "0.9925", "0.9800"] in rows
    assert ["RobustnessEvaluator", "accuracy", "fog", "0.5000", "0.7000"] in rows


def test_runs_of_different_images_are_not_compared_on_them(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = PredictionComparison(None, {}, {}, (10, 20), (30, 40))
    show_comparison(replace(COMPARISON, predictions=nothing))
    assert (
        "The runs have no test images in common.\n"
        "Left out: 10 images that only the first run has, 20 images that only the second run has.\n"
        "Left out: 30 corrupted images that only the first run has, 40 corrupted images that only the second run has.\n"
    ) in capsys.readouterr().out


def test_a_comparison_as_json() -> None:
    values = json.loads(json.dumps(comparison_values(COMPARISON)))
    assert list(values) == ["runs", "data", "settings", "software", "metrics", "predictions", "missing"]
    assert [run["run_id"] for run in values["runs"]] == [FIRST.run_id, SECOND.run_id]
    assert values["data"] == [{"uri": "data/{SPAN}", "span": 3, "fingerprint": "0123456789abcdef"}, None]
    assert values["settings"] == {"trainer.epochs": [7, None]}
    assert values["metrics"][4]["first"]["value"] == 0.0123
    assert values["metrics"][4]["second"] is None
    assert values["predictions"]["classes"]["7"]["interval"] == [0.01, 0.09]
    assert values["predictions"]["left_out"] == [3, 4]
