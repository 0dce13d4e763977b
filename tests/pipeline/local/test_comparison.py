"""Comparison of two runs in a real metadata database, with small artifacts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from components.evaluator.comparison import PairedAccuracy
from components.evaluator.prediction_files import SCHEMA, prediction_file
from components.intervals import paired_interval
from components.verdict import Finding, Verdict, write_verdict
from pipeline.local.comparison import Metric, compare_runs
from pipeline.local.metadata import UnknownRunError, record_outcome
from registry.provenance import DataOrigin

FIRST, SECOND = "2026-01-02T03:04:05.000006", "2026-01-03T03:04:05.000006"
ACCURACY, RECALL = (Finding(metric, "all", passed=True, value=0.5) for metric in ("accuracy", "recall"))

AddResults = Callable[..., None]


@pytest.fixture
def add_results(
    store: MetadataStore, add_run: Callable[..., None], add_artifact: Callable[..., Path], tmp_path: Path
) -> AddResults:
    """Adds a run with an evaluation of three images of class `a`, of which one is corrupted."""

    def add(run_id: str, settings: dict[str, Any], predictions: str, *findings: Finding, span: int = 0) -> None:
        add_run(run_id, {"Evaluator": metadata_store_pb2.Execution.COMPLETE})
        folder = tmp_path / run_id
        add_artifact(run_id, "Examples", folder / "examples", span, uri="data.npz", fingerprint=f"f{span}")
        add_artifact(run_id, "Examples", folder / "corrupted_examples")
        verdict = add_artifact(run_id, "digits.Verdict", folder / "verdict")
        write_verdict(Verdict("Evaluator", findings, "Train longer."), verdict)
        rows = [
            {"image_id": number, "label": "a", "prediction": prediction, "confidence": 1.0, "corruption": corruption}
            for number, (prediction, corruption) in enumerate(zip(predictions, (None, None, "fog"), strict=False))
        ]
        for name, is_corrupted in (("Evaluator", False), ("RobustnessEvaluator", True)):
            evaluation = add_artifact(run_id, "ModelEvaluation", folder / name)
            of_step = [row for row in rows if bool(row["corruption"]) == is_corrupted]
            if of_step:
                pq.write_table(pa.Table.from_pylist(of_step, SCHEMA), evaluation / prediction_file(0, 1))
        record_outcome(
            store, run_id, "pushed", 0.5, {"settings": settings, "software": {"packages": {"tfx": settings}}}
        )

    return add


def test_everything_that_differs_is_compared(add_results: AddResults, tmp_path: Path) -> None:
    add_results(FIRST, {"trainer": {"epochs": 1, "seed": 0}, "name": "a"}, "aaa", ACCURACY)
    add_results(SECOND, {"trainer": {"epochs": 2, "seed": 0}, "old": {}}, "aba", ACCURACY, RECALL, span=3)
    comparison = compare_runs(tmp_path / "metadata.sqlite", FIRST, SECOND)
    assert [run.run_id for run in comparison.runs] == [FIRST, SECOND]
    assert comparison.data == tuple(DataOrigin(uri="data.npz", span=span, fingerprint=f"f{span}") for span in (0, 3))
    assert comparison.settings == {"trainer.epochs": (1, 2), "name": ("a", None)}
    assert comparison.software == {"packages.tfx.trainer.epochs": (1, 2), "packages.tfx.name": ("a", None)}
    assert comparison.metrics == (
        Metric("Evaluator", "accuracy", "all", None, ACCURACY, ACCURACY),
        Metric("Evaluator", "recall", "all", None, None, RECALL),
    )
    predictions = comparison.predictions
    assert predictions is not None
    assert predictions.overall == PairedAccuracy(2, 1, 0.5, -0.5, paired_interval(0, 1, 2))
    assert predictions.corruptions == {"fog": PairedAccuracy(1, 1, 1, 0, paired_interval(0, 0, 1))}
    assert comparison.missing == ()


def test_a_run_of_an_earlier_release_is_compared_as_far_as_it_goes(add_results: AddResults, tmp_path: Path) -> None:
    add_results(FIRST, {}, "", ACCURACY)
    add_results(SECOND, {}, "aaa", ACCURACY)
    comparison = compare_runs(tmp_path / "metadata.sqlite", FIRST, SECOND)
    assert [metric.first for metric in comparison.metrics] == [ACCURACY]
    assert comparison.predictions is None
    folders = [tmp_path / FIRST / name for name in ("Evaluator", "RobustnessEvaluator")]
    assert [sentence.partition(": no predictions")[0] for sentence in comparison.missing] == list(map(str, folders))


def test_a_run_that_ended_early_is_compared_as_far_as_it_goes(
    add_results: AddResults, add_run: Callable[..., None], tmp_path: Path
) -> None:
    add_results(FIRST, {"name": "a"}, "aaa", ACCURACY)
    add_run(SECOND, {"MnistExampleGen": metadata_store_pb2.Execution.FAILED})
    comparison = compare_runs(tmp_path / "metadata.sqlite", SECOND, FIRST)
    assert comparison.data[0] is None
    assert (comparison.settings, comparison.software, comparison.predictions) == ({}, {}, None)
    assert comparison.metrics == (Metric("Evaluator", "accuracy", "all", None, None, ACCURACY),)
    assert comparison.missing == (
        f"{SECOND}: no artifact of type digits.Verdict; the run ended before that step.",
        f"{SECOND}: no artifact of type ModelEvaluation; the run ended before that step.",
        f"{SECOND}: its settings and software are not recorded.",
    )


def test_an_unknown_run_is_refused(add_results: AddResults, tmp_path: Path) -> None:
    add_results(FIRST, {}, "aaa")
    with pytest.raises(UnknownRunError, match=f"'17': no run has this .*; there is only {FIRST}"):
        compare_runs(tmp_path / "metadata.sqlite", FIRST, "17")


def test_nothing_is_compared_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UnknownRunError, match="nothing has run here yet"):
        compare_runs(tmp_path / "metadata.sqlite", "17", "18")
