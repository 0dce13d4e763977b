"""A comparison of two runs with made-up content."""

from dataclasses import replace
from datetime import datetime

from components.evaluator.comparison import PairedAccuracy, PredictionComparison
from components.verdict import Finding
from pipeline.local.comparison import Metric, RunComparison
from pipeline.local.metadata import Run
from registry.provenance import DataOrigin

FIRST = Run("2026-01-02T03:04:05.000006", "digits", datetime(2026, 1, 2), 9.0, (), "pushed", 0.9925, 17)
SECOND = replace(FIRST, run_id="2026-01-03T03:04:05.000006", outcome="refused", test_accuracy=0.98, version=None)


REFUSED = 0.6
"""The value of each finding that a gate refuses."""


def metric(gate: str, name: str, slice_name: str, *values: float | None) -> Metric:
    feature = "ink" if gate == "DataGate" else None
    first, second = (
        None if value is None else Finding(name, slice_name, passed=value != REFUSED, value=value, feature=feature)
        for value in values
    )
    return Metric(gate, name, slice_name, feature, first, second)


PREDICTIONS = PredictionComparison(
    overall=PairedAccuracy(900, 0.99, 0.98, -0.01, (-0.02, -0.005)),
    classes={
        "7": PairedAccuracy(90, 0.9, 0.95, 0.05, (0.01, 0.09)),
        "8": PairedAccuracy(10, 0.9, 0.6, -0.3, (-0.7, 0.1)),
    },
    corruptions={"fog": PairedAccuracy(80, 0.5, 0.5, 0, (-0.1, 0.1))},
    left_out=(3, 4),
    corrupted_left_out=(0, 0),
)
COMPARISON = RunComparison(
    runs=(FIRST, SECOND),
    data=(DataOrigin(uri="data/{SPAN}", span=3, fingerprint="0123456789abcdef"), None),
    settings={"trainer.epochs": (7, None)},
    software={"revision": ("abc", "def-dirty")},
    metrics=(
        metric("DataGate", "examples", "train", 5000, 4000),
        metric("DataGate", "skew", "test", 0.01, 0.02),
        metric("Evaluator", "accuracy", "all", 0.9925, 0.98),
        metric("Evaluator", "recall", "class 7", 0.9, 0.95),
        metric("Evaluator", "log_loss", "all", 0.0123, None),
        metric("Evaluator", "recall", "class 8", 0.9, REFUSED),
        metric("RobustnessEvaluator", "accuracy", "mean of 15", 0.97, 0.97),
        metric("RobustnessEvaluator", "accuracy", "fog", 0.5, 0.7),
    ),
    predictions=PREDICTIONS,
    missing=("nothing of note.",),
)
