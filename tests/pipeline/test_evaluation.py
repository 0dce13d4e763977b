"""The gate on made-up predictions: TFMA computes and validates, as in a run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import Evaluation, eval_config, read_evaluation, refusals

# isort: split
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto.validation_result_pb2 import ValidationResult

from pipeline.settings import EvaluationSettings

IMAGES_PER_DIGIT = 50


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Evaluation]:
    """Evaluates predictions of which the given number per digit are wrong."""

    def evaluate(settings: EvaluationSettings, wrong: dict[int, int]) -> Evaluation:
        labels = np.repeat(np.arange(10), IMAGES_PER_DIGIT)
        predicted = labels.copy()
        for digit, count in wrong.items():
            predicted[digit * IMAGES_PER_DIGIT : digit * IMAGES_PER_DIGIT + count] = (digit + 1) % 10
        probabilities = np.full((len(labels), 10), 0.02)
        probabilities[np.arange(len(labels)), predicted] = 0.82
        frame = pd.DataFrame({"label": labels, "probabilities": list(probabilities)})
        # As TFX's Evaluator does where there is no baseline.
        config = tfma.utils.update_eval_config_with_defaults(
            eval_config(settings), has_baseline=False, rubber_stamp=True
        )
        tfma.analyze_raw_data(frame, config, output_path=str(tmp_path))
        return read_evaluation(str(tmp_path))

    return evaluate


SETTINGS = EvaluationSettings(min_accuracy=0.95, min_digit_accuracy=0.9)


def test_a_good_model_passes(evaluate: Callable[..., Evaluation]) -> None:
    evaluation = evaluate(SETTINGS, {3: 2})
    assert evaluation.accuracy == pytest.approx(498 / 500)
    assert evaluation.digit_accuracy == pytest.approx({**dict.fromkeys(range(10), 1.0), 3: 48 / 50})
    assert evaluation.refusals == ()


def test_one_weak_digit_is_enough_to_refuse(evaluate: Callable[..., Evaluation]) -> None:
    evaluation = evaluate(SETTINGS, {7: 6})
    assert evaluation.accuracy > 0.95
    assert [str(refusal) for refusal in evaluation.refusals] == [
        "accuracy on digit 7 is 0.8800, at least 0.9000 is allowed"
    ]


def test_low_accuracy_is_refused_though_every_digit_is_good_enough(evaluate: Callable[..., Evaluation]) -> None:
    evaluation = evaluate(SETTINGS, dict.fromkeys(range(10), 4))
    assert [str(refusal) for refusal in evaluation.refusals] == [
        "accuracy on all of test is 0.9200, at least 0.9500 is allowed"
    ]


def test_the_bounds_on_change_are_the_settings() -> None:
    thresholds = (
        eval_config(EvaluationSettings(max_accuracy_drop=0.01, max_digit_drop=0.03)).metrics_specs[0].metrics[0]
    )
    drops = {
        tuple(spec.feature_keys): threshold.threshold.change_threshold.absolute.value
        for threshold in thresholds.per_slice_thresholds
        for spec in threshold.slicing_specs
    }
    assert drops == {(): -0.01, ("label",): -0.03}


def test_a_fall_below_the_baseline_is_named() -> None:
    result = ValidationResult()
    validation = result.metric_validations_per_slice.add()
    validation.slice_key.single_slice_keys.add(column="label", int64_value=4)
    failure = validation.failures.add()
    failure.metric_key.name = "accuracy"
    failure.metric_key.is_diff = True
    failure.metric_value.double_value.value = -0.02
    failure.metric_threshold.change_threshold.absolute.value = -0.01
    assert [str(refusal) for refusal in refusals(result)] == [
        "change of accuracy against the baseline on digit 4 is -0.0200, at least -0.0100 is allowed"
    ]
