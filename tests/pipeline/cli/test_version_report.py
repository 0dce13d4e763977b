from pathlib import Path

import pytest

from pipeline.cli.version_report import report_versions
from registry.provenance import DataOrigin, GateRecord, Ingredients, Origin
from registry.publishing import publish, roll_back


def gate(name: str, **metrics: dict[str, float]) -> GateRecord:
    return GateRecord(gate=name, passed=True, metrics=metrics)


def make_model(directory: Path, weights: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_text(weights)
    return directory


@pytest.mark.parametrize(
    ("gates", "accuracy"),
    [
        ((), None),
        ((gate("RobustnessEvaluator", accuracy={"all": 0.9}), gate("Evaluator", accuracy={"all": 0.99})), 0.99),
        ((gate("Evaluator", accuracy={"digit 1": 0.9}, recall={"all": 0.8}),), None),
    ],
)
def test_accuracy_is_that_of_all_test_images(
    gates: tuple[GateRecord, ...], accuracy: float | None, tmp_path: Path
) -> None:
    publish(make_model(tmp_path / "model", "a"), tmp_path / "serving", {}, Origin(gates=gates))
    (report,) = report_versions(tmp_path / "serving")
    assert report.accuracy == accuracy
    assert report.span is None


def test_roles(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    data = DataOrigin(uri="/data", span=3, fingerprint="ab")
    for weights in "abb":
        model = tmp_path / weights
        publish(
            model if model.exists() else make_model(model, weights),
            serving,
            {},
            Origin(ingredients=Ingredients(data=data, code={})),
        )
    first, *_ = report_versions(serving)
    roll_back(serving, first.version.number)
    reports = list(report_versions(serving))
    assert [report.roles for report in reports] == ["", "", "baseline", f"current, rollback of {first.version.number}"]
    assert [report.span for report in reports] == [3] * 4


def test_nothing_pushed_yet(tmp_path: Path) -> None:
    assert list(report_versions(tmp_path / "absent")) == []
