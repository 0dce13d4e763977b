"""The content of the report of a run, as in `report.json`.

Everything but the run is optional: a run may have failed, or come from an earlier release. `missing` says what is not
there.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

REPORT_STEPS = ("RunReport", "DataReport")
"""The steps that write a report; the second one runs instead of the first one if DataGate refuses the data."""

PEAK_BYTES_PROPERTY = "peak_bytes"
"""Custom property of an execution in ML Metadata: the peak memory of the step, in bytes, if it was measured."""

REPORT_TYPE = "digits.Report"
"""Type of the artifact with a report."""

HTML_FILE = "report.html"
JSON_FILE = "report.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Interval = tuple[float, float]
"""Ends of a 95 % confidence interval."""


class Picture(_Record):
    """An image of the data.

    Attributes:
        image: The image file, a PNG, in base64.
        label: Its class.
    """

    image: str
    label: str


class Histogram(_Record):
    """How the values of a feature are distributed in a split: counts between ascending edges, one more than counts."""

    feature: str
    split: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]


class FeatureStatistics(_Record):
    """TFDV's statistics of a numeric feature in a split."""

    feature: str
    split: str
    count: int
    missing: int
    mean: float
    deviation: float
    lowest: float
    median: float
    highest: float


class Data(_Record):
    """The data of the run.

    Attributes:
        class_counts: Images by split and class.
        samples: A few images of each class, from train.
        anomalies: TFDV's descriptions of anomalies, by feature.
    """

    uri: str
    span: int
    fingerprint: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    class_counts: Mapping[str, Mapping[str, int]]
    samples: tuple[Picture, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    statistics: tuple[FeatureStatistics, ...] = ()
    anomalies: Mapping[str, str] = {}


class Epoch(_Record):
    """Metrics after an epoch; those of train are averages over the epoch, with augmentation."""

    loss: float
    accuracy: float
    eval_loss: float
    eval_accuracy: float


class ClassResult(_Record):
    """Accuracy of a class (its recall) on the test split, and of the baseline.

    Attributes:
        accuracy: 0, with an interval from 0 to 1, if there are no images.
        change: Difference to the baseline.
    """

    name: str
    images: int
    accuracy: float
    interval: Interval
    baseline: float | None = None
    change: float | None = None
    change_interval: Interval | None = None


class CalibrationBin(_Record):
    """Predictions with a confidence between `lower` and `upper`: their mean confidence and their accuracy."""

    lower: float
    upper: float
    images: int
    confidence: float
    accuracy: float


class Mistake(Picture):
    """A wrong prediction with its confidence."""

    prediction: str
    confidence: float


class Evaluation(_Record):
    """Results on the test split.

    Attributes:
        overall: Accuracy of all images, like that of a class.
        classes: Those of the contract, in its order.
        confusion: Images by class (rows) and prediction (columns), in the order of the classes; a last column counts
            images without a prediction. Empty, like `calibration` and `mistakes`, if predictions are missing.
        mistakes: The most confident ones first.
    """

    overall: ClassResult
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float
    num_mistakes: int
    mistakes: tuple[Mistake, ...]


class Requirement(_Record):
    """A finding of a gate; the fields are those of `components.verdict.Finding`, as text where they are shown."""

    metric: str
    slice: str
    feature: str | None = None
    value: float | str | None = None
    interval: Interval | None = None
    bound: str
    baseline: float | None = None
    passed: bool
    reason: str = ""
    setting: str | None = None


class Gate(_Record):
    """The decision of a gate, and what a person has accepted, so that it does not refuse it."""

    name: str
    passed: bool
    enforced: bool
    accepted: tuple[str, ...] = ()
    advice: str
    requirements: tuple[Requirement, ...]


class Latency(_Record):
    """Latency of a signature for one image, in milliseconds."""

    signature: str
    median: float | None = None
    p99: float | None = None


class ChangedSetting(_Record):
    """A setting that differs from its default."""

    name: str
    value: Any
    default: Any


class StepCost(_Record):
    """Time and memory of a step; a step from the cache has those of the run in which it ran.

    Attributes:
        peak_bytes: Peak of the resident memory of the process and its children during the step; None if unknown.
    """

    name: str
    seconds: float
    peak_bytes: int | None = None


class Source(_Record):
    """An artifact that the report was made from: the step that wrote it, its type, and its URI."""

    step: str
    type: str
    uri: str


class Report(_Record):
    """A report.

    Attributes:
        model: Name of the model.
        run_id: The ID that TFX assigned.
        outcome: `pushed`, `refused`, `failed`, `stopped` or `unfinished`.
        reasons: Why the run was refused or failed, one sentence each.
        version: Number of the pushed version.
        baseline_version: Number of the version in production that the model was compared with.
        temperature: Divisor of the logits from the calibration.
        parameters: Number of trained numbers in the network.
        robustness: Accuracy under each corruption, by its name.
        trials: Hyperparameters and eval loss of each trial of a search, if the run used tuned hyperparameters.
        packages: Versions of the software, by name, with Python and this project.
        missing: What the report lacks and why, one sentence each.
    """

    model: str
    run_id: str
    created: datetime
    outcome: str
    reasons: tuple[str, ...] = ()
    version: int | None = None
    baseline_version: int | None = None
    data: Data | None = None
    epochs: tuple[Epoch, ...] = ()
    temperature: float | None = None
    parameters: int | None = None
    evaluation: Evaluation | None = None
    robustness: tuple[ClassResult, ...] = ()
    gates: tuple[Gate, ...] = ()
    latencies: tuple[Latency, ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()
    settings: tuple[ChangedSetting, ...] = ()
    packages: Mapping[str, str] = {}
    steps: tuple[StepCost, ...] = ()
    sources: tuple[Source, ...] = ()
    missing: tuple[str, ...] = ()
