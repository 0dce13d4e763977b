"""A small classifier of real digits, the nearest mean image of a class, judges digits that were changed."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluator.bounds import Bound, Key, Measurement
from components.evaluator.new_data import check_new_data, judge_new_data, own_results
from components.intervals import share_interval
from components.verdict import Finding, Verdict
from pipeline.settings.gates import EvaluationSettings
from pipeline.settings.settings import PROJECT_ROOT
from registry.provenance import GateRecord, Origin, Provenance

CLASSES = tuple("0123456789")
SETTINGS = EvaluationSettings()
BOUNDS = (
    Bound(metric="accuracy", lower=0, max_worsening=1, max_new_data_drop=SETTINGS.max_new_data_drop),
    Bound(metric="log_loss", upper=9, max_worsening=9),
    Bound(
        metric="recall",
        extent="each class",
        lower=0,
        max_worsening=1,
        max_new_data_drop=SETTINGS.max_new_data_class_drop,
    ),
)

Images = NDArray[np.float64]
Labels = NDArray[np.int64]
Judge = Callable[..., list[Finding]]


def share(hits: NDArray[np.bool_]) -> Measurement:
    count = int(hits.sum())
    return Measurement(count / len(hits) if len(hits) else np.nan, share_interval(count, len(hits)))


def relabeled(labels: Labels, **changes: int) -> Labels:
    """Gives the classes `d…` other labels."""
    renamed = {int(name[1:]): label for name, label in changes.items()}
    return np.array([renamed.get(label, label) for label in labels])


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Labels, Images]:
    """Real images, float[n,28,28], with their labels, and the mean image of each class in others."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        images, labels = arrays["x_test"][:3000] / 255, arrays["y_test"][:3000].astype(np.int64)
    means = np.array([images[2000:][labels[2000:] == label].mean(axis=0) for label in range(len(CLASSES))])
    return images[:2000], labels[:2000], means


@pytest.fixture(scope="module")
def judge(digits: tuple[Images, Labels, Images]) -> Judge:
    """Returns the findings for new data, after the classifier has been measured on the first 1,000 images."""
    _, _, means = digits

    def measure(images: Images, labels: Labels) -> dict[Key, Measurement]:
        # Without the square of the image, which is the same for all classes.
        distances = (means**2).sum(axis=(1, 2)) - 2 * images.reshape(len(images), -1) @ means.reshape(10, -1).T
        hits = distances.argmin(axis=1) == labels
        by_class = {number: share(hits[labels == number]) for number in range(len(CLASSES))}
        return {Key("accuracy", kind="baseline"): share(hits)} | {
            Key("recall", class_id=number, kind="baseline"): measured for number, measured in by_class.items()
        }

    own = {
        (key.metric, "all" if key.class_id is None else f"class {key.class_id}"): measured
        for key, measured in measure(digits[0][:1000], digits[1][:1000]).items()
    }

    def findings(images: Images, labels: Labels, *, accepted: bool = False) -> list[Finding]:
        return list(check_new_data(measure(images, labels), BOUNDS, CLASSES, own, accepted=accepted))

    return findings


def noisy(images: Images) -> Images:
    return images + np.random.default_rng(0).normal(0, 0.3, images.shape)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda images, labels: (images, labels), id="other images"),
        pytest.param(lambda images, labels: (images[:200], labels[:200]), id="fewer images"),
        pytest.param(lambda images, labels: (images[:10], labels[:10]), id="too few images to tell"),
        pytest.param(lambda images, labels: (noisy(images), labels), id="noise"),
        pytest.param(lambda images, labels: (np.roll(images, 1, axis=2), labels), id="shifted by a pixel"),
    ],
)
def test_ordinary_new_data_passes(change: Callable[..., tuple[Images, Labels]], judge: Judge, digits: tuple) -> None:
    found = judge(*change(digits[0][1000:], digits[1][1000:]))
    assert len(found) == 11
    assert [finding for finding in found if not finding.passed] == []


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        pytest.param(lambda images, labels: (images.transpose(0, 2, 1), labels), None, id="transposed"),
        pytest.param(lambda images, labels: (images[:, :, ::-1], labels), None, id="mirrored"),
        pytest.param(lambda images, labels: (images[:, ::-1], labels), None, id="upside down"),
        pytest.param(lambda images, labels: (images[:, ::-1, ::-1], labels), None, id="rotated by 180 degrees"),
        pytest.param(lambda images, labels: (np.rot90(images, 1, (1, 2)), labels), None, id="rotated by 90 degrees"),
        pytest.param(lambda images, labels: (images, (labels + 1) % 10), CLASSES, id="permuted labels"),
        pytest.param(lambda images, labels: (images, np.sort(labels)), CLASSES, id="labels in another order"),
        pytest.param(lambda images, labels: (images, relabeled(labels, d3=6, d6=3)), "36", id="two labels swapped"),
        pytest.param(lambda images, labels: (images, relabeled(labels, d7=1)), "1", id="a class has another label"),
    ],
)
@pytest.mark.parametrize("num_images", [600, 1000])
def test_data_that_contradicts_the_baseline_is_refused(
    change: Callable[..., tuple[Images, Labels]], classes: str | None, num_images: int, judge: Judge, digits: tuple
) -> None:
    found = judge(*change(digits[0][1000 : 1000 + num_images], digits[1][1000 : 1000 + num_images]))
    refused = {finding.slice for finding in found if not finding.passed} - {"all"}
    assert refused == {f"class {name}" for name in classes} if classes else len(refused) >= 4
    overall = found[0]
    assert not overall.passed or classes == "1", "many images of two classes are more than a tenth"
    assert overall.passed or overall.reason == (
        f"the model in production recognizes {100 * (overall.baseline or 0):.3g} % of the new test images; it "
        "recognized 80.4 % of its own: labels or orientation may have changed"
    )


