"""DataGate refuses each kind of bad data, and TFX's launcher and cache use the baseline of its driver."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_metadata.proto.metadata_store_pb2 import Execution
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.data_gate.component import DataGate
from components.data_gate.limits import DataLimits
from components.verdict import Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact

Split = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray, np.ndarray], Split]
Rule = tuple[str, str | None]

LABEL_SKEW = ("skew from train, L-infinity", "label")
LABEL_DRIFT = ("drift, L-infinity", "label")
BACKGROUND = ("share of zeros (background)", "background_share")
INK = ("share of 255 (ink)", "saturated_share")
RAREST = ("examples of the rarest class", "label")
LABEL_DOMAIN = ("schema", "label")
INK_FEATURES = ("ink_top", "ink_left", "ink_bottom", "ink_right", "ink_center_y", "ink_center_x")
NO_INK = {("schema", feature) for feature in INK_FEATURES}
CONTRAST, COVERAGE, ROW, COLUMN = "brightness_deviation", "background_share", "ink_center_y", "ink_center_x"
ALL = (CONTRAST, COVERAGE, ROW, COLUMN)


def distance(comparison: str, features: Sequence[str]) -> set[Rule]:
    return {(f"{comparison}, Jensen-Shannon", feature) for feature in features}


@pytest.fixture
def artifact(tmp_path: Path) -> VerdictArtifact:
    verdict = VerdictArtifact()
    verdict.uri = str(tmp_path / "verdict")
    Path(verdict.uri).mkdir()
    return verdict


@pytest.fixture
def judge(
    describe: Any, good_statistics: Any, make_inputs: Any, artifact: VerdictArtifact, tmp_path: Path
) -> Callable[..., Verdict]:
    """Runs the gate on good data with the given splits replaced."""

    def run(splits: Mapping[str, Split], limits: DataLimits = DataLimits()) -> Verdict:  # noqa: B008 (frozen)
        changed = {split: describe(*images_and_labels) for split, images_and_labels in splits.items()}
        inputs = {key: one for key, [one] in make_inputs({**good_statistics, **changed}).items()}
        serving_directory = str(tmp_path / "serving")
        DataGate.test_call(
            **inputs,
            verdict=artifact,
            limits=limits.model_dump_json(),
            advice="Inspect it.",
            serving_directory=serving_directory,
        )
        return read_verdict(artifact.uri)

    return run


def refusals(verdict: Verdict) -> dict[Rule, set[str]]:
    refused: dict[Rule, set[str]] = {}
    for finding in (each for each in verdict.findings if not each.passed):
        refused.setdefault((finding.metric, finding.feature), set()).add(finding.slice)
    return refused


def inverted(images: np.ndarray, labels: np.ndarray) -> Split:
    return 255 - images, labels


def shifted(constant: int) -> Change:
    def shift(images: np.ndarray, labels: np.ndarray) -> Split:
        return np.clip(images.astype(np.int64) + constant, 0, 255).astype(np.uint8), labels

    return shift


def wrapped(images: np.ndarray, labels: np.ndarray) -> Split:
    return images + np.uint8(20), labels


def scaled_to_one(images: np.ndarray, labels: np.ndarray) -> Split:
    return (images / 255).round().astype(np.uint8), labels


def faded(images: np.ndarray, labels: np.ndarray) -> Split:
    return images // 2, labels


def black_and_white(images: np.ndarray, labels: np.ndarray) -> Split:
    return np.where(images < 128, 0, 255).astype(np.uint8), labels


def moved_down(images: np.ndarray, labels: np.ndarray) -> Split:
    return np.roll(images, 1, axis=1), labels


def mirrored(images: np.ndarray, labels: np.ndarray) -> Split:
    return images[:, :, ::-1], labels


def some(change: Change, share: int) -> Change:
    """Changes every image of this number."""

    def change_some(images: np.ndarray, labels: np.ndarray) -> Split:
        changed = images.copy()
        changed[::share] = change(images[::share], labels[::share])[0]
        return changed, labels

    return change_some


def blank(images: np.ndarray, labels: np.ndarray) -> Split:
    return np.zeros_like(images), labels


def without_seven(images: np.ndarray, labels: np.ndarray) -> Split:
    return images[labels != 7], labels[labels != 7]


def narrow(images: np.ndarray, labels: np.ndarray) -> Split:
    return images[:, :, :27], labels


def twice_the_ones(images: np.ndarray, labels: np.ndarray) -> Split:
    chosen = np.concatenate([np.arange(len(labels)), np.flatnonzero(labels == 1)])
    return images[chosen], labels[chosen]


def labels_from_one(images: np.ndarray, labels: np.ndarray) -> Split:
    return images, labels + 1


def labels_shuffled(images: np.ndarray, labels: np.ndarray) -> Split:
    return images, np.random.default_rng(0).permutation(labels)


def fashion_like(images: np.ndarray, labels: np.ndarray) -> Split:
    """Pixels of Fashion-MNIST's distribution: half of them 0, of mean 73 and standard deviation 90 (published)."""
    random = np.random.default_rng(0)
    drawn = 1 + 254 * random.beta(1.32, 0.98, images.shape)
    return np.where(random.random(images.shape) < 0.5, 0, drawn.round()).astype(np.uint8), labels


