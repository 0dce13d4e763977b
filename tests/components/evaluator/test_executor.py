"""The executor with a tiny model that TFMA loads: its decision and its artifacts."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.components.evaluator import constants
from tfx.components.util.model_utils import is_model_blessed
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing, ModelEvaluation
from tfx.utils.proto_utils import proto_to_json

# isort: split
import tensorflow_model_analysis as tfma

from components.evaluator.bounds import Bound, measurements
from components.evaluator.executor import Executor
from components.evaluator.prediction_files import read_predictions
from components.example_counts import LostExamplesError, write_counts
from components.pusher import gate_record
from components.verdict import Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact
from pipeline.evaluation import eval_config, robustness_eval_config
from registry.provenance import Origin
from registry.publishing import publish
from tests.support.examples import DIGITS, make_examples, serialize

Evaluate = Callable[..., dict[str, Artifact]]

FILE = "Split-test/data_tfrecord-00000-of-00001.gz"


class Guesser(tf.Module):
    """Predicts the same class for every example of a request."""

    def __init__(self, class_id: int, max_rows: int) -> None:
        super().__init__()
        self._max_rows = max_rows
        self._probabilities = tf.one_hot(class_id, 10) * 0.9 + 0.01

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        repeats = [tf.size(examples), 1]
        tf.debugging.assert_less_equal(tf.size(examples), self._max_rows, "too many rows")
        return {
            "classes": tf.tile(tf.constant([DIGITS.classes]), repeats),
            "probabilities": tf.tile(self._probabilities[tf.newaxis], repeats),
        }


def make_artifact(kind: type[Artifact], directory: Path) -> Any:
    artifact = kind()
    artifact.uri = str(directory)
    directory.mkdir(parents=True, exist_ok=True)
    return artifact


def make_model(directory: Path, class_id: int, max_rows: int = 1000) -> Artifact:
    artifact = make_artifact(Model, directory)
    guesser = Guesser(class_id, max_rows)
    tf.saved_model.save(guesser, str(directory / "Format-Serving"), {"examples": guesser.answer})
    return artifact


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Evaluates a model that always predicts the same class, 3, on 40 examples with the given number of threes."""

    def run(
        threes: int,
        baseline: Artifact | None = None,
        enforced: bool = True,
        config: tfma.EvalConfig | None = None,
        bound: Bound | None = None,
        lost: int = 0,
        class_id: int = 3,
        max_rows: int = 1000,
    ) -> dict[str, Artifact]:
        records = [
            serialize(
                image=str(number).encode(),
                label=b"3" if number < threes else b"4",
                corruption=b"fog" if number % 4 else b"blur",
            )
            for number in range(40)
        ]
        examples = make_examples(tmp_path / "examples", DIGITS, {"test": [records]})
        if lost:
            write_counts({FILE: 40, "Split-test/lost.gz": lost}, examples.uri)
        inputs = {"examples": [examples], "model": [make_model(tmp_path / "model", class_id, max_rows)]}
        if baseline:
            inputs["baseline_model"] = [baseline]
        kinds = {"evaluation": ModelEvaluation, "blessing": ModelBlessing, "verdict": VerdictArtifact}
        outputs = {key: make_artifact(kind, tmp_path / key) for key, kind in kinds.items()}
        bound = bound or Bound(metric="accuracy", lower=0.8, max_worsening=0.3)
        properties = {
            "eval_config": proto_to_json(config or eval_config(DIGITS.classes)),
            "example_splits": json.dumps(["test"]),
            "gate": "Evaluator",
            "bounds": json.dumps({"accuracy": bound.model_dump(exclude_none=True)}),
            "advice": "Train longer.",
            "enforced": int(enforced),
        }
        Executor().Do(inputs, {key: [artifact] for key, artifact in outputs.items()}, properties)
        return outputs

    return run


def blessing_files(outputs: dict[str, Artifact]) -> list[str]:
    return [path.name for path in Path(outputs["blessing"].uri).iterdir()]


def test_a_good_model_is_blessed(evaluate: Evaluate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="components.evaluator")
    outputs = evaluate(threes=39)
    assert "processed 40 records" in caplog.text
    verdict = read_verdict(outputs["verdict"].uri)
    assert (verdict.gate, verdict.passed, verdict.advice) == ("Evaluator", True, "Train longer.")
    assert verdict.findings[0].value == pytest.approx(39 / 40)
    assert outputs["verdict"].get_int_custom_property("passed") == 1
    assert is_model_blessed(outputs["blessing"])
    assert blessing_files(outputs) == [constants.BLESSED_FILE_NAME]