def test_accepted_data_passes_and_says_what_was_accepted(judge: Judge, digits: tuple) -> None:
    found = judge(digits[0][1000:], relabeled(digits[1][1000:], d3=6, d6=3), accepted=True)
    assert all(finding.passed for finding in found)
    assert {finding.slice for finding in found if finding.accepted} == {"all", "class 3", "class 6"}
    [overall, by_class] = Verdict("Evaluator", tuple(found), "").accepted
    assert overall.startswith("all: the model in production recognizes ")
    assert by_class.startswith("class 3, class 6: the model in production recognizes far fewer of these images")
    assert {finding.cells()["decision"] for finding in found} == {"pass", "accepted"}


def test_without_a_baseline_there_is_nothing_to_judge() -> None:
    assert list(check_new_data({Key("accuracy"): share(np.zeros(99, bool))}, BOUNDS, CLASSES, {}, accepted=False)) == []


def test_the_whole_interval_must_be_below_the_limit() -> None:
    exact = Measurement(0.9, (0.9, 0.9))
    few, many = (Measurement(0.7, share_interval(7 * size, 10 * size)) for size in (4, 400))
    assert judge_new_data("recall", "class b", few, exact, 0.1).passed
    refused = judge_new_data("recall", "class b", many, exact, 0.1)
    assert (refused.passed, refused.value, refused.baseline) == (False, pytest.approx(-0.2), 0.7)
    assert refused.interval is not None
    assert refused.interval[1] < -0.1
    vague = Measurement(0.9, share_interval(9, 10))
    assert judge_new_data("recall", "class b", many, vague, 0.1).passed, "its own share may have been luck"


@pytest.mark.parametrize(
    ("new", "own", "reason"),
    [
        (Measurement(0.1, (0.0, 0.2)), None, "not measured: the model in production has no recorded results on"),
        (Measurement(np.nan, (np.nan, np.nan)), Measurement(0.9, (0.8, 1.0)), "not measured: there are no images"),
    ],
    ids=["version from an earlier release", "class without images"],
)
def test_what_is_not_measured_passes_and_says_so(new: Measurement, own: Measurement | None, reason: str) -> None:
    finding = judge_new_data("recall", "class b", new, own, 0.1)
    assert (finding.passed, finding.value) == (True, None)
    assert finding.reason.startswith(reason)


def test_a_version_states_its_own_results() -> None:
    record = GateRecord(
        gate="Evaluator",
        passed=True,
        metrics={"accuracy": {"all": 0.9}, "recall": {"class b": 0.8}},
        intervals={"accuracy": {"all": (0.85, 0.95)}},
    )
    other = GateRecord(gate="RobustnessEvaluator", passed=True, metrics={"accuracy": {"all": 0.1}})
    provenance = Provenance.model_validate(
        {
            "version": 1,
            "published": "2026-01-01T00:00:00Z",
            "rolled_back_to": None,
            "model_fingerprint": "ab",
            "origin": Origin(gates=(record, other)),
            "files": {},
        }
    )
    assert own_results(provenance, "Evaluator") == {
        ("accuracy", "all"): Measurement(0.9, (0.85, 0.95)),
        ("recall", "class b"): Measurement(0.8, (0.8, 0.8)),
    }
    assert own_results(None, "Evaluator") == {}