def test_good_data_passes(judge: Callable[..., Verdict], artifact: VerdictArtifact) -> None:
    verdict = judge({})
    assert verdict.passed
    assert artifact.get_int_custom_property("passed") == 1
    values = {(finding.metric, finding.slice): finding.value for finding in verdict.findings}
    distances = {
        float(finding.value or 0)
        for finding in verdict.findings
        if "Jensen" in finding.metric and "skew" in finding.metric
    }
    assert values["examples", "train"] == 1500
    assert values["examples of the rarest class", "eval"] == 30
    assert values["share of zeros (background)", "test"] == pytest.approx(0.81, abs=0.02)
    assert values["share of 255 (ink)", "test"] == pytest.approx(0.007, abs=0.002)
    assert len(distances) == 2 * len(ALL)
    assert 0 < max(distances) < 0.05


def test_good_data_passes_next_to_similar_earlier_data(
    judge: Callable[..., Verdict], push: Any, good_statistics: Any
) -> None:
    push(17, good_statistics["eval"])
    verdict = judge({})
    assert verdict.passed
    drift = {
        finding.feature: float(finding.value or 0) for finding in verdict.findings if finding.metric.startswith("drift")
    }
    assert drift["label"] == 0
    assert all(0 < drift[feature] < 0.05 for feature in ALL)


@pytest.mark.parametrize(
    ("pushed", "reason"),
    [
        pytest.param([], "no earlier data to compare with", id="nothing pushed"),
        pytest.param(["train"], "no earlier data to compare with", id="only this data"),
        pytest.param(["train", None], "no earlier data to compare with", id="this data and unknown data"),
        pytest.param([None], "no pushed version has statistics of its data", id="only unknown data"),
    ],
)
def test_without_earlier_data_drift_passes_and_says_why(
    pushed: list[str | None], reason: str, judge: Callable[..., Verdict], push: Any, good_statistics: Any
) -> None:
    for number, split in enumerate(pushed):
        push(number, good_statistics[split] if split else None)
    drift = [finding for finding in judge({}).findings if finding.metric.startswith("drift")]
    assert {(finding.feature, finding.passed, finding.value, finding.reason) for finding in drift} == {
        (feature, True, None, reason) for feature in ("label", *ALL)
    }


@pytest.mark.parametrize(
    "replacement",
    [
        pytest.param(None, id="an earlier release"),
        pytest.param(('value: "0"', ""), id="fewer classes"),
        pytest.param(("height: 28", "height: 29"), id="another size"),
    ],
)
def test_data_of_another_contract_is_not_compared(
    replacement: tuple[str, str] | None,
    judge: Callable[..., Verdict],
    push: Any,
    good_splits: Mapping[str, Split],
    describe: Any,
    schema_text: str,
) -> None:
    push(17, describe(*inverted(*good_splits["train"])), schema_text.replace(*replacement) if replacement else None)
    verdict = judge({})
    assert verdict.passed
    drift = [finding for finding in verdict.findings if finding.metric.startswith("drift")]
    assert {(finding.value, finding.reason) for finding in drift} == {(None, "no earlier data of this contract")}


