"""Every number in the report of a run is that of the artifact that it comes from."""

import base64
import importlib.metadata
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)
from PIL import Image

# isort: split
import tensorflow_data_validation as tfdv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow_metadata.proto.v0.statistics_pb2 import Histogram as StatisticsHistogram

from components.run_report.report import ClassResult, Report
from components.verdict import Finding, read_verdict
from pipeline.settings.settings import PROFILES

CLASSES = tuple("0123456789")
SPLITS = ("train", "eval", "test")


class ReportedRun:
    """A run, its report and its artifacts."""

    def __init__(self, run: Any) -> None:
        self.result = run.result
        self.log = next(line.split()[-1] for line in run.shown.splitlines() if line.startswith("Log "))
        self.page = Path(run.result["report"])
        self.shown = run.shown
        self.report = Report.model_validate_json((self.page.parent / "report.json").read_bytes())
        self.folders: dict[tuple[str, str], Path] = {
            (source.step, Path(source.uri).parent.name): Path(source.uri) for source in self.report.sources
        }

    def finding(self, gate: str, metric: str, name: str) -> Finding:
        findings = read_verdict(self.result["verdicts"][gate]["directory"]).findings
        [found] = [each for each in findings if (each.metric, each.slice) == (metric, name)]
        return found

    def predictions(self, step: str) -> pd.DataFrame:
        files = sorted(self.folders[step, "evaluation"].glob("*.parquet"))
        return pd.concat(map(pd.read_parquet, files), ignore_index=True)

    def examples(self, split: str) -> Iterator[tuple[bytes, str]]:
        files = sorted(map(str, (self.folders["MnistExampleGen", "examples"] / f"Split-{split}").iterdir()))
        for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            yield feature["image"].bytes_list.value[0], feature["label"].bytes_list.value[0].decode()


