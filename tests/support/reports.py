"""Reports with made-up content: every number is different, so that a test notices a wrong one."""

import base64
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from components.run_report.report import (
    CalibrationBin,
    ChangedSetting,
    ClassResult,
    Data,
    Epoch,
    Evaluation,
    FeatureStatistics,
    Gate,
    Histogram,
    Latency,
    Mistake,
    Picture,
    Report,
    Requirement,
    Source,
    StepCost,
)

RUN_ID = "2026-11-28T01:07:48.309420"
CREATED = datetime(2026, 11, 28, 1, 12, tzinfo=UTC)


def empty_report(**fields: Any) -> Report:
    """A report of a run about which nothing else is known."""
    return Report(**{"model": "digits", "run_id": RUN_ID, "created": CREATED, "outcome": "failed", **fields})


def full_report(classes: Sequence[str] = ("0", "1", "2"), **fields: Any) -> Report:
    """A report with all parts; `fields` replace some."""
    return empty_report(
        **{
            "outcome": "pushed",
            "version": 1795828339,
            "baseline_version": 1795741201,
            "data": make_data(classes),
            "epochs": (
                Epoch(loss=1.2345, accuracy=0.8123, eval_loss=0.6789, eval_accuracy=0.9456),
                Epoch(loss=0.7651, accuracy=0.9521, eval_loss=0.5432, eval_accuracy=0.9765),
            ),
            "temperature": 1.0437,
            "parameters": 113_386,
            "evaluation": make_evaluation(classes),
            "robustness": (make_result("zigzag", 1003, 0.9382), make_result("fog", 1004, 0.9881)),
            "gates": (make_gate("DataGate"), make_gate("Evaluator")),
            "latencies": (
                Latency(signature="serving_default", median=1.3919, p99=2.8639),
                Latency(signature="pixels", median=0.9343, p99=1.3028),
            ),
            "trials": ({"learning_rate": 0.0123, "width": 48, "eval_loss": 0.0321},),
            "settings": (ChangedSetting(name="trainer.epochs", value=7, default=15),),
            "packages": {"Python": "3.11.7", "tensorflow": "2.21.0"},
            "steps": (
                StepCost(name="Trainer", seconds=141.0, peak_bytes=2_930_000_000),
                StepCost(name="Pusher", seconds=0.9),
            ),
            "sources": (Source(step="Trainer", type="Model", uri="/workspace/pipeline_root/Trainer/model/8"),),
            **fields,
        }
    )


def make_data(classes: Sequence[str], shape: tuple[int, int, int] = (28, 27, 1), samples: int = 2) -> Data:
    return Data(
        uri="/data/mnist.npz",
        span=17,
        fingerprint="af00f6debd31",
        image_shape=shape,
        classes=tuple(classes),
        class_counts={
            "train": {name: 5001 + index for index, name in enumerate(classes)},
            "eval": {name: 401 + index for index, name in enumerate(classes)},
        },
        samples=tuple(Picture(image=make_png(shape), label=name) for name in classes for _ in range(samples)),
        histograms=(
            Histogram(feature="brightness_mean", split="train", edges=(0, 50, 100), counts=(30, 70)),
            Histogram(feature="brightness_mean", split="eval", edges=(0, 50, 100), counts=(4, 6)),
        ),
        statistics=(
            FeatureStatistics(
                feature="brightness_mean",
                split="train",
                count=15_123,
                missing=11,
                mean=33.1234,
                deviation=11.2345,
                lowest=1.5432,
                median=32.7654,
                highest=98.8765,
            ),
        ),
        anomalies={"ink_center_x": "far from the center"},
    )


def make_evaluation(classes: Sequence[str]) -> Evaluation:
    """The mistakes of each class are answers with the next one; one image of the first class has no answer."""
    results = [make_result(name, 900 + index, 0.99 - index / 997) for index, name in enumerate(classes)]
    size = len(classes)
    confusion = [[0] * (size + 1) for _ in classes]
    for index in range(size):
        confusion[index][index] = 800 + index
        confusion[index][(index + 1) % size] = 21 + index
    confusion[0][size] = 1
    return Evaluation(
        overall=make_result("all", 10_012, 0.9966),
        classes=tuple(results),
        confusion=tuple(map(tuple, confusion)),
        calibration=(
            CalibrationBin(lower=0, upper=0.25, images=0, confidence=0, accuracy=0),
            CalibrationBin(lower=0.25, upper=0.5, images=13, confidence=0.4321, accuracy=0.3987),
            CalibrationBin(lower=0.5, upper=1, images=9876, confidence=0.9912, accuracy=0.9934),
        ),
        calibration_error=0.0013,
        num_mistakes=34,
        mistakes=(
            Mistake(image=make_png(), label=classes[0], prediction=classes[1], confidence=0.9871),
            Mistake(image=make_png(), label=classes[1], prediction="", confidence=0.4567),
        ),
    )


def make_result(name: str, images: int, accuracy: float) -> ClassResult:
    return ClassResult(
        name=name,
        images=images,
        accuracy=accuracy,
        interval=(accuracy - 0.0111, accuracy + 0.0022),
        baseline=accuracy + 0.0033,
        change=-0.0033,
        change_interval=(-0.0123, 0.0057),
    )


def make_gate(name: str, *, passed: bool = True, enforced: bool = True) -> Gate:
    requirements = (
        Requirement(
            metric="accuracy",
            slice="all",
            value=0.9917,
            interval=(0.9887, 0.9942),
            bound="≥ 0.9800",
            baseline=0.9931,
            passed=True,
            setting="evaluation.min_accuracy",
        ),
        Requirement(metric="loader", slice="export", value="loaded", bound="loaded", passed=True),
        Requirement(
            metric="recall",
            slice="class 2",
            value=0.8765,
            bound="≥ 0.9700",
            passed=passed,
            reason="" if passed else "low",
        ),
    )
    return Gate(
        name=name, passed=passed or not enforced, enforced=enforced, advice="Train longer.", requirements=requirements
    )


def make_png(shape: tuple[int, int, int] = (28, 28, 1)) -> str:
    """A small picture in base64."""
    file = io.BytesIO()
    Image.new("L" if shape[2] == 1 else "RGB", (shape[1], shape[0]), 99).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