@pytest.mark.parametrize("content", [b"", b"not statistics"])
def test_damaged_statistics_of_a_version_are_named(
    content: bytes, judge: Callable[..., Verdict], push: Any, good_statistics: Any
) -> None:
    file = push(3, good_statistics["eval"]) / "assets.extra" / "train_statistics.pb"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"3/assets.extra/train_statistics.pb: damaged: expected the statistics of"):
        judge({})


@pytest.mark.parametrize(
    ("change", "own_rules", "drifts"),
    [
        pytest.param(inverted, {BACKGROUND}, (ROW, COLUMN), id="inverted"),
        pytest.param(shifted(1), {BACKGROUND}, (), id="1 added"),
        pytest.param(shifted(20), {BACKGROUND}, (ROW, COLUMN), id="20 added"),
        pytest.param(shifted(60), {BACKGROUND}, (CONTRAST, ROW, COLUMN), id="60 added"),
        pytest.param(wrapped, {BACKGROUND, INK}, (CONTRAST, ROW, COLUMN), id="20 added, wrapped around"),
        pytest.param(shifted(-20), {INK}, (), id="20 subtracted"),
        pytest.param(faded, {INK}, (CONTRAST,), id="half the brightness"),
        pytest.param(scaled_to_one, {INK} | NO_INK, (CONTRAST, COVERAGE), id="scaled to 0 to 1"),
        pytest.param(blank, {INK} | NO_INK, (CONTRAST, COVERAGE), id="blank"),
        pytest.param(some(blank, 10), NO_INK, (), id="a tenth blank"),
        pytest.param(some(inverted, 10), set(), (COVERAGE,), id="a tenth inverted"),
        pytest.param(black_and_white, set(), (CONTRAST, COVERAGE, ROW), id="black and white"),
        pytest.param(moved_down, set(), (ROW,), id="moved down"),
        pytest.param(mirrored, set(), (COLUMN,), id="mirrored"),
        pytest.param(without_seven, {RAREST}, (), id="no 7"),
        pytest.param(narrow, {("schema", "width")}, (COLUMN,), id="28x27"),
        pytest.param(labels_from_one, {LABEL_DOMAIN, RAREST}, (), id="1 to 10"),
        pytest.param(twice_the_ones, set(), (), id="label distribution drifted"),
        pytest.param(fashion_like, set(), ALL, id="like Fashion-MNIST"),
        pytest.param(labels_shuffled, set(), (), id="labels shuffled: only the gates of the model see it"),
    ],
)
@pytest.mark.parametrize("has_baseline", [False, True], ids=["first run", "later run"])
def test_errors_in_all_splits(
    change: Change,
    own_rules: set[Rule],
    drifts: Sequence[str],
    has_baseline: bool,
    judge: Callable[..., Verdict],
    push: Any,
    good_splits: Mapping[str, Split],
    good_statistics: Any,
    artifact: VerdictArtifact,
) -> None:
    if has_baseline:
        push(17, good_statistics["train"])
    verdict = judge({split: change(*images_and_labels) for split, images_and_labels in good_splits.items()})
    expected = {rule: {"train", "eval", "test"} for rule in own_rules}
    if has_baseline:
        expected |= {rule: {"train"} for rule in distance("drift", drifts)}
        if change is twice_the_ones:
            expected[LABEL_DRIFT] = {"train"}
    assert refusals(verdict) == expected
    assert artifact.get_int_custom_property("passed") == int(not expected)