@pytest.fixture(scope="module", params=["first_run", pytest.param("retrained_run", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest) -> ReportedRun:
    """A run without a baseline, and one with a baseline."""
    return ReportedRun(request.getfixturevalue(request.param))


def pixels(image: bytes) -> bytes:
    return np.asarray(Image.open(io.BytesIO(image))).tobytes()


def test_the_headline(run: ReportedRun, first_run: Any) -> None:
    report = run.report
    assert f"Report         {run.page}" in run.shown
    assert (report.model, report.run_id) == ("digits-smoke", run.result["run_id"])
    assert (report.outcome, report.version) == ("pushed", run.result["version"])
    is_first = report.version == first_run.result["version"]
    assert report.baseline_version == (None if is_first else first_run.result["version"])
    assert (report.reasons, report.missing) == ((), ())


def test_the_data(run: ReportedRun) -> None:
    data = run.report.data
    assert data is not None
    assert Path(data.uri).name == "mnist.npz"
    assert (data.classes, data.image_shape, data.anomalies) == (CLASSES, (28, 28, 1), {})
    for split in SPLITS:
        assert data.class_counts[split] == Counter(label for _, label in run.examples(split))
        path = run.folders["StatisticsGen", "statistics"] / f"Split-{split}" / "FeatureStats.pb"
        view = tfdv.DatasetListView(tfdv.load_stats_binary(str(path))).get_default_slice()
        features = {".".join(each.steps()): view.get_feature(each) for each in view.list_features()}
        numeric = {name: feature.numeric_statistics() for name, feature in features.items()}
        numeric = {name: statistics for name, statistics in numeric.items() if statistics}
        reported = {each.feature: each for each in data.statistics if each.split == split}
        assert set(reported) == set(numeric)
        assert "brightness_mean" in reported
        for name, statistics in numeric.items():
            common = statistics.common_stats
            values = ("mean", "std_dev", "min", "median", "max")
            assert reported[name].model_dump() == {
                **{"feature": name, "split": split},
                **{"count": common.num_non_missing, "missing": common.num_missing},
                **dict(
                    zip(
                        ("mean", "deviation", "lowest", "median", "highest"),
                        (getattr(statistics, value) for value in values),
                        strict=True,
                    )
                ),
            }
        drawn = {each.feature: each for each in data.histograms if each.split == split}
        assert {"brightness_mean", "background_share", "ink_center_x"} <= set(drawn)
        for name, histogram in drawn.items():
            [standard] = [each for each in numeric[name].histograms if each.type == StatisticsHistogram.STANDARD]
            assert histogram.counts == tuple(bucket.sample_count for bucket in standard.buckets)
            assert histogram.edges[:-1] == tuple(bucket.low_value for bucket in standard.buckets)
            assert histogram.edges[1:] == tuple(bucket.high_value for bucket in standard.buckets)


def test_the_pictures(run: ReportedRun) -> None:
    data, evaluation = run.report.data, run.report.evaluation
    assert data is not None
    assert evaluation is not None
    assert Counter(sample.label for sample in data.samples) == dict.fromkeys(CLASSES, 8)
    for split, pictures in {"train": data.samples, "test": evaluation.mistakes}.items():
        known = {(pixels(image), label) for image, label in run.examples(split)}
        assert {(pixels(base64.b64decode(each.image)), each.label) for each in pictures} <= known


def test_the_training(run: ReportedRun) -> None:
    logs = run.folders["Trainer", "model_run"]

    def scalars(folder: Path, tag: str) -> list[float]:
        events = EventAccumulator(str(folder)).Reload()
        return [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]

    epochs = [each.model_dump() for each in run.report.epochs]
    assert len(epochs) == len(re.findall(r"epoch \d/4: ", run.shown)) > 0
    for prefix, folder in {"": "train", "eval_": "validation"}.items():
        for metric in ("loss", "accuracy"):
            assert [each[prefix + metric] for each in epochs] == scalars(logs / folder, f"epoch_{metric}")
    [logged] = re.findall(r"calibrated on eval: temperature (\d\.\d{3})", Path(run.log).read_text())
    assert f"{run.report.temperature:.3f}" == logged
    model = tf.saved_model.load(str(run.folders["Trainer", "model"] / "Format-Serving"))
    weights = model.signatures["examples"].trainable_variables
    num_trained = sum(int(np.prod(weight.shape)) for weight in weights)
    assert run.report.parameters == num_trained > 0


def check_change(result: ClassResult, change: Finding | None) -> None:
    expected = (change.baseline, change.value, change.interval) if change else (None, None, None)
    assert (result.baseline, result.change, result.change_interval) == expected


def test_the_evaluation(run: ReportedRun) -> None:
    evaluation = run.report.evaluation
    assert evaluation is not None
    has_baseline = run.report.baseline_version is not None
    predictions = run.predictions("Evaluator")
    is_right = predictions.label == predictions.prediction
    accuracy = run.finding("Evaluator", "accuracy", "all")
    assert (evaluation.overall.accuracy, evaluation.overall.interval) == (accuracy.value, accuracy.interval)
    assert (evaluation.overall.images, evaluation.overall.accuracy) == (len(predictions), is_right.mean())
    check_change(evaluation.overall, run.finding("Evaluator", "change of accuracy", "all") if has_baseline else None)
    assert [each.name for each in evaluation.classes] == list(CLASSES)
    for result in evaluation.classes:
        recall = run.finding("Evaluator", "recall", f"class {result.name}")
        assert (result.accuracy, result.interval) == (recall.value, recall.interval)
        assert result.images == (predictions.label == result.name).sum()
        assert result.accuracy == is_right[predictions.label == result.name].mean()
        change = run.finding("Evaluator", "change of recall", f"class {result.name}") if has_baseline else None
        check_change(result, change)
    confusion = pd.crosstab(predictions.label, predictions.prediction).reindex(
        index=CLASSES, columns=[*CLASSES, ""], fill_value=0
    )
    assert evaluation.confusion == tuple(map(tuple, confusion.to_numpy().tolist()))

    wrong = predictions[~is_right]
    assert evaluation.num_mistakes == len(wrong)
    assert len(evaluation.mistakes) == min(60, len(wrong))
    rows = Counter(zip(wrong.label, wrong.prediction, wrong.confidence.astype(float), strict=True))
    assert not Counter((each.label, each.prediction, each.confidence) for each in evaluation.mistakes) - rows
    confidences = [each.confidence for each in evaluation.mistakes]
    assert confidences == sorted(wrong.confidence.astype(float), reverse=True)[:60]


def test_the_calibration(run: ReportedRun) -> None:
    evaluation = run.report.evaluation
    assert evaluation is not None
    assert evaluation.calibration_error == run.finding("Evaluator", "expected_calibration_error", "all").value
    gaps = [each.images * abs(each.confidence - each.accuracy) for each in evaluation.calibration]
    assert sum(gaps) / evaluation.overall.images == pytest.approx(evaluation.calibration_error)
    predictions = run.predictions("Evaluator")
    is_right = predictions.label == predictions.prediction
    for each in evaluation.calibration:
        # Confidences are multiples of 1/15 only if the two most probable classes are equally probable.
        inside = (predictions.confidence >= each.lower) & (predictions.confidence < each.upper + (each.upper == 1))
        assert each.images == inside.sum()
        assert each.accuracy == pytest.approx(is_right[inside].mean())
        assert each.confidence == pytest.approx(predictions.confidence[inside].astype(float).mean())


def test_the_robustness(run: ReportedRun) -> None:
    predictions = run.predictions("RobustnessEvaluator")
    assert [each.name for each in run.report.robustness] == sorted(predictions.corruption.unique())
    for result in run.report.robustness:
        finding = run.finding("RobustnessEvaluator", "accuracy", result.name)
        of_corruption = predictions[predictions.corruption == result.name]
        assert (result.accuracy, result.interval) == (finding.value, finding.interval)
        assert result.images == len(of_corruption)
        assert result.accuracy == (of_corruption.label == of_corruption.prediction).mean()
        has_baseline = run.report.baseline_version is not None
        change = run.finding("RobustnessEvaluator", "change of accuracy", result.name) if has_baseline else None
        check_change(result, change)


def test_the_gates(run: ReportedRun) -> None:
    assert [gate.name for gate in run.report.gates] == list(run.result["verdicts"]) or len(run.report.gates) == 4
    for gate in run.report.gates:
        content = json.loads(Path(run.result["verdicts"][gate.name]["directory"], "verdict.json").read_text())
        assert (gate.passed, gate.enforced, gate.advice) == tuple(
            content[key] for key in ("passed", "enforced", "advice")
        )
        assert len(gate.requirements) == len(content["findings"])
        for requirement, finding in zip(gate.requirements, content["findings"], strict=True):
            values = json.loads(requirement.model_dump_json())
            bound = values.pop("bound")
            assert values == {key: finding[key] for key in values}
            for limit in (finding["lower_bound"], finding["upper_bound"]):
                assert limit is None or float(re.findall(r"-?\d[\d.e-]*", bound)[0]) == pytest.approx(limit, abs=1e-4)


def test_the_latencies(run: ReportedRun) -> None:
    assert {each.signature for each in run.report.latencies} == {"serving_default", "pixels", "examples", "normalize"}
    for each in run.report.latencies:
        assert each.median == run.finding("ServingCheck", "median latency, ms", each.signature).value
        assert each.p99 == run.finding("ServingCheck", "p99 latency, ms", each.signature).value


def test_the_settings_the_software_and_the_steps(run: ReportedRun, first_run: Any) -> None:
    settings = {each.name: each.value for each in run.report.settings}
    smoke = {
        f"{section}.{key}": value for section, values in PROFILES["smoke"].items() for key, value in values.items()
    }
    is_first = run.report.version == first_run.result["version"]
    retrained = {} if is_first else {"trainer.seed": 1}
    assert settings == {"profile": "smoke", "name": "digits-smoke", **smoke, **retrained}
    packages = dict(run.report.packages)
    del packages["Python"], packages["digit-classifier"]
    assert packages == {name: importlib.metadata.version(name) for name in packages}
    assert {"tensorflow", "tfx", "keras"} <= set(packages)
    first, ran = (
        {step["name"]: (step["seconds"], step["peak_bytes"]) for step in result["steps"] if step["state"] == "ran"}
        for result in (first_run.result, run.result)
    )
    reported = {step.name: (step.seconds, step.peak_bytes) for step in run.report.steps}
    assert set(reported) == {step["name"] for step in run.result["steps"]} - {"RunReport"}
    assert reported == {name: ran.get(name, first[name]) for name in reported}
    assert all((peak_bytes or 0) > 2**27 for _, peak_bytes in reported.values())


def test_the_page_is_small_and_found_again(run: ReportedRun) -> None:
    assert run.page.stat().st_size < 3_000_000
    command = [sys.executable, "-m", "pipeline.cli.main", "report", str(run.report.version)]
    workspace = run.page.parents[4]
    shown = subprocess.check_output([*command, "--workspace", str(workspace)], text=True)
    assert shown == f"{run.page}\n"


def test_an_unchanged_run_keeps_its_report(first_run: Any, unchanged_run: Any) -> None:
    assert unchanged_run.result["report"] == first_run.result["report"]
    assert f"Report         {first_run.result['report']}" in unchanged_run.shown


def test_a_refused_run_has_a_report_with_the_reasons(refused_run: Any) -> None:
    refused = ReportedRun(refused_run)
    assert f"Report         {refused.page}" in refused_run.shown
    assert (refused.report.outcome, refused.report.version, refused.report.missing) == ("refused", None, ())
    gates = {gate.name for gate in refused.report.gates if not gate.passed}
    assert "Evaluator" in gates
    assert {reason.partition(":")[0] for reason in refused.report.reasons} == gates
    assert refused.report.evaluation is not None
    assert refused.report.evaluation.overall.accuracy == refused_run.result["test_accuracy"]
    assert len(refused.report.evaluation.mistakes) == 60
    assert refused.page.stat().st_size < 3_000_000
