"""The gates on synthetic predictions: TFMA measures them, and the bounds of the settings decide."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluator.bounds import Bound, check_bounds, measurements
from components.features import CORRUPTION_KEY
from components.robustness.corruptions import CORRUPTIONS
from components.verdict import Finding
from pipeline import evaluation
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from tests.support.examples import DIGITS

# isort: split
import tensorflow_model_analysis as tfma

CLASSES = DIGITS.classes
IMAGES_PER_CLASS = 200
LABELS = np.repeat(np.arange(len(CLASSES)), IMAGES_PER_CLASS)
SETTINGS = EvaluationSettings(
    min_accuracy=0.95,
    min_class_accuracy=0.8,
    max_accuracy_drop=0.02,
    max_class_drop=0.08,
    max_calibration_error=0.05,
    max_calibration_error_rise=0.05,
    # Synthetic mistakes have a high confidence.
    max_log_loss=5,
    max_log_loss_rise=5,
)
ROBUSTNESS = RobustnessSettings(min_mean_accuracy=0.8, min_accuracy=0.6)

Judge = Callable[..., list[Finding]]


def answers(labels: np.ndarray, wrong: Iterable[int], confidence: float = 0.99) -> list[np.ndarray]:
    """Creates probabilities float[n,10] that are correct except for the images with the indices `wrong`."""
    predicted = labels.copy()
    numbers = np.array(list(wrong), dtype=int)
    # The mistakes are spread over all other classes, so that no precision drops much.
    predicted[numbers] = (predicted[numbers] + 1 + np.arange(len(numbers)) % (len(CLASSES) - 1)) % len(CLASSES)
    probabilities = np.full((len(labels), len(CLASSES)), (1 - confidence) / (len(CLASSES) - 1))
    probabilities[np.arange(len(labels)), predicted] = confidence
    return list(probabilities)


def names(labels: np.ndarray) -> list[bytes]:
    """Returns the names of classes as they are in raw examples."""
    return [CLASSES[label].encode() for label in labels]


def of_class(class_id: int, count: int) -> range:
    """Returns the indices of the first images of a class."""
    return range(class_id * IMAGES_PER_CLASS, class_id * IMAGES_PER_CLASS + count)


@pytest.fixture
def refusals(tmp_path: Path) -> Judge:
    """Evaluates data with the columns `label`, `probabilities` and, for a baseline, `baseline`."""

    def refusals(frame: pd.DataFrame, config: tfma.EvalConfig, bounds: Mapping[str, Bound]) -> list[Finding]:
        has_baseline = "baseline" in frame
        # Like TFX's Evaluator.
        config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=has_baseline, rubber_stamp=True)
        for spec in config.model_specs:
            spec.signature_name = ""
            spec.prediction_key = "baseline" if spec.is_baseline else "probabilities"
        tfma.analyze_raw_data(frame, config, output_path=str(tmp_path))
        findings = check_bounds(measurements(tfma.load_metrics(str(tmp_path))), bounds.values(), CLASSES)
        return [finding for finding in findings if not finding.passed]

    return refusals


def named(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.metric, finding.slice) for finding in findings]


@pytest.fixture
def clean_refusals(refusals: Judge) -> Judge:
    """Returns the refusals of Evaluator for a model that is wrong on the given images."""

    def judge_clean(
        wrong: Iterable[int], baseline_wrong: Iterable[int] | None = None, confidence: float = 0.99
    ) -> list[Finding]:
        frame = pd.DataFrame({"label": names(LABELS), "probabilities": answers(LABELS, wrong, confidence)})
        if baseline_wrong is not None:
            frame["baseline"] = answers(LABELS, baseline_wrong)
        return refusals(frame, evaluation.eval_config(CLASSES), evaluation.bounds(SETTINGS))

    return judge_clean


def test_a_model_that_fails_on_one_class_is_refused_for_that_class(clean_refusals: Judge) -> None:
    refused = clean_refusals(of_class(7, 36))
    assert named(refused) == [("recall", "class 7")]
    assert refused[0].value == pytest.approx(1 - 36 / IMAGES_PER_CLASS)


@pytest.mark.slow
def test_too_many_mistakes_are_refused_even_if_every_class_passes(clean_refusals: Judge) -> None:
    wrong = [number for class_id in range(len(CLASSES)) for number in of_class(class_id, 12)]
    refused = named(clean_refusals(wrong))
    assert ("accuracy", "all") in refused
    assert not {metric for metric, _ in refused} & {"recall", "precision"}


def test_a_badly_calibrated_model_is_refused(clean_refusals: Judge) -> None:
    assert named(clean_refusals([], confidence=0.9)) == [("expected_calibration_error", "all")]


@pytest.mark.slow
def test_a_model_as_good_as_the_baseline_passes(clean_refusals: Judge) -> None:
    """A few random mistakes do not stop a release."""
    assert clean_refusals([*of_class(3, 5), *of_class(8, 2)], baseline_wrong=[*of_class(3, 2), *of_class(1, 3)]) == []


@pytest.mark.slow
def test_a_model_that_is_worse_than_the_baseline_on_one_class_only_is_refused(clean_refusals: Judge) -> None:
    refused = clean_refusals(of_class(4, 24), baseline_wrong=of_class(9, 2))
    assert ("change of recall", "class 4") in named(refused)
    assert ("recall", "class 4") not in named(refused), "it passes without the baseline"


@pytest.mark.slow
def test_a_model_that_is_worse_than_the_baseline_on_all_classes_is_refused(clean_refusals: Judge) -> None:
    wrong = [number for class_id in range(len(CLASSES)) for number in of_class(class_id, 6)]
    refused = {finding.metric: finding for finding in clean_refusals(wrong, baseline_wrong=of_class(0, 4))}
    change = refused["change of accuracy"]
    assert change.value == pytest.approx(-56 / len(LABELS))
    assert "56 images newly wrong, 0 newly right" in change.reason
    assert "accuracy" not in refused


@pytest.mark.slow
def test_models_are_compared_on_the_same_images(clean_refusals: Judge) -> None:
    """With the same number of mistakes on other images, the change is zero but less certain."""
    wrong, others = of_class(0, 30), of_class(1, 30)
    same, different = (clean_refusals(wrong, baseline_wrong=baseline) for baseline in (wrong, others))
    assert not [finding for finding in same if finding.metric.startswith("change")]
    assert ("change of recall", "class 0") in named(different)


@pytest.fixture
def robustness_refusals(refusals: Judge) -> Judge:
    """Returns the refusals of RobustnessEvaluator for a model with the given numbers of mistakes in 100 images."""

    def judge_robustness(wrong: dict[str, int], leave_out: str = "") -> list[Finding]:
        parts = []
        for name in CORRUPTIONS:
            labels = np.arange(100) % len(CLASSES)
            part = pd.DataFrame({"label": names(labels), "probabilities": answers(labels, range(wrong.get(name, 0)))})
            parts.append(part.assign(**{CORRUPTION_KEY: name}))
        frame = pd.concat(part for part in parts if part[CORRUPTION_KEY].iloc[0] != leave_out)
        return refusals(frame, evaluation.robustness_eval_config(CLASSES), evaluation.robustness_bounds(ROBUSTNESS))

    return judge_robustness


@pytest.mark.slow
def test_a_robust_model_passes(robustness_refusals: Judge) -> None:
    assert robustness_refusals({"fog": 20, "stripe": 25}) == []


@pytest.mark.slow
def test_a_model_that_fails_on_one_corruption_is_refused_for_it(robustness_refusals: Judge) -> None:
    assert named(robustness_refusals({"fog": 60})) == [("accuracy", "fog")]


def test_a_missing_corruption_is_refused(robustness_refusals: Judge) -> None:
    assert named(robustness_refusals({}, leave_out="zigzag")) == [("accuracy", "mean of 15"), ("accuracy", "zigzag")]


def test_the_bounds_are_those_of_the_settings() -> None:
    settings = EvaluationSettings(
        min_accuracy=0.1,
        max_accuracy_drop=0.2,
        min_class_accuracy=0.3,
        max_class_drop=0.4,
        max_log_loss=0.5,
        max_log_loss_rise=0.6,
        max_calibration_error=0.7,
        max_calibration_error_rise=0.8,
    )
    bounds = [
        (bound.metric, bound.lower, bound.upper, bound.max_worsening) for bound in evaluation.bounds(settings).values()
    ]
    assert bounds == [
        ("accuracy", 0.1, None, 0.2),
        ("recall", 0.3, None, 0.4),
        ("precision", 0.3, None, 0.4),
        ("log_loss", None, 0.5, 0.6),
        ("expected_calibration_error", None, 0.7, 0.8),
    ]