@pytest.mark.parametrize("split", ["eval", "test"])
@pytest.mark.parametrize(
    ("change", "rules", "skews"),
    [
        pytest.param(inverted, {BACKGROUND}, (ROW, COLUMN), id="inverted"),
        pytest.param(shifted(20), {BACKGROUND}, (ROW, COLUMN), id="20 added"),
        pytest.param(fashion_like, set(), ALL, id="like Fashion-MNIST"),
        pytest.param(blank, {INK} | NO_INK, (CONTRAST, COVERAGE), id="blank"),
        pytest.param(mirrored, set(), (COLUMN,), id="mirrored"),
        pytest.param(without_seven, {RAREST}, (), id="no 7"),
        pytest.param(twice_the_ones, {LABEL_SKEW}, (), id="label distribution differs"),
    ],
)
def test_errors_in_one_split(
    change: Change,
    rules: set[Rule],
    skews: Sequence[str],
    split: str,
    judge: Callable[..., Verdict],
    good_splits: Mapping[str, Split],
) -> None:
    expected = rules | distance("skew from train", skews)
    assert refusals(judge({split: change(*good_splits[split])})) == {rule: {split} for rule in expected}


@pytest.mark.parametrize(
    ("change", "own_rules", "skews"),
    [
        pytest.param(inverted, {BACKGROUND}, distance("skew from train", (ROW, COLUMN)), id="inverted"),
        pytest.param(blank, {INK} | NO_INK, distance("skew from train", (CONTRAST, COVERAGE)), id="blank"),
        pytest.param(twice_the_ones, set(), {LABEL_SKEW}, id="label distribution differs"),
    ],
)
def test_errors_in_train_make_the_other_splits_differ_from_it(
    change: Change,
    own_rules: set[Rule],
    skews: set[Rule],
    judge: Callable[..., Verdict],
    good_splits: Mapping[str, Split],
) -> None:
    verdict = judge({"train": change(*good_splits["train"])})
    assert refusals(verdict) == {rule: {"train"} for rule in own_rules} | {rule: {"eval", "test"} for rule in skews}