def test_a_gate_that_is_switched_off_blesses_any_model_and_says_so(evaluate: Evaluate) -> None:
    outputs = evaluate(threes=1, enforced=False)
    verdict = read_verdict(outputs["verdict"].uri)
    assert (verdict.passed, verdict.enforced, len(verdict.refusals)) == (True, False, 1)
    assert is_model_blessed(outputs["blessing"])
    assert (Path(outputs["verdict"].uri) / "verdict.txt").read_text().startswith("Evaluator: switched off")


def test_a_refusal_does_not_fail_the_step(evaluate: Evaluate) -> None:
    outputs = evaluate(threes=20)
    assert not read_verdict(outputs["verdict"].uri).passed
    assert outputs["verdict"].get_int_custom_property("passed") == 0
    assert not is_model_blessed(outputs["blessing"])
    assert blessing_files(outputs) == [constants.NOT_BLESSED_FILE_NAME]
    assert list(Path(outputs["evaluation"].uri).glob("metrics*"))


def test_the_baseline_is_compared_and_recorded(evaluate: Evaluate, tmp_path: Path) -> None:
    baseline = make_model(tmp_path / "baseline", 4)
    outputs = evaluate(threes=38, baseline=baseline)
    change = next(each for each in read_verdict(outputs["verdict"].uri).findings if each.metric == "change of accuracy")
    assert change.value == pytest.approx(36 / 40)
    assert change.baseline == pytest.approx(2 / 40)
    assert outputs["blessing"].get_string_custom_property("baseline_model") == baseline.uri


@pytest.fixture
def judge(evaluate: Evaluate, tmp_path: Path) -> Callable[..., Verdict]:
    """Evaluates with a baseline that always answers 4, after a push on data with some fours among 40 images."""
    bounds = {"lower": 0.0, "max_worsening": 1.0, "max_new_data_drop": 0.1, "new_data_setting": "evaluation.new"}

    def run(fours_before: int | None, fours_now: int, *, accepted: bool = False, lower: float = 0.0) -> Verdict:
        bound = Bound.model_validate({"metric": "accuracy", **bounds, "lower": lower})
        baseline = make_model(tmp_path / "baseline", 4)
        baseline.set_int_custom_property("accepted", int(accepted))
        if fours_before is not None:
            own = read_verdict(evaluate(threes=40 - fours_before, class_id=4, bound=bound)["verdict"].uri)
            model = tmp_path / "baseline" / "Format-Serving"
            version = publish(model, tmp_path / "serving", {}, Origin(gates=(gate_record(own),)))
            shutil.copytree(version.directory, model, dirs_exist_ok=True)
        return read_verdict(evaluate(threes=40 - fours_now, baseline=baseline, bound=bound)["verdict"].uri)

    return run


def test_data_that_the_baseline_does_not_recognize_is_refused_until_a_person_accepts_it(
    judge: Callable[..., Verdict],
) -> None:
    refused = judge(fours_before=38, fours_now=4)
    [finding] = refused.refusals
    assert (finding.metric, finding.setting) == ("change of baseline accuracy", "evaluation.new")
    assert finding.reason.startswith(
        "the model in production recognizes 10 % of the new test images; it recognized 95 %"
    )
    assert (finding.value, finding.baseline) == (pytest.approx(-0.85), pytest.approx(0.1))
    assert "`digits run --accept-new-data`" in refused.advice
    assert "Train longer." not in refused.advice, "more training would not help"
    accepted = judge(fours_before=None, fours_now=4, accepted=True)
    assert accepted.passed
    assert accepted.accepted == (f"all: {finding.reason}",)


def test_the_advice_is_for_all_that_is_refused(judge: Callable[..., Verdict]) -> None:
    assert judge(fours_before=38, fours_now=4, lower=0.99).advice.endswith("accept_new_data=1. Train longer.")


@pytest.mark.parametrize("fours_before", [37, None], ids=["as before", "version without provenance"])
def test_data_like_that_of_the_baseline_passes(fours_before: int | None, judge: Callable[..., Verdict]) -> None:
    verdict = judge(fours_before, fours_now=36)
    assert (verdict.passed, verdict.accepted, verdict.advice) == (True, (), "Train longer.")
    assert bool(verdict.findings[0].value) == (fours_before is not None)


def test_findings_name_classes_as_the_schema_of_the_examples_does(evaluate: Evaluate) -> None:
    bound = Bound(metric="recall", extent="each class", lower=0.1, max_worsening=0.3)
    findings = read_verdict(evaluate(threes=39, bound=bound)["verdict"].uri).findings
    assert [finding.slice for finding in findings] == [f"class {name}" for name in DIGITS.classes]
    assert [finding.slice for finding in findings if finding.passed] == ["class 3"]


@pytest.mark.parametrize("make_config", [eval_config, robustness_eval_config], ids=["all images", "slices"])
def test_an_example_that_the_model_did_not_see_fails_the_step(
    evaluate: Evaluate, make_config: Callable[..., tfma.EvalConfig]
) -> None:
    message = r"Split-test: 40 examples were read, but 42 were written; .*/lost\.gz: missing or damaged .*run again"
    with pytest.raises(LostExamplesError, match=message):
        evaluate(threes=39, config=make_config(DIGITS.classes), lost=2)


def test_a_batch_that_the_model_refuses_is_halved(evaluate: Evaluate) -> None:
    assert read_verdict(evaluate(threes=39, max_rows=3)["verdict"].uri).findings[0].value == pytest.approx(39 / 40)


def test_an_example_that_the_model_refuses_fails_the_step(evaluate: Evaluate) -> None:
    with pytest.raises(Exception, match="too many rows"):
        evaluate(threes=39, max_rows=0)


def test_a_new_model_in_the_place_of_an_old_one_is_loaded(evaluate: Evaluate) -> None:
    evaluate(threes=39)
    outputs = evaluate(threes=39, class_id=4)
    assert read_verdict(outputs["verdict"].uri).findings[0].value == pytest.approx(1 / 40)


@pytest.mark.parametrize("make_config", [eval_config, robustness_eval_config], ids=["all images", "slices"])
def test_the_predictions_are_those_that_the_metrics_count(
    evaluate: Evaluate, make_config: Callable[..., tfma.EvalConfig], tmp_path: Path
) -> None:
    outputs = evaluate(threes=30, baseline=make_model(tmp_path / "baseline", 4), config=make_config(DIGITS.classes))
    rows = read_predictions(outputs["evaluation"].uri).to_pylist()
    assert len({row["image_id"] for row in rows}) == 40
    assert {(row["prediction"], row["baseline_prediction"]) for row in rows} == {("3", "4")}
    measured = measurements(tfma.load_metrics(outputs["evaluation"].uri))
    for key, measurement in measured.items():
        if key.metric == "accuracy" and key.kind != "change":
            of_slice = [row for row in rows if key.slice in ("", row["corruption"])]
            column = "prediction" if key.kind == "candidate" else "baseline_prediction"
            hits = sum(row["label"] == row[column] for row in of_slice)
            assert hits / len(of_slice) == pytest.approx(measurement.value)


def test_tfma_loads_the_result(evaluate: Evaluate, tmp_path: Path) -> None:
    outputs = evaluate(threes=39, baseline=make_model(tmp_path / "baseline", 4))
    result = tfma.load_eval_result(outputs["evaluation"].uri, model_name="candidate")
    [(slice_key, values)] = result.slicing_metrics
    assert (slice_key, values[""][""]["accuracy"]["boundedValue"]["value"]) == ((), pytest.approx(39 / 40))
    assert result.model_location == str(tmp_path / "model" / "Format-Serving")


@pytest.mark.parametrize("make_config", [eval_config, robustness_eval_config], ids=["all images", "slices"])
def test_metrics_of_tfma_see_single_images(evaluate: Evaluate, make_config: Callable[..., tfma.EvalConfig]) -> None:
    config = make_config(DIGITS.classes)
    config.metrics_specs[0].metrics.append(tfma.MetricConfig(class_name="ExampleCount", config='{"name": "images"}'))
    measured = measurements(tfma.load_metrics(evaluate(threes=39, config=config)["evaluation"].uri))
    assert sum(each.value for key, each in measured.items() if key.metric == "images") == 40


@pytest.mark.slow
def test_an_empty_baseline_is_ignored(evaluate: Evaluate, tmp_path: Path) -> None:
    # Kubeflow does not create its folder.
    baseline = make_artifact(Model, tmp_path / "nothing")
    (tmp_path / "nothing").rmdir()
    outputs = evaluate(threes=39, baseline=baseline)
    assert [finding.metric for finding in read_verdict(outputs["verdict"].uri).findings] == ["accuracy"]
    assert not outputs["blessing"].has_custom_property("baseline_model")