def test_one_cause_is_few_refusals(
    judge: Callable[..., Verdict], push: Any, good_splits: Mapping[str, Split], good_statistics: Any
) -> None:
    push(17, good_statistics["train"])
    verdict = judge({split: inverted(*images_and_labels) for split, images_and_labels in good_splits.items()})
    assert [(finding.metric, finding.slice, finding.feature) for finding in verdict.refusals] == [
        ("share of zeros (background)", "train, eval, test", "background_share"),
        ("drift, Jensen-Shannon", "train", "ink_center_y, ink_center_x"),
    ]


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_too_few_examples(split: str, judge: Callable[..., Verdict], good_splits: Mapping[str, Split]) -> None:
    limits = DataLimits.model_validate({f"min_{split}_class_examples": 1})
    few = getattr(limits, f"min_{split}_examples") - 10
    images, labels = good_splits[split]
    chosen = np.argsort(labels, kind="stable").reshape(10, -1)[:, : few // 10].ravel()
    verdict = judge({split: (images[chosen], labels[chosen])}, limits)
    [finding] = verdict.refusals
    assert (finding.metric, finding.slice, finding.value) == ("examples", split, few)
    assert (finding.reason, finding.setting) == ("too few examples", f"data_gate.min_{split}_examples")


def test_a_gate_that_is_switched_off_measures_and_passes(judge: Callable[..., Verdict]) -> None:
    limits = DataLimits(min_train_examples=10**9, enforced=False)
    verdict = judge({}, limits)
    assert verdict.passed
    assert not verdict.enforced
    assert [finding.setting for finding in verdict.refusals] == ["data_gate.min_train_examples"]


def test_the_table_of_a_refusal(
    judge: Callable[..., Verdict], push: Any, good_splits: Mapping[str, Split], good_statistics: Any, tmp_path: Path
) -> None:
    push(17, good_statistics["train"])
    verdict = judge({split: inverted(*images_and_labels) for split, images_and_labels in good_splits.items()})
    lines = (tmp_path / "verdict" / "verdict.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "DataGate: REFUSED"
    assert lines[2].split() == ["feature", "split", "rule", "observed", "allowed", "decision", "reason", "setting"]
    rows = [" ".join(line.split()) for line in lines]
    rule = re.escape("share of zeros (background)")
    reason = re.escape("too few pixels are 0 (background): the images may be inverted, or a constant was added to them")
    assert any(
        re.fullmatch(rf"background_share test {rule} 0\.00\d\d ≥ 0\.2500 REFUSE {reason} data_gate.min_background", row)
        for row in rows
    )
    assert "label eval skew from train, L-infinity 0 ≤ 0.0800 pass" in rows
    reason = "the distribution differs from that of version 17, the last data that passed"
    assert f"ink_center_y train drift, Jensen-Shannon 1 ≤ 0.0700 REFUSE {reason}" in rows
    assert verdict.advice == "Inspect it."


def test_contract() -> None:
    inputs = {"statistics": ExampleStatistics, "schema": Schema, "anomalies": ExampleAnomalies}
    step = DataGate(
        **{key: Channel(type=kind) for key, kind in inputs.items()},
        limits=DataLimits(min_saturated=0.1).model_dump_json(),
        advice="Inspect it.",
        serving_directory="serving/digits",
    )
    assert {key: channel.type for key, channel in step.inputs.items()} == inputs
    assert {key: channel.type for key, channel in step.outputs.items()} == {"verdict": VerdictArtifact}
    assert json.loads(step.exec_properties.pop("limits")) == DataLimits(min_saturated=0.1).model_dump()
    assert step.exec_properties == {"advice": "Inspect it.", "serving_directory": "serving/digits"}


def imported(folder: Path, key: str, artifact_type: Any) -> Any:
    properties = {} if artifact_type is Schema else {"split_names": '["train", "eval", "test"]'}
    # Without a version, TFX assumes an old layout of the files.
    importer = Importer(
        str(folder / key), artifact_type, properties=properties, custom_properties={"tfx_version": "1.21.0"}
    )
    return importer.with_id(f"import-{key}")


@pytest.fixture
def run_gate(make_inputs: Any, good_statistics: Any, tmp_path: Path) -> Callable[[], tuple[str, int]]:
    """Runs a pipeline of the gate alone; returns the state and the decision of its execution."""
    make_inputs(good_statistics)
    metadata = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run() -> tuple[str, int]:
        inputs = {
            "statistics": imported(tmp_path, "statistics", ExampleStatistics),
            "schema": imported(tmp_path, "schema", Schema),
            "anomalies": imported(tmp_path, "anomalies", ExampleAnomalies),
        }
        channels = {key: importer.outputs["result"] for key, importer in inputs.items()}
        gate = DataGate(
            **channels, limits=DataLimits().model_dump_json(), advice="", serving_directory=str(tmp_path / "serving")
        )
        pipeline = Pipeline(
            pipeline_name="gate",
            pipeline_root=str(tmp_path / "root"),
            components=[*inputs.values(), gate],
            enable_cache=True,
            metadata_connection_config=metadata,
        )
        LocalDagRunner().run(pipeline)
        with Metadata(metadata) as handle:
            execution = max(handle.store.get_executions(), key=lambda one: one.id)
            verdict = max(handle.store.get_artifacts_by_type("digits.Verdict"), key=lambda one: one.id)
        return Execution.State.Name(execution.last_known_state), verdict.custom_properties["passed"].int_value

    return run


def test_the_verdict_is_cached_until_the_baseline_changes(
    run_gate: Callable[[], tuple[str, int]],
    push: Any,
    good_splits: Any,
    good_statistics: Any,
    describe: Any,
) -> None:
    assert run_gate() == ("COMPLETE", 1)
    assert run_gate() == ("CACHED", 1)
    # A push of the same data is not a new baseline.
    push(1, good_statistics["train"])
    assert run_gate() == ("CACHED", 1)
    images, labels = good_splits["eval"]
    push(2, describe(255 - images, labels))
    assert run_gate() == ("COMPLETE", 0)
    assert run_gate() == ("CACHED", 0)
